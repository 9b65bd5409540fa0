"""Judges on disk: small networks that name what an example is, and whose features tell sets apart.

A judge is a folder of judge.json (what it was trained on, what it can answer) and weights.safetensors (16
bits). Its network gives features; a head for each task turns them into answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from polydiff.errors import UsageError
from polydiff.support.files import aside

__all__ = ["read_judge", "sharpen", "write_judge"]

ABOUT, WEIGHTS = "judge.json", "weights.safetensors"


def write_judge(folder: Path, network: nn.Module, about: Mapping[str, Any]) -> None:
    """Write a judge's folder."""
    tensors = {name: x.half() if x.is_floating_point() else x for name, x in network.state_dict().items()}
    with aside(folder / WEIGHTS) as temporary:
        save_file(tensors, temporary)
    with aside(folder / ABOUT) as temporary:
        temporary.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def read_judge(name: str | Path, shipped: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a judge says of itself, and its weights. name: one in the folder `shipped`, or a folder.

    Raises UsageError in one line, with the names of those that ship, where there is none.
    """
    folder = shipped / name if isinstance(name, str) and (shipped / name).is_dir() else Path(name)
    try:
        about: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS)
    except (OSError, ValueError) as error:
        known = ", ".join(sorted(path.parent.name for path in shipped.glob(f"*/{ABOUT}"))) or "none"
        raise UsageError(f"{folder}: no judge there ({error}). Shipped judges: {known}.") from error
    return about, tensors


@torch.no_grad()
def sharpen(head: nn.Linear, features: Tensor, answers: Tensor) -> None:
    """Scale a head's logits by what fits the true answers best (temperature scaling, Guo et al. 2017).

    Training with smoothed labels leaves a judge too unsure, and scores such as the inception score read
    certainty. features: (n, d) of unchanged examples; answers: (n,) their choices.
    """
    logits = head(features)
    scales = torch.linspace(0.5, 8, 76)
    costs = torch.stack([F.cross_entropy(scale * logits, answers) for scale in scales])
    best = scales[int(costs.argmin())]
    head.weight.mul_(best)
    head.bias.mul_(best)
