import numpy as np
import pytest
import torch

from polydiff.errors import UsageError
from polydiff_audio.clip import AudioClip


def test_a_clip_is_made_of_arrays_and_tensors_alike():
    wave = np.linspace(-1, 1, 100, dtype=np.float32)
    assert AudioClip(wave, 8000) == AudioClip(torch.from_numpy(wave)[None], 8000)
    assert AudioClip(wave, 8000) != AudioClip(wave, 16000)
    assert AudioClip(wave, 8000) != "a clip"
    assert hash(AudioClip(wave, 8000)) == hash(AudioClip(wave[None], 8000))


def test_a_clip_never_changes():
    wave = np.zeros(10, np.float32)
    clip = AudioClip(wave, 8000)
    wave[:] = 1
    assert clip.peak == 0
    with pytest.raises(ValueError, match="read-only"):
        clip.waveform[0, 0] = 1


def test_what_a_clip_says_of_itself():
    clip = AudioClip(np.full((2, 400), 0.25), 800)
    assert (clip.channels, clip.samples, clip.duration, clip.peak) == (2, 400, 0.5, 0.25)
    assert repr(clip) == "AudioClip(0.500 s, 800 Hz, stereo, peak 0.250)"


@pytest.mark.parametrize(
    ("wave", "rate", "words"),
    [
        (np.zeros((1, 0)), 8000, "needs samples"),
        (np.zeros((1, 2, 3)), 8000, "needs samples"),
        (np.array([0.0] * 8 + [np.nan]), 8, "the first at 1.000 s"),
        (np.array([np.inf]), 8000, "NaN or infinite"),
        (np.zeros(3), 0, "sample rate"),
    ],
)
def test_what_is_no_clip(wave, rate, words):
    with pytest.raises(UsageError, match=words):
        AudioClip(wave, rate)


def test_a_notebook_plays_it_without_files(tone):
    html = tone._repr_html_()
    assert "<audio controls" in html
    assert "base64,UklGR" in html  # RIFF


def test_it_saves_itself(tone, tmp_path):
    assert tone.save(tmp_path / "a.wav") == []
    assert (tmp_path / "a.wav").stat().st_size == 44 + 2 * 2000
