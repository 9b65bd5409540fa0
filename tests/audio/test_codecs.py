"""Codecs: exact where they say so, close where they say so, and deterministic."""

import numpy as np
import pytest
import torch

from polydiff_audio.clip import AudioClip
from polydiff_audio.codecs import LogMelConfig, StftConfig, default_config, make_codec
from polydiff_audio.codecs.griffin_lim import griffin_lim
from polydiff_audio.codecs.transform import Transform
from polydiff_audio.metrics import click

CONFIGS = [
    LogMelConfig(),
    LogMelConfig(channels=2, patch=1, low_hz=50.0),
    default_config(22050),
    StftConfig(),
    StftConfig(channels=2, patch=2),
    StftConfig(window=512, hop=128, power=0.3),
]


def waves(clips, channels: int) -> list[torch.Tensor]:
    return [torch.tensor(np.repeat(clip.waveform, channels, 0)) for clip in clips]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_frames_have_unit_variance_and_say_their_size(clips, config):
    sounds = waves(clips, config.channels)
    codec = make_codec(config)
    codec = make_codec(codec.fit(sounds))
    frames = [codec.encode(sound) for sound in sounds]
    for sound, x in zip(sounds, frames, strict=True):
        assert x.shape == (codec.tokens(sound.shape[1]), codec.features)
    assert codec.decode(frames[4]).shape == (config.channels, len(frames[4]) * codec.samples_per_token)
    everything = torch.cat(frames)
    assert abs(float(everything.mean())) < 0.05
    assert abs(float(everything.std()) - 1) < 0.1
    assert type(config).model_validate_json(codec.config.model_dump_json()) == codec.config


@pytest.mark.parametrize("config", [c for c in CONFIGS if c.kind == "stft"], ids=str)
def test_complex_spectra_come_back_exactly(clips, config):
    for sound in waves(clips[:3], config.channels):
        codec = make_codec(make_codec(config).fit([sound]))
        assert float((codec.decode(codec.encode(sound))[:, : sound.shape[1]] - sound).abs().max()) < 1e-4


def test_log_mel_comes_back_alike(domain, clips):
    state, mask = domain.encode(clips[:4])
    for clip, back in zip(clips, domain.decode(state, mask), strict=False):
        assert domain.distance(clip, back) < 1.5


def test_a_token_reads_no_further_than_it_says(clips):
    for config in CONFIGS[:1] + CONFIGS[3:4]:
        codec = make_codec(config)
        sound = waves(clips[:1], 1)[0]
        token, size = 20, codec.samples_per_token
        changed = sound.clone()
        changed[:, : token * size - codec.reach] = 0
        changed[:, (token + 1) * size + codec.reach :] = 0
        assert torch.equal(codec.encode(sound)[token], codec.encode(changed)[token])


def test_griffin_lim_finds_phases_and_repeats_itself(clips):
    transform = Transform(512, 256, 64)
    sound = torch.tensor(clips[0].waveform[:, :4096])
    magnitude = transform.forward(sound).abs()
    found = griffin_lim(magnitude, transform, 4096)
    error = (transform.forward(found).abs() - magnitude).norm() / magnitude.norm()
    assert float(error) < 0.1
    assert torch.equal(found, griffin_lim(magnitude, transform, 4096))
    other = torch.rand_like(magnitude)
    together = griffin_lim(torch.cat([other, magnitude]), transform, 4096)
    assert torch.allclose(together[1:], found, atol=1e-4)


def test_griffin_lim_of_silence_is_silence():
    transform = Transform(512, 256, 64)
    assert griffin_lim(torch.zeros(1, 257, 9), transform, 512).abs().max() == 0


def test_new_sound_joins_known_sound_in_phase(domain, clips):
    codec = domain.codec
    clip = clips[0]
    made = codec.decode(codec.encode(torch.tensor(clip.waveform)))
    known = torch.nn.functional.pad(torch.tensor(clip.waveform), (0, made.shape[1] - clip.samples))
    cut = 2000
    keep = torch.arange(made.shape[1]) < cut
    joined = codec.join(made, known, keep)
    assert torch.equal(joined[:, :cut], known[:, :cut])
    near = slice(cut // 64 - 1, cut // 64 + 3)
    wanted = codec.transform.forward(known).abs()[..., near]

    def error(wave):
        return float((codec.transform.forward(wave).abs()[..., near] - wanted).norm() / wanted.norm())

    assert error(joined) < 0.7 * error(torch.where(keep, known, made))
    assert click(AudioClip(joined.numpy(), 8000), cut) < 2


def test_filters_are_never_empty():
    from polydiff_audio.codecs.mel import mel_filters

    for bins, bands, rate in [(257, 64, 8000), (129, 96, 8000), (1025, 128, 44100)]:
        filters = mel_filters(bins, bands, rate)
        assert torch.allclose(filters.sum(1), torch.ones(bands))
        assert bool((filters >= 0).all())
