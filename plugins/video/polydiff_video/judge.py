"""A judge of clips: a small network that names what a clip shows, and whose features tell how far two sets of
clips lie apart. Trained on real clips, never on samples (polydiff_video.judge_training)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polydiff.evaluation.judges import Judge, JudgeKind
from polydiff_video.clip import VideoClip
from polydiff_video.convert import fit_into

SIDE = 64  # clips are judged at this size
_SIZES = (3, 16, 32, 64, 96)


class JudgeNetwork(nn.Module):
    """(B, time, 3, SIDE, SIDE) to features (B, width) and, for each task, logits (B, choices).

    Convolutions over each frame, then mean and deviation over time, so that any number of frames will do.
    """

    def __init__(self, tasks: dict[str, int], width: int = 96) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(_block(a, b) for a, b in pairwise(_SIZES)))
        self.frame = nn.Linear(_SIZES[-1] * (SIDE // 2 ** (len(_SIZES) - 1)) ** 2, width)
        self.pooled = nn.Linear(2 * width, width)
        self.heads = nn.ModuleDict({name: nn.Linear(width, count) for name, count in tasks.items()})

    def features(self, x: Tensor) -> Tensor:
        batch, time = x.shape[:2]
        frames = F.relu(self.frame(self.blocks(x.flatten(0, 1)).flatten(1))).reshape(batch, time, -1)
        spread = (frames.var(1, unbiased=False) + 1e-5).sqrt()
        return F.relu(self.pooled(torch.cat([frames.mean(1), spread], dim=1)))

    def forward(self, x: Tensor, dropout: float = 0.0) -> dict[str, Tensor]:
        features = F.dropout(self.features(x), dropout, self.training)
        return {name: head(features) for name, head in self.heads.items()}


def _block(channels: int, out: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, out, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()
    )


def pixels(clip: VideoClip) -> Tensor:
    """(time, 3, SIDE, SIDE) of a clip, -1 to 1."""
    frames = np.ascontiguousarray(fit_into(clip, SIDE, SIDE).frames.transpose(0, 3, 1, 2))
    return torch.from_numpy(frames.astype(np.float32)) / 127.5 - 1


def _inputs(clip: VideoClip, facts: Mapping[str, Any]) -> Tensor:
    return pixels(clip)


KIND = JudgeKind(Path(__file__).parent / "judges", JudgeNetwork, _inputs)


def kinds_of(judge: Judge) -> tuple[str, ...]:
    """The tasks whose answers together are the kinds of clips that the inception score counts."""
    return tuple(judge.facts["kinds"])


@torch.no_grad()
def assess_frames(judge: Judge, clip: VideoClip) -> dict[str, Tensor]:
    """For each task, probabilities (frames, choices) of every frame alone."""
    return judge.answers(judge.network.features(pixels(clip)[:, None]))
