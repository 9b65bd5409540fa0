"""Rates, channels and loudness."""

import numpy as np
import pytest

from polydiff.errors import UsageError
from polydiff_audio.clip import AudioClip
from polydiff_audio.convert import resample, to_channels
from polydiff_audio.loudness import lufs, normalise, rms_db


def test_resampling_keeps_a_tone_and_its_length(tone):
    up = resample(tone, 44100)
    assert up.samples == round(0.25 * 44100)
    assert up.notes == ("8000 Hz resampled to 44100 Hz",)
    exact = np.sin(2 * np.pi * 440 * np.arange(up.samples) / 44100) * 0.5
    assert np.abs(up.waveform[0] - exact)[2000:-2000].max() < 1e-3
    assert resample(tone, 8000) is tone


def test_channels_are_mixed_and_copied():
    rng = np.random.default_rng(0)
    stereo = AudioClip(rng.uniform(-1, 1, (2, 50)), 8000)
    mono = to_channels(stereo, 1)
    assert np.allclose(mono.waveform, stereo.waveform.mean(0))
    assert np.array_equal(to_channels(mono, 2).waveform, np.repeat(mono.waveform, 2, 0))
    assert to_channels(AudioClip(np.ones((6, 5)), 8000), 2).peak <= 1
    assert to_channels(AudioClip(np.ones((5, 5)), 8000), 2).peak <= 1
    with pytest.raises(UsageError, match="mono or stereo"):
        to_channels(stereo, 3)


def test_levels():
    noise = AudioClip(np.random.default_rng(0).normal(0, 0.01, 16000), 16000)
    assert normalise(noise, "peak").peak == pytest.approx(10 ** (-1 / 20), rel=1e-3)
    assert rms_db(normalise(noise, "rms")) == pytest.approx(-20, abs=0.01)
    assert lufs(normalise(noise, "lufs")) == pytest.approx(-16, abs=0.1)
    assert normalise(noise, "none") is noise
    silent = AudioClip(np.zeros(100), 8000)
    assert normalise(silent, "rms") is silent


def test_short_clips_have_no_lufs_and_say_so(tone):
    quiet = normalise(tone, "lufs")
    assert rms_db(quiet) == pytest.approx(-20, abs=0.01)
    assert "0.4 s" in quiet.notes[-1]


def test_loudness_never_clips():
    wave = np.zeros(8000)
    wave[::400] = 0.5
    clicks = normalise(AudioClip(wave, 8000), "rms")
    assert clicks.peak <= 10 ** (-1 / 20) + 1e-6
    assert "held back" in clicks.notes[-1]


def test_an_unknown_loudness_is_suggested_for(tone):
    with pytest.raises(UsageError, match="Did you mean 'lufs'"):
        normalise(tone, "luf")
