"""Loops without a seam: a clip that is longer than the loop is folded onto its own beginning."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float32]


def fold_samples(samples: int, sample_rate: int) -> int:
    """How many samples more than `samples` to make for a loop: a quarter of it, 0.15 s at most."""
    return min(samples // 4, round(0.15 * sample_rate))


def fold(wave: Wave, samples: int) -> Wave:
    """(channels, samples + fold) to a loop (channels, samples).

    What follows the loop's end was made to follow it; it is faded into the loop's beginning, so that the
    last sample goes over into the first as any sample into the next. The fade keeps the power: its two
    weights take the likeness of what they mix into account.

    >>> loop = fold(np.sin(np.arange(1250, dtype=np.float32) / 7)[None], 1000)
    >>> loop.shape, bool(abs(loop[0, 0] - loop[0, -1]) < 0.15)
    ((1, 1000), True)
    """
    extra = wave.shape[1] - samples
    loop = wave[:, :samples].copy()
    if extra <= 0:
        return loop
    after, start = wave[:, samples:], wave[:, :extra]
    power = np.sqrt(float((after**2).sum()) * float((start**2).sum()))
    likeness = max(float((after * start).sum()) / power, 0.0) if power else 1.0
    rise = (np.arange(extra, dtype=np.float32) + 0.5) / extra
    gain = 1 / np.sqrt(rise**2 + (1 - rise) ** 2 + 2 * rise * (1 - rise) * likeness)
    loop[:, :extra] = (start * rise + after * (1 - rise)) * gain.astype(np.float32)
    return loop
