"""How loud a clip is, and how to bring it to a level without clipping."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from polydiff.errors import UsageError, did_you_mean
from polydiff_audio.clip import AudioClip

Loudness = Literal["none", "peak", "rms", "lufs"]
HEADROOM_DB = -1.0
# Levels that leave room for transients: EBU R 128 is at -23 LUFS; streaming services play at about -16.
TARGET = {"peak": HEADROOM_DB, "rms": -20.0, "lufs": -16.0}


def decibels(amplitude: float) -> float:
    """dB relative to full scale; silence is -inf."""
    return float(20 * np.log10(amplitude)) if amplitude > 0 else float("-inf")


def amplitude(db: float) -> float:
    """The factor for a level in dB. >>> round(amplitude(-6.0), 3) is 0.501."""
    return float(10 ** (db / 20))


def rms_db(clip: AudioClip) -> float:
    """Root mean square level in dB relative to full scale, over all channels and the whole clip."""
    return decibels(float(np.sqrt(np.mean(np.square(clip.waveform, dtype=np.float64)))))


def lufs(clip: AudioClip) -> float | None:
    """Integrated loudness in LUFS (ITU-R BS.1770-4), or None under 0.4 s, where it is not defined."""
    import pyloudnorm

    if clip.duration <= 0.4:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # log of zero for silent blocks
        value = pyloudnorm.Meter(clip.sample_rate).integrated_loudness(clip.waveform.T.astype(np.float64))
    return float(value) if np.isfinite(value) else None


def normalise(clip: AudioClip, kind: str = "peak", target: float | None = None) -> AudioClip:
    """The clip at a level; what was done otherwise than asked is noted.

    kind: "none", "peak" (dBFS), "rms" (dBFS) or "lufs". target: level in that unit, else `TARGET[kind]`.
    "lufs" falls back to "rms" below 0.4 s. The gain is held back where the peak would pass -1 dBFS.

    >>> round(normalise(AudioClip(np.full(100, 0.1), 8000)).peak, 3)
    0.891
    """
    if kind not in get_args(Loudness):
        choices = get_args(Loudness)
        raise UsageError(
            f"Unknown loudness {kind!r}; choose {', '.join(choices)}.{did_you_mean(str(kind), choices)}"
        )
    if kind == "none" or clip.peak == 0:
        return clip
    notes = list(clip.notes)
    level: float | None = (
        decibels(clip.peak) if kind == "peak" else rms_db(clip) if kind == "rms" else lufs(clip)
    )
    if level is None:
        level, kind, target = rms_db(clip), "rms", None
        notes.append("loudness in LUFS needs more than 0.4 s of sound: rms level used instead")
    gain = amplitude((TARGET[kind] if target is None else target) - level)
    ceiling = amplitude(max(HEADROOM_DB, target if kind == "peak" and target is not None else HEADROOM_DB))
    if clip.peak * gain > ceiling * (1 + 1e-6):
        over = decibels(clip.peak * gain / ceiling)
        if over >= 0.05:  # a note of 0.0 dB says nothing
            notes.append(f"{kind} level held back by {over:.1f} dB to avoid clipping")
        gain = ceiling / clip.peak
    return replace(clip, waveform=clip.waveform * np.float32(gain), notes=tuple(notes))
