"""A judge of clouds: a small network that names what a shape is. Trained on real shapes, never on samples
(polydiff_pointcloud.judge_training)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polydiff.judges import read_judge, write_judge
from polydiff_pointcloud.cloud import PointCloud
from polydiff_pointcloud.frame import Frame

FOLDER = Path(__file__).parent / "judges"
POINTS = 512  # a shape is judged by so many
_NEAR = 16  # neighbours whose places tell what the surface is like


class JudgeNetwork(nn.Module):
    """(B, POINTS, 3) in the cube to features (B, width) and logits (B, choices).

    Each point sees the places of its neighbours relative to it (Qi et al. 2017, PointNet++, with k nearest
    instead of balls), then all points are pooled by maximum and mean.
    """

    def __init__(self, choices: int, width: int = 128) -> None:
        super().__init__()
        self.near = nn.Sequential(_layer(6, 32), _layer(32, 48))
        self.point = nn.Sequential(_layer(48 + 3, 96), _layer(96, 192))
        self.pooled = nn.Sequential(nn.Linear(2 * 192, width), nn.BatchNorm1d(width), nn.ReLU())
        self.head = nn.Linear(width, choices)

    def features(self, x: Tensor) -> Tensor:
        around = neighbours(x)
        here = x[:, :, None].expand(-1, -1, around.shape[2], -1)
        near = self.near(torch.cat([around - here, here], dim=-1)).amax(2)
        points = self.point(torch.cat([near, x], dim=-1))
        features: Tensor = self.pooled(torch.cat([points.amax(1), points.mean(1)], dim=-1))
        return features

    def forward(self, x: Tensor, dropout: float = 0.0) -> Tensor:
        logits: Tensor = self.head(F.dropout(self.features(x), dropout, self.training))
        return logits


class _ChannelNorm(nn.BatchNorm1d):
    """Batch norm over the last axis of any number of axes."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(0, -2)).reshape(x.shape)


def _layer(into: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Linear(into, out, bias=False), _ChannelNorm(out), nn.ReLU())


def neighbours(x: Tensor) -> Tensor:
    """The places (B, N, _NEAR, 3) of the nearest points of each of x (B, N, 3)."""
    indices = torch.cdist(x, x).topk(_NEAR, largest=False).indices
    batch = torch.arange(len(x), device=x.device)[:, None, None]
    return x[batch, indices]


@dataclass(frozen=True)
class Judge:
    """A trained judge. choices: what it can answer, in the order of the logits."""

    network: JudgeNetwork
    choices: tuple[str, ...]
    card: dict[str, Any]

    @classmethod
    def load(cls, name: str | Path) -> Judge:
        """The judge that ships with a preset ("objects"), or one from a folder."""
        return _load(name)

    @torch.no_grad()
    def see(self, clouds: Sequence[PointCloud]) -> tuple[Tensor, Tensor]:
        """Features (n, width) and probabilities (n, choices)."""
        features = torch.cat([self.network.features(shown(cloud)[None]) for cloud in clouds])
        return features, self.network.head(features).softmax(-1)

    def save(self, folder: Path) -> None:
        """Write the judge as polydiff.judges has it."""
        write_judge(folder, self.network, {"choices": self.choices, "card": self.card})


@lru_cache(maxsize=8)
def _load(name: str | Path) -> Judge:
    about, tensors = read_judge(name, FOLDER)
    network = JudgeNetwork(len(about["choices"]))
    network.load_state_dict(tensors)
    return Judge(network.float().eval(), tuple(about["choices"]), about["card"])


def shown(cloud: PointCloud) -> Tensor:
    """(POINTS, 3) of a cloud in its own cube; of fewer points some are shown twice."""
    points = Frame.around(cloud.points).into(cloud.thinned(POINTS).points)
    return torch.from_numpy(np.resize(points, (POINTS, 3)).astype(np.float32))
