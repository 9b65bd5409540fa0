"""Other sample rates and channel counts: pure functions on AudioClip, each conversion leaves a note."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import soxr

from polydiff.errors import UsageError
from polydiff_audio.clip import AudioClip

_HALF = np.float32(np.sqrt(0.5))
# ITU-R BS.775 down-mix of left, right, centre, low-frequency, left and right surround; the low-frequency
# channel is left out, and the rows are scaled so that full-scale input cannot overshoot.
_SURROUND = np.array([[1, 0, _HALF, 0, _HALF, 0], [0, 1, _HALF, 0, 0, _HALF]], np.float32) / (1 + 2 * _HALF)


def resample(clip: AudioClip, sample_rate: int) -> AudioClip:
    """The clip at another rate (soxr, very high quality); round(duration * sample_rate) samples.

    >>> resample(AudioClip(np.zeros(8000), 8000), 16000).samples
    16000
    """
    if sample_rate < 1:
        raise UsageError(f"A sample rate is a number of hertz above 0, not {sample_rate}.")
    if sample_rate == clip.sample_rate:
        return clip
    length = max(round(clip.samples * sample_rate / clip.sample_rate), 1)
    wave = soxr.resample(clip.waveform.T, clip.sample_rate, sample_rate, quality="VHQ").T
    wave = np.pad(wave[:, :length], ((0, 0), (0, max(length - wave.shape[1], 0))))
    note = f"{clip.sample_rate} Hz resampled to {sample_rate} Hz"
    return AudioClip(wave, sample_rate, (*clip.notes, note))


def _mono(wave: np.ndarray) -> np.ndarray:
    """The mean of channels; the louder of two that are out of phase, whose mean would be next to nothing."""
    mixed: np.ndarray = wave.mean(0, keepdims=True)
    power = np.square(wave, dtype=np.float64).mean(1)
    if np.square(mixed, dtype=np.float64).mean() < 1e-3 * power.max():
        return wave[[int(power.argmax())]]
    return mixed


def to_channels(clip: AudioClip, channels: int) -> AudioClip:
    """The clip with another number of channels: mean to mono, copies from mono, surround mixed to stereo."""
    if channels not in (1, 2):
        raise UsageError(f"Audio here is mono or stereo, so channels is 1 or 2, not {channels}.")
    wave, given = clip.waveform, clip.channels
    if given == channels:
        return clip
    if channels == 1:
        mixed = _mono(wave)
    elif given == 1:
        mixed = np.repeat(wave, 2, axis=0)
    elif given == 6:
        mixed = _SURROUND @ wave
    else:
        mixed = np.stack([wave[0::2].mean(0), wave[1::2].mean(0)])
    names = {1: "mono", 2: "stereo"}
    note = f"{names.get(given, f'{given} channels')} mixed to {names[channels]}"
    taken = channels == 1 and bool((wave == mixed).all(1).any() and not (wave == mixed).all())
    if taken:
        note = f"{names.get(given, f'{given} channels')} out of phase: one channel taken as mono"
    return replace(clip, waveform=mixed, notes=(*clip.notes, note))
