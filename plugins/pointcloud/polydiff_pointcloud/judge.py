"""A judge of clouds: a small network that names what a shape is. Trained on real shapes, never on samples
(polydiff_pointcloud.judge_training)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polydiff.evaluation.judges import JudgeKind
from polydiff_pointcloud.cloud import PointCloud
from polydiff_pointcloud.frame import Frame

POINTS = 2048  # a shape is judged by so many
CELLS = 32  # along each side of the cube


class JudgeNetwork(nn.Module):
    """(B, 1, CELLS, CELLS, CELLS) occupancies to features (B, width) and logits (B, choices).

    Convolutions over the cube (Maturana and Scherer 2015, VoxNet): unlike pooled points they see where parts
    lie beside each other, which is what tells a cabinet from a building.
    """

    def __init__(self, tasks: dict[str, int], width: int = 128) -> None:
        super().__init__()
        ((self.task, choices),) = tasks.items()
        self.blocks = nn.Sequential(*(_block(a, b) for a, b in pairwise(_SIZES)))
        side = CELLS // 2 ** (len(_SIZES) - 1)
        self.pooled = nn.Sequential(nn.Linear(_SIZES[-1] * side**3, width), nn.BatchNorm1d(width), nn.ReLU())
        self.head = nn.Linear(width, choices)

    def features(self, x: Tensor, dropout: float = 0.0) -> Tensor:
        found: Tensor = self.pooled(F.dropout(self.blocks(x).flatten(1), dropout, self.training))
        return found

    @property
    def heads(self) -> dict[str, nn.Linear]:
        return {self.task: self.head}

    def forward(self, x: Tensor, dropout: float = 0.0) -> dict[str, Tensor]:
        return {self.task: self.head(F.dropout(self.features(x, dropout), dropout, self.training))}


_SIZES = (1, 24, 48, 96)


def _block(into: int, out: int) -> nn.Module:
    size = 5 if into == 1 else 3
    return nn.Sequential(
        nn.Conv3d(into, out, size, stride=2, padding=size // 2, bias=False), nn.BatchNorm3d(out), nn.ReLU()
    )


def shown(cloud: PointCloud) -> Tensor:
    """(1, CELLS, CELLS, CELLS) of a cloud in its own cube: 0 for a cell without points, near 1 with many."""
    points = Frame.around(cloud.points).into(cloud.thinned(POINTS).points)
    counts = np.histogramdd(points * (1 - 1e-6), CELLS, [(-1, 1)] * 3)[0] * (POINTS / min(len(cloud), POINTS))
    return torch.from_numpy(1 - np.exp(-0.7 * counts)).float()[None]


def _inputs(cloud: PointCloud, facts: Mapping[str, Any]) -> Tensor:
    return shown(cloud)


KIND = JudgeKind(Path(__file__).parent / "judges", JudgeNetwork, _inputs, only_task="category")
