"""Parts of a clip as masks over its frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from polydiff.support import spans


def parse(text: str, frames: int, fps: float) -> NDArray[np.bool_]:
    """(frames,) True inside the spans, in frames from 0 or in seconds, as polydiff.support.spans reads them.

    >>> parse("0:2, 5", 6, 8).tolist()
    [True, True, False, False, False, True]
    >>> parse("0:0.25s", 4, 8).tolist()
    [True, True, False, False]
    """
    inside = np.zeros(frames, dtype=bool)
    for start, stop in spans.parse(text, frames, fps):
        inside[int(start) : int(stop)] = True
    return inside
