"""How a clip that is longer than the model's window is made: in blocks, each beside frames that are there."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def whole_windows(frames: int, window: int) -> int:
    """The least length of at least so many frames that windows, each moved by half a window, cover.

    >>> [whole_windows(frames, 8) for frames in (3, 8, 9, 24)]
    [8, 8, 12, 24]
    """
    step = max(window // 2, 1)
    return window + -(-max(frames - window, 0) // step) * step


def blocks(known: NDArray[np.bool_], window: int) -> Iterator[slice]:
    """Windows in the order in which to make them, so that after all of them every frame is there.

    The next is always the one that knows most and still misses something: so what is given, wherever it lies,
    spreads over the clip.

    known: (length,), length as `whole_windows` gives it.

    >>> [block.start for block in blocks(np.zeros(16, bool), 8)]
    [0, 4, 8]
    >>> [block.start for block in blocks(np.arange(16) >= 12, 8)]
    [8, 4, 0]
    """
    known = known.copy()
    starts = range(0, len(known) - window + 1, max(window // 2, 1))
    while not known.all():
        open_starts = [start for start in starts if not known[start : start + window].all()]
        best = max(open_starts, key=lambda start: (known[start : start + window].sum(), -start))
        block = slice(best, best + window)
        yield block
        known[block] = True
