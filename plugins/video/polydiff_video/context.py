"""What a network is told beside the noisy frames: what is given, and where in a cycle each frame lies."""

from __future__ import annotations

import torch
from torch import Tensor

from polydiff_video.network import PHASES


def context_of(tokens: Tensor, given: Tensor, cycle: int | None, phase: float = 0, pace: float = 1) -> Tensor:
    """Given tokens, whether they are given, and phases of a cycle.

    Args:
        tokens: (frames · patches, channels). given: (frames,) bool.
        cycle: frames of a cycle, None where clips are none. phase, pace: see TrainingView.

    Returns (frames · patches, channels + 1 + PHASES).
    """
    patches = len(tokens) // len(given)
    seen = given.repeat_interleave(patches)[:, None].float()
    features = torch.zeros(len(given), PHASES)
    if cycle is not None:
        turns = 2 * torch.pi * (torch.arange(len(given)) * pace + phase) / cycle
        angles = turns[:, None] * torch.arange(1, PHASES // 2 + 1)
        features = torch.cat([angles.cos(), angles.sin()], dim=1)
    return torch.cat([tokens * seen, seen, features.repeat_interleave(patches, 0)], dim=1)


def made_of(given: Tensor) -> Tensor:
    """(made, 1) float32: the places of the frames that are not given.

    A component of its own, because how many there are then shows in a shape: a network that works on these
    alone need not ask its device, so that its rows can be recorded.

    >>> made_of(torch.tensor([True, False, False]))
    tensor([[1.],
            [2.]])
    """
    return given.logical_not().nonzero().float()
