"""Save a run between two rows and load it again: sampling resumes to the same bits."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from polydiff.engine.denoisers import State
from polydiff.engine.loop import Run
from polydiff.errors import UsageError
from polydiff.support.files import atomic_write


def save_run(run: Run, path: str | Path) -> None:
    """Write a run to one safetensors file, which is whole or absent.

    Raises PolydiffError in one line where the disk refuses.
    """
    groups = {"x": run.x, "anchor": run.anchor, "memory": run.memory}
    tensors = {f"{group}/{name}": value for group, state in groups.items() for name, value in state.items()}
    tensors |= {f"h/{k}/{name}": value for name, past in run.h.items() for k, value in enumerate(past)}
    tensors["seeds"] = run.seeds
    # anchor and x may share one tensor, which safetensors refuses
    tensors = {key: value.clone(memory_format=torch.contiguous_format) for key, value in tensors.items()}
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata={"polydiff_run": json.dumps({"version": 1, "row": run.row})})


def load_run(path: str | Path, device: torch.device | str = "cpu") -> Run:
    """The run that `save_run` wrote.

    Raises UsageError when the file is missing or is not a saved run.
    """
    try:
        with safe_open(str(path), framework="pt", device=str(device)) as file:
            row = json.loads((file.metadata() or {})["polydiff_run"])["row"]
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise UsageError(f"{path}: not a saved run ({error}); start the sampling again") from None
    groups: dict[str, State] = {"x": {}, "anchor": {}, "memory": {}}
    for key in sorted(tensors):
        group, _, name = key.partition("/")
        if group in groups:
            groups[group][name] = tensors[key]
    h = {}
    for name in groups["x"]:
        depth = sum(key.startswith("h/") and key.split("/", 2)[2] == name for key in tensors)
        h[name] = tuple(tensors[f"h/{k}/{name}"] for k in range(depth))
    return Run(**groups, h=h, row=row, seeds=tensors["seeds"])
