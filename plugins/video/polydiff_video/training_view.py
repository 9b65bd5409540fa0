"""Which frames of a training clip are given: what makes one network predict, fill in and slow down.

In two clips of five none is (generation); else the first, the last, both ends, every k-th, or any of them. A
network that is to do nothing but predict is given the first half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from polydiff_video.clip import VideoClip

Way = Literal["none", "first", "last", "ends", "every", "any", "half"]
OFTEN: dict[Way, float] = {"none": 0.4, "first": 0.24, "last": 0.09, "ends": 0.09, "every": 0.09, "any": 0.09}
"""How often frames are given in which way: prediction is asked for most."""


@dataclass(frozen=True)
class TrainingView:
    """A clip to learn from or to complete: its frames, which of them are given, where in its cycle it begins,
    and how many of the model's frames one of its frames is apart from the next."""

    clip: VideoClip
    given: tuple[bool, ...]
    phase: float = 0
    pace: float = 1

    @classmethod
    def free(cls, clip: VideoClip) -> TrainingView:
        """No frame is given."""
        return cls(clip, (False,) * len(clip))


def draw_given(frames: int, rng: np.random.Generator, ways: Sequence[Way] = tuple(OFTEN)) -> tuple[bool, ...]:
    """Which of so many frames are given, in one of these ways; at least one never is.

    >>> len(draw_given(8, np.random.default_rng(0)))
    8
    """
    given = np.zeros(frames, bool)
    chances = np.array([OFTEN.get(way, 1.0) for way in ways])
    way = ways[int(rng.choice(len(ways), p=chances / chances.sum()))]
    if frames < 2 or way == "none":
        return tuple(given.tolist())
    count = int(rng.integers(1, frames))
    if way == "first":
        given[:count] = True
    elif way == "last":
        given[-count:] = True
    elif way == "half":
        given[: frames // 2] = True
    elif way == "ends":
        given[: (count + 1) // 2] = True
        given[frames - max(count // 2, 1) :] = True
    elif way == "every":
        given[:: int(rng.integers(2, max(frames // 2, 2) + 1))] = True
    else:
        given[rng.permutation(frames)[:count]] = True
    if given.all():
        given[frames // 2] = False
    return tuple(given.tolist())
