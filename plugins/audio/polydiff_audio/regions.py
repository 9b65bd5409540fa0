"""Parts of a clip as masks over its samples, and the weights with which kept parts go over into new sound."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from polydiff.support.spans import Span


def mask(intervals: tuple[Span, ...], samples: int, sample_rate: int) -> NDArray[np.bool_]:
    """(samples,) True inside the intervals. An interval that ends with the clip takes its last sample in."""
    inside = np.zeros(samples, dtype=bool)
    for start, stop in intervals:
        inside[round(start * sample_rate) : round(stop * sample_rate)] = True
    return inside


def ramp(keep: NDArray[np.bool_], fade: int) -> NDArray[np.float32]:
    """Weights of kept samples: 1 inside, falling to 0 over the last `fade` samples before each seam.

    >>> ramp(np.array([1, 1, 1, 1, 0, 0], bool), 1).tolist()
    [1.0, 1.0, 1.0, 0.5, 0.0, 0.0]
    """
    from scipy.ndimage import distance_transform_edt

    if keep.all():
        return np.ones(len(keep), np.float32)
    result: NDArray[np.float32] = np.minimum(distance_transform_edt(keep) / (fade + 1), 1).astype(np.float32)
    return result
