"""Parts of a clip, as a user writes them ("0:0.3s, 0.5:") and as masks."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from polydiff.errors import UsageError

Interval = tuple[float, float]
_TIME = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(ms|s)?")


def parse(text: str, duration: float) -> tuple[Interval, ...]:
    """Regions in seconds, joined where they touch, in order. `duration`: that of the clip they are parts of.

    >>> parse("0.5:, 0:0.2s, 200ms:0.3", 1.0)
    ((0.0, 0.3), (0.5, 1.0))
    """
    intervals: list[Interval] = []
    for part in text.split(","):
        begin, colon, end = part.partition(":")
        if not colon:
            raise UsageError(f"The region {part.strip()!r} needs a start and an end in seconds, like 0:0.3s.")
        start, stop = _seconds(begin, part, 0.0), _seconds(end, part, duration)
        if stop <= start:
            raise UsageError(
                f"The region {part.strip()!r} ends before it begins; write start:end in seconds."
            )
        if stop > duration + 1e-3:
            raise UsageError(
                f"The region {part.strip()!r} passes the end of the clip, {duration:.3f} s long."
            )
        intervals.append((start, min(stop, duration)))
    return _joined(intervals)


def complement(intervals: tuple[Interval, ...], duration: float) -> tuple[Interval, ...]:
    """What is left of 0 to `duration`.

    >>> complement(((0.2, 0.4),), 1.0)
    ((0.0, 0.2), (0.4, 1.0))
    """
    edges = [0.0, *(time for interval in intervals for time in interval), duration]
    return tuple((a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b > a)


def mask(intervals: tuple[Interval, ...], samples: int, sample_rate: int) -> NDArray[np.bool_]:
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


def _seconds(text: str, part: str, empty: float) -> float:
    if not text.strip():
        return empty
    match = _TIME.fullmatch(text.strip())
    if not match:
        raise UsageError(
            f"The region {part.strip()!r}: {text.strip()!r} is not a time in seconds; write it like 0.2:0.5s."
        )
    return float(match[1]) / (1000 if match[2] == "ms" else 1)


def _joined(intervals: list[Interval]) -> tuple[Interval, ...]:
    joined: list[Interval] = []
    for start, stop in sorted(intervals):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return tuple(joined)
