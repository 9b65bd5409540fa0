"""Regions of space in words: what is kept of a cloud, or made anew."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from polydiff.errors import UsageError

HELP = (
    'Write all, sides such as "x>0.1" or "y<1 and z>0", or a box "x0,y0,z0,x1,y1,z1", in the cloud\'s unit.'
)
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_SIDE = re.compile(rf"\s*([xyz])\s*(<=|>=|<|>)\s*({_NUMBER})\s*")


def inside(text: str, points: NDArray[np.floating]) -> NDArray[np.bool_]:
    """(n,) which of the (n, 3) points lie in the region.

    Raises UsageError in one line for what is no region, and for a box whose corners are the wrong way round.

    >>> points = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0]])
    >>> inside("x>0.5 and y<=0", points).tolist(), inside("0,0,0,1,0.5,0", points).tolist()
    ([False, True, False], [True, True, False])
    """
    text = text.strip()
    if text == "all":
        return np.ones(len(points), bool)
    if "," in text:
        return _in_box(text, points)
    chosen = np.ones(len(points), bool)
    for clause in re.split(r"\band\b", text):
        match = _SIDE.fullmatch(clause)
        if not match:
            raise UsageError(f"Cannot read the region {clause.strip()!r}. {HELP}")
        values, bound = points[:, "xyz".index(match[1])], float(match[3])
        chosen &= {"<": values < bound, ">": values > bound, "<=": values <= bound, ">=": values >= bound}[
            match[2]
        ]
    return chosen


def _in_box(text: str, points: NDArray[np.floating]) -> NDArray[np.bool_]:
    box = corners(text)
    if box is None:
        raise UsageError(f"Cannot read the box {text!r}: it takes six numbers. {HELP}")
    low, high = box
    if (low > high).any():
        axis = "xyz"[int(np.argmax(low > high))]
        raise UsageError(f"The box {text!r} ends in {axis} before it begins: give the lowest corner first.")
    return np.asarray(((points >= low) & (points <= high)).all(1))


def corners(text: str) -> NDArray[np.float64] | None:
    """(2, 3): the two corners of a box "x0,y0,z0,x1,y1,z1"; None where the text is no six finite numbers."""
    try:
        numbers = np.array([float(word) for word in text.split(",")])
    except ValueError:
        return None
    return numbers.reshape(2, 3) if len(numbers) == 6 and np.isfinite(numbers).all() else None
