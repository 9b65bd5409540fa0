"""Training checkpoints: one safetensors file a run, written atomically, so that it is whole or absent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from polydiff.errors import PolydiffError, UsageError
from polydiff.support.files import atomic_write
from polydiff.training.config import FREE, TrainingConfig, learning_rate

NAME = "checkpoint.safetensors"
FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """A run after `step` steps. `config` and `facts` say which run it is, as JSON values; `tensors` holds
    network/NAME, average/NAME and optimizer/INDEX/NAME."""

    path: Path
    step: int
    config: dict[str, Any]
    facts: dict[str, Any]
    tensors: dict[str, Tensor]

    def group(self, prefix: str) -> dict[str, Tensor]:
        """The tensors under `prefix/`, without the prefix."""
        prefix += "/"
        return {name.removeprefix(prefix): x for name, x in self.tensors.items() if name.startswith(prefix)}


def save_checkpoint(
    folder: Path,
    step: int,
    network: nn.Module,
    average: Mapping[str, Tensor],
    optimizer: Any,
    config: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> Path:
    """Write checkpoint.safetensors. A process or a machine that dies meanwhile leaves the one before it.

    Errors: PolydiffError in one line where the disk is full or the folder refuses.
    """
    tensors = {f"network/{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"average/{name}": value for name, value in average.items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": torch.as_tensor(value) for name, value in moments.items()}
    # cloned, since weights that are tied share their memory, which the format does not allow
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    metadata = {
        "format": str(FORMAT),
        "step": str(step),
        "config": json.dumps(dict(config)),
        "facts": json.dumps(dict(facts)),
    }
    path = folder / NAME
    try:
        with atomic_write(path) as temporary:
            save_file(tensors, temporary, metadata)
    except (PolydiffError, OSError, SafetensorError) as error:
        cause = error.__cause__ if isinstance(error, PolydiffError) else error
        why = (cause.strerror if isinstance(cause, OSError) else None) or str(cause)
        raise PolydiffError(
            f"{path}: cannot be written ({why}). Make room or choose another folder; --resume goes on."
        ) from error
    return path


def read_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint of `folder`. Errors: UsageError in one line when it is absent, damaged or foreign."""
    path = folder / NAME
    if not path.exists():
        raise UsageError(f"{folder}: holds no {NAME} to resume from. Start without --resume.")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UsageError(
            f"{path}: damaged or no checkpoint ({error}). Put a whole copy back, "
            "or remove it and start again."
        ) from error
    try:
        version, step = int(metadata.get("format", FORMAT)), int(metadata["step"])
        config, facts = json.loads(metadata["config"]), json.loads(metadata.get("facts", "{}"))
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"{path}: not a training checkpoint of polydiff. Remove it and start again."
        ) from error
    if version > FORMAT:
        raise UsageError(
            f"{path}: written by a newer polydiff (format {version}). Update polydiff to resume."
        )
    return Checkpoint(path, step, config, facts, tensors)


def check_same_run(checkpoint: Checkpoint, config: TrainingConfig, facts: Mapping[str, Any]) -> None:
    """Raise a UsageError in one line unless the steps behind the checkpoint are those of this run.

    The number of steps may differ while the learning rate has not begun to fall in either run.
    """
    advice = "Resume with the same, or start another run in another folder."
    now = {**asdict(config), **facts}
    for name, before in {**checkpoint.config, **checkpoint.facts}.items():
        if name in now and name not in FREE | {"steps"} and now[name] != before:
            raise UsageError(
                f"{checkpoint.path}: the run has {name} = {before!r}, not {now[name]!r}. {advice}"
            )
    known = {name: value for name, value in checkpoint.config.items() if name in asdict(config)}
    before, last = TrainingConfig(**known), checkpoint.step - 1
    if last >= 0 and learning_rate(before, last) != learning_rate(config, last):
        raise UsageError(
            f"{checkpoint.path}: the run has steps = {before.steps}, not {config.steps}, and after "
            f"{checkpoint.step} of them the learning rate follows from that. {advice}"
        )


def restore(
    checkpoint: Checkpoint, network: nn.Module, average: Mapping[str, Tensor], optimizer: Any
) -> None:
    """Put a checkpoint's weights, average and moments in place, each on the device where it belongs.

    Errors: UsageError when the checkpoint is that of another network.
    """
    try:
        network.load_state_dict(checkpoint.group("network"))
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise UsageError(
            f"{checkpoint.path}: belongs to another network ({' '.join(lines[1:2])}). "
            "Resume with the same configuration, or choose another folder."
        ) from error
    for name, value in checkpoint.group("average").items():
        average[name].copy_(value)
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in checkpoint.group("optimizer").items():
        index, name = key.split("/", 1)
        moments.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
