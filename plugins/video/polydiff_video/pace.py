"""How long frames stay on: uneven ones are brought to one rate, and too many are refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from polydiff.errors import UsageError
from polydiff_video.clip import Frames, VideoClip

STILL_FPS = 8.0  # what pictures that say no rate are taken at
_ROUNDED = 10.5  # milliseconds: GIF counts in hundredths
_MOST_PIXELS = 2**31  # uncompressed bytes; a film beyond it is refused before memory runs out


def at_one_rate(frames: Frames, durations: Sequence[float], notes: Iterable[str]) -> VideoClip:
    """Frames that stay on longer are repeated. `durations` are in milliseconds, 0 for unknown."""
    shown = np.array([d if d > 0 else 1000 / STILL_FPS for d in durations])
    base = float(shown.min())
    if base < 0.5 * float(np.percentile(shown, 10)):
        base = float(np.median(shown))  # one short gap sets no rate; the bulk of the gaps does
    times = np.maximum(np.rint(shown / base), 1)
    base = float(shown.sum() / times.sum())  # the shortest frame was rounded, the mean is truer
    times = np.maximum(np.rint(shown / base), 1)
    if np.abs(shown - times * base).max() <= _ROUNDED:
        fps = _neat(1000 * times.sum() / shown.sum())
        return VideoClip(np.repeat(frames, times.astype(int), axis=0), fps, tuple(notes))
    fps = _neat(1000 * len(frames) / shown.sum())
    middle = (np.arange(max(round(shown.sum() / 1000 * fps), 1)) + 0.5) * 1000 / fps
    places = np.searchsorted(np.cumsum(shown), middle).clip(max=len(frames) - 1)
    return VideoClip(frames[places], fps, (*notes, f"uneven frame lengths brought to {fps:g} fps"))


def _neat(fps: float) -> float:
    """A rate without the crumbs of rounding: 7.99987 is 8."""
    whole = Fraction(fps).limit_denominator(4)
    return float(whole) if abs(float(whole) / fps - 1) < 2e-3 and whole else round(fps, 3)


def check_size(path: Path, width: int, height: int, frames: int) -> None:
    """Raise UsageError where so many frames of this size would not fit into memory."""
    if 3 * width * height * frames > _MOST_PIXELS:
        raise UsageError(f"{path}: more than {frames - 1} frames of {width}x{height} are too many; cut it.")
