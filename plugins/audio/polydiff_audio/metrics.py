"""Figures for clips. Pure functions; formulas with their sources."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from polydiff_audio.clip import AudioClip
from polydiff_audio.convert import resample, to_channels
from polydiff_audio.data import clipped_samples

Array = NDArray[Any]


def spectrogram(clip: AudioClip, sample_rate: int | None = None) -> Array:
    """(bands, frames) of mel magnitudes in dB: 64 bands, windows of 32 ms every 8 ms, mono, not below
    -60 dB under the loudest."""
    import torch

    from polydiff_audio.codecs import default_config
    from polydiff_audio.codecs.mel import mel_filters
    from polydiff_audio.codecs.transform import Transform

    mono = to_channels(clip, 1)
    mono = mono if sample_rate is None else resample(mono, sample_rate)
    size = default_config(mono.sample_rate)
    spectrum = Transform(size.n_fft, size.window, size.hop).forward(torch.tensor(mono.waveform)).abs()[0]
    mel = mel_filters(size.n_fft // 2 + 1, 64, mono.sample_rate) @ spectrum
    decibels = 20 * np.log10(np.maximum(mel.numpy(), 1e-7))
    result: Array = np.maximum(decibels, decibels.max() - 60)
    return result


def spectral_distance(a: AudioClip, b: AudioClip) -> float:
    """Mean absolute difference in dB of two clips' spectrograms at the lower of their rates; the shorter one
    is taken to go on in silence."""
    rate = min(a.sample_rate, b.sample_rate)
    samples = max(round(clip.duration * rate) for clip in (a, b))
    x, y = (_padded(resample(to_channels(clip, 1), rate), samples) for clip in (a, b))
    return float(np.abs(spectrogram(x) - spectrogram(y)).mean())


def _padded(clip: AudioClip, samples: int) -> AudioClip:
    return AudioClip(np.pad(clip.waveform, ((0, 0), (0, max(samples - clip.samples, 0)))), clip.sample_rate)


def fingerprint(clip: AudioClip, sample_rate: int, frames: int = 24) -> Array:
    """(frames * bands,) of a clip: its spectrogram below its own loudest, brought to `frames` frames, so that
    clips of any length and level compare."""
    x = spectrogram(clip, sample_rate)
    x = x - x.max()
    places = np.linspace(0, x.shape[1] - 1, frames)
    low = np.floor(places).astype(int)
    high = np.minimum(low + 1, x.shape[1] - 1)
    result: Array = ((1 - (places - low)) * x[:, low] + (places - low) * x[:, high]).T.ravel()
    return result


def is_clipped(clip: AudioClip) -> bool:
    """Whether the clip has flat tops: two or more neighbouring samples at full scale."""
    return clipped_samples(clip.waveform) > 0


def click(clip: AudioClip, at: int) -> float:
    """How far the step into sample `at` stands out: its second difference over the 99th percentile of those
    within 20 ms. Around 1 or less nothing is heard; a cut through a vowel reads 3 to 30. `at` 0 is the step
    from the last sample to the first, that of a loop.

    >>> wave = np.sin(np.arange(8000) / 20)
    >>> click(AudioClip(wave, 8000), 4000) < 1.1
    True
    >>> click(AudioClip(np.r_[wave[:4000], -wave[4000:]], 8000), 4000) > 3
    True
    """
    reach = max(round(0.02 * clip.sample_rate), 4)
    around = np.take(clip.waveform, np.arange(at - reach, at + reach), axis=1, mode="wrap")
    bend = np.abs(np.diff(around, n=2, axis=1))
    middle = slice(reach - 2, reach + 1)
    others = np.concatenate([bend[:, : reach - 2], bend[:, reach + 1 :]], axis=1)
    return float((bend[:, middle].max(1) / (np.quantile(others, 0.99, axis=1) + 1e-6)).max())


def loop_click(clip: AudioClip) -> float:
    """`click` where the end of a loop goes over into its beginning."""
    return click(clip, 0)


def pitch(clip: AudioClip) -> float | None:
    """Fundamental frequency in Hz of a single note by YIN (de Cheveigne and Kawahara 2002), the median over
    its louder frames; None where nothing is periodic. From 27.5 Hz to 4.4 kHz.

    >>> round(pitch(AudioClip(np.sin(2 * np.pi * 220 * np.arange(8000) / 8000), 8000)))
    220
    """
    wave, rate = to_channels(clip, 1).waveform[0].astype(np.float64), clip.sample_rate
    longest, shortest = rate // 27, max(int(rate / 4400), 2)
    size = 2 * longest
    found = []
    starts = range(0, len(wave) - size, size // 4)
    levels = [np.sqrt(np.mean(wave[s : s + size] ** 2)) for s in starts]
    for start, level in zip(starts, levels, strict=True):
        if level < 0.25 * max(levels):
            continue
        frequency = _yin(wave[start : start + size], longest, shortest, rate)
        if frequency:
            found.append(frequency)
    return float(np.median(found)) if found else None


def _yin(frame: Array, longest: int, shortest: int, rate: int, threshold: float = 0.15) -> float | None:
    half = len(frame) - longest
    power = np.cumsum(np.r_[0.0, frame**2])
    lags = np.arange(longest + 1)
    size = 2 ** int(np.ceil(np.log2(len(frame) + half)))
    correlation = np.fft.irfft(np.fft.rfft(frame, size) * np.conj(np.fft.rfft(frame[:half], size)), size)
    difference = power[half] + power[lags + half] - power[lags] - 2 * correlation[: longest + 1]
    normalised = np.ones(longest + 1)
    normalised[1:] = difference[1:] * lags[1:] / np.maximum(np.cumsum(difference[1:]), 1e-12)
    below = np.flatnonzero(normalised[shortest:longest] < threshold) + shortest
    if not len(below):
        return None
    lag = int(below[0])
    while lag + 1 < longest and normalised[lag + 1] < normalised[lag]:
        lag += 1
    left, middle, right = difference[lag - 1 : lag + 2]
    curve = left - 2 * middle + right
    return float(rate / (lag + (0.5 * (left - right) / curve if curve > 0 else 0.0)))
