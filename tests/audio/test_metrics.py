import numpy as np

from polydiff.dataset import Dataset
from polydiff.evaluation.scores import nearest_distances
from polydiff_audio import metrics as m
from polydiff_audio.clip import AudioClip
from polydiff_audio.convert import resample
from polydiff_audio.evaluation import evaluate, metrics
from polydiff_audio.preview import contact_sheet, picture


def test_spectral_distance_grows_with_difference(clips):
    same, noisy = clips[0], AudioClip(clips[0].waveform + 0.01 * np.sin(np.arange(clips[0].samples)), 8000)
    assert m.spectral_distance(same, same) == 0
    assert 0 < m.spectral_distance(same, noisy) < m.spectral_distance(same, clips[1])
    assert m.spectral_distance(same, resample(same, 16000)) < 1.5


def test_neighbours(clips):
    prints = np.stack([m.fingerprint(clip, 8000) for clip in clips])
    quieter = np.stack([m.fingerprint(AudioClip(clip.waveform * 0.1, 8000), 8000) for clip in clips])
    assert nearest_distances(quieter, prints).max() < 0.1
    assert nearest_distances(prints, prints, same=True).min() > 5


def test_pitch_is_tracked():
    for midi in (28, 45, 60, 81, 100):
        hertz = 440 * 2 ** ((midi - 69) / 12)
        t = np.arange(16000) / 16000
        wave = sum(np.sin(2 * np.pi * hertz * k * t) / k for k in range(1, 5) if hertz * k < 7000)
        found = m.pitch(AudioClip(wave * np.exp(-2 * t) / 4, 16000))
        assert abs(12 * np.log2(found / hertz)) < 0.2
    assert m.pitch(AudioClip(np.random.default_rng(0).normal(0, 0.1, 8000), 16000)) is None


def test_clipping_and_clicks(clips):
    assert not any(m.is_clipped(clip) for clip in clips)
    assert m.is_clipped(AudioClip(np.clip(clips[0].waveform * 3, -1, 1), 8000))
    cut = clips[4].waveform.copy()
    at = int(np.abs(cut).argmax())
    cut[:, at:] *= -1
    assert m.click(AudioClip(cut, 8000), at) > 3 > m.click(clips[4], at)


def test_figures_prefer_real_clips_to_noise(clips):
    real = Dataset.of(clips)
    rng = np.random.default_rng(0)
    noise = Dataset.of([AudioClip(rng.normal(0, 0.1, clip.samples), 8000) for clip in clips])
    for name, metric in metrics("").items():
        good, bad = metric(real, real), metric(noise, real)
        assert good < bad if metric.better == "lower" else good > bad, name
    figures = evaluate(noise, real, "")
    assert figures["frechet"] > 5 * figures["frechet_floor"]
    assert figures["clipped"] == 0
    assert figures["novelty"] > 1
    assert evaluate(real, real, "")["novelty"] < 1e-3


def test_pictures_are_png(clips):
    one = picture(clips[0])
    sheet = contact_sheet(clips[:3], ["a", "b", "c"])
    assert one[:8] == sheet[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(clips[0].preview()) == len(one)
    assert picture(AudioClip(np.zeros(10), 8000))[:4] == b"\x89PNG"
