"""Kept parts of a source back into a clip, sample for sample; and soft ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polydiff.support.spans import Span
from polydiff_audio import regions
from polydiff_audio.clip import AudioClip
from polydiff_audio.convert import resample, to_channels

FADE = 0.005  # seconds from the source to new sound, inside the kept part
_SOFT = 0.002


def soften(clip: AudioClip) -> AudioClip:
    """The clip with 2 ms faded at both ends, so that it does not begin or end with a click."""
    count = min(round(_SOFT * clip.sample_rate), clip.samples // 2)
    rise = np.ones(clip.samples, np.float32)
    rise[:count] = np.linspace(0, 1, count, endpoint=False, dtype=np.float32)
    return replace(clip, waveform=clip.waveform * np.minimum(rise, rise[::-1]))


def weights(keep: NDArray[np.bool_], sample_rate: int, loop: bool = False) -> NDArray[np.float32]:
    """How much of the source is in each sample: 1 where it is kept, falling to 0 within `FADE` of a seam."""
    fade = round(FADE * sample_rate)
    if not loop:
        return regions.ramp(keep, fade)
    return regions.ramp(np.tile(keep, 3), fade)[len(keep) : 2 * len(keep)]


def splice(
    made: AudioClip,
    source: AudioClip,
    intervals: tuple[Span, ...],
    duration: float,
    loop: bool = False,
) -> AudioClip:
    """A clip of `duration` seconds, `source` inside the intervals (seconds) and `made` elsewhere.

    The result has the rate and channels of the source, so that its kept samples are its own, bit for bit,
    outside the fade. More than two channels are mixed to stereo first.
    """
    source = source if source.channels <= 2 else to_channels(source, 2)
    samples = max(round(duration * source.sample_rate), 1)
    new = replace(resample(to_channels(made, source.channels), source.sample_rate), notes=())
    old, fresh = _fit(source.waveform, samples), _fit(new.waveform, samples)
    weight = weights(regions.mask(intervals, samples, source.sample_rate), source.sample_rate, loop)
    loudest = float(np.abs(fresh[:, weight < 1]).max(initial=0.0))
    fresh = fresh / np.float32(max(loudest, 1.0))
    mixed = np.where(weight == 1, old, weight * old + (1 - weight) * fresh)
    notes = []
    if made.sample_rate != source.sample_rate:
        notes.append(f"new sound made at {made.sample_rate} Hz and resampled to {source.sample_rate} Hz")
    return AudioClip(mixed, source.sample_rate, (*made.notes, *notes))


def _fit(wave: NDArray[Any], samples: int) -> NDArray[Any]:
    return np.pad(wave[:, :samples], ((0, 0), (0, max(samples - wave.shape[1], 0))))
