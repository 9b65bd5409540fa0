"""Training checkpoints: one safetensors file, written aside and renamed, so that it is whole or absent."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from polydiff.errors import UsageError

NAME = "checkpoint.safetensors"


def save_checkpoint(
    folder: Path, step: int, network: nn.Module, average: dict[str, Tensor], optimizer: Any, config: Any
) -> Path:
    """Write weights, their average, the optimiser's moments and the step to checkpoint.safetensors."""
    tensors = {f"network/{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"average/{name}": value for name, value in average.items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": torch.as_tensor(value) for name, value in moments.items()}
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / (NAME + ".part")
    metadata = {"step": str(step), "config": json.dumps(asdict(config))}
    save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, aside, metadata)
    os.replace(aside, folder / NAME)
    return folder / NAME


def load_checkpoint(
    folder: Path, network: nn.Module, average: dict[str, Tensor], optimizer: Any, config: Any
) -> int:
    """Restore everything from `folder` in place and return the step to go on from.

    Errors: UsageError when there is no checkpoint, it is damaged, or it was made for another network or
    with another seed or batch size (the run could not be the same run).
    """
    path = folder / NAME
    if not path.exists():
        raise UsageError(f"{folder} holds no {NAME} to resume from: start without --resume")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{path} is damaged ({error}): remove it and start again") from error
    saved = json.loads(metadata["config"])
    for name in ("seed", "batch_size"):
        if saved[name] != getattr(config, name):
            raise UsageError(
                f"{path} was trained with {name} = {saved[name]}, not {getattr(config, name)}: "
                "resume with the same"
            )
    groups: dict[str, dict[str, Tensor]] = {"network": {}, "average": {}, "optimizer": {}}
    for key, value in tensors.items():
        group, name = key.split("/", 1)
        groups[group][name] = value
    try:
        network.load_state_dict(groups["network"])
    except RuntimeError as error:
        raise UsageError(f"{path} belongs to another network: {str(error).splitlines()[0]}") from error
    for name, value in groups["average"].items():
        average[name].copy_(value)
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in groups["optimizer"].items():
        index, name = key.split("/", 1)
        moments.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    return int(metadata["step"])
