"""Which frames of a training clip are given: what makes one network predict, fill in and slow down.

In two clips of five none is (generation); else the first, the last, both ends, every k-th, or any of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from polydiff_video.clip import VideoClip

KINDS = ("first", "last", "ends", "every", "any")
_OFTEN = (0.4, 0.15, 0.15, 0.15, 0.15)  # prediction is asked for most


@dataclass(frozen=True)
class Lesson:
    """A clip to learn from or to complete: its frames, which of them are given, where in its cycle it begins,
    and how many of the model's frames one of its frames is apart from the next."""

    clip: VideoClip
    given: tuple[bool, ...]
    phase: float = 0
    pace: float = 1


def draw_given(frames: int, rng: np.random.Generator) -> tuple[bool, ...]:
    """Which of so many frames are given; at least one never is.

    >>> len(draw_given(8, np.random.default_rng(0)))
    8
    """
    given = np.zeros(frames, bool)
    if frames < 2 or rng.random() < 0.4:
        return tuple(given.tolist())
    count = int(rng.integers(1, frames))
    kind = rng.choice(KINDS, p=_OFTEN)
    if kind == "first":
        given[:count] = True
    elif kind == "last":
        given[-count:] = True
    elif kind == "ends":
        given[: (count + 1) // 2] = True
        given[frames - max(count // 2, 1) :] = True
    elif kind == "every":
        given[:: int(rng.integers(2, max(frames // 2, 2) + 1))] = True
    else:
        given[rng.permutation(frames)[:count]] = True
    if given.all():
        given[frames // 2] = False
    return tuple(given.tolist())
