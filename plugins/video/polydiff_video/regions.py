"""Parts of a clip, as a user writes them ("0:4, 0.5s:0.8s, all") and as masks over its frames."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from polydiff.errors import UsageError

_PLACE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(ms|s)?")


def parse(text: str, frames: int, fps: float) -> NDArray[np.bool_]:
    """(frames,) True inside the regions: `start:end` in frames from 0 (end excluded), or in seconds with s.

    A single number is that frame; `all` is every frame.

    >>> parse("0:2, 5", 6, 8).tolist()
    [True, True, False, False, False, True]
    >>> parse("0:0.25s", 4, 8).tolist()
    [True, True, False, False]
    """
    inside = np.zeros(frames, dtype=bool)
    for part in (piece.strip() for piece in text.split(",")):
        if part == "all":
            inside[:] = True
            continue
        begin, colon, end = part.partition(":")
        start = _frame(begin, part, fps, 0)
        stop = _frame(end, part, fps, frames) if colon else start + 1
        if stop <= start:
            raise UsageError(f"The region {part!r} ends before it begins; write it like 0:4 or 0:0.5s.")
        if stop > frames:
            raise UsageError(
                f"The region {part!r} passes the end of the clip: {frames} frames ({frames / fps:.3g} s)."
            )
        inside[start:stop] = True
    return inside


def _frame(text: str, part: str, fps: float, empty: int) -> int:
    if not text.strip():
        return empty
    match = _PLACE.fullmatch(text.strip())
    if not match:
        raise UsageError(
            f"The region {part!r}: {text.strip()!r} is no frame and no time; write it like 0:4 or 0:0.5s."
        )
    value = float(match[1])
    if match[2] is None and value != int(value):
        raise UsageError(f"The region {part!r}: {value:g} is no whole frame; for seconds write {value:g}s.")
    return int(value) if match[2] is None else round(value / (1000 if match[2] == "ms" else 1) * fps)
