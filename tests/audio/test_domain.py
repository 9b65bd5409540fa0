"""The domain's promises: sizes, sources, kept samples bit for bit, loops, levels."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from polydiff.errors import UsageError
from polydiff_audio import regions
from polydiff_audio.clip import AudioClip
from polydiff_audio.config import AudioOptions
from polydiff_audio.convert import resample
from polydiff_audio.domain import Audio
from polydiff_audio.metrics import click, is_clipped, loop_click, pitch
from polydiff_audio.splice import weights
from polydiff_audio.vocabulary import conditions_of

from .conftest import request_of


def made(domain: Audio, request) -> AudioClip:
    """What comes out when the network says just what the source is, or else noise."""
    shape = domain.shapes(request)["frames"]
    frames = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    if request.source is not None:
        frames = domain.init(request)["frames"]
    assert tuple(frames.shape) == shape
    return domain.finish(domain.decode({"frames": frames[None]}, {})[0], request)


def test_reading_the_domain_imports_no_torch():
    code = "import sys, polydiff_audio.domain; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_config_is_measured_from_the_data(domain, dataset):
    config = domain.config
    assert config.codec.sample_rate == 8000
    assert len(config.codec.deviation) == config.codec.bands
    digit, speaker = domain.conditions()
    assert digit.choices == ("zero", "one", "two", "three", "four", "five", "seven", "nine")
    assert digit.parse(7) == "seven"
    assert "theo" in speaker.choices
    assert list(config.lengths) == [""]  # eight clips are no crowd
    again = type(config).model_validate_json(config.model_dump_json())
    assert again == config
    assert Audio.configure(dataset, {"codec": {"kind": "stft"}}).codec.sample_rate == 8000


def test_batches_are_padded_and_masked(domain, clips):
    state, mask = domain.encode(clips[:3])
    lengths = [domain.codec.tokens(clip.samples) for clip in clips[:3]]
    assert mask["frames"].sum(1).tolist() == lengths
    assert state["frames"][~mask["frames"]].abs().max() == 0
    alone, _ = domain.encode(clips[1:2])
    assert torch.equal(alone["frames"][0], state["frames"][1, : lengths[1]])


def test_clips_of_any_kind_are_encoded(domain, clips):
    other = AudioClip(np.repeat(resample(clips[0], 48000).waveform, 2, 0), 48000)
    a, b = domain.encode([clips[0]])[0]["frames"], domain.encode([other])[0]["frames"]
    assert a.shape == b.shape
    assert float((a - b).abs().mean()) < 0.1


def test_durations_are_asked_for_or_drawn_by_the_seed(domain, clips):
    assert domain.shapes(request_of(duration=0.5))["frames"][0] == 32
    assert domain.shapes(request_of(source=clips[0]))["frames"][0] == domain.codec.tokens(clips[0].samples)
    drawn = [domain.samples(request_of(seed=seed)) for seed in range(20)]
    assert drawn == [domain.samples(request_of(seed=seed)) for seed in range(20)]
    assert len(set(drawn)) > 10
    assert min(drawn) > 0.2 * 8000
    assert max(drawn) < 0.7 * 8000
    assert made(domain, request_of(duration=0.2)).duration == 0.2


def test_length_follows_what_is_asked_for(domain):
    lengths = {"": (0.2, 0.2), "digit=one": (0.4, 0.4), "digit=one,speaker=theo": (0.6, 0.6)}
    own = Audio(domain.config.model_copy(update={"lengths": lengths}))
    for asked, seconds in [
        ({}, 0.2), ({"digit": "two"}, 0.2), ({"digit": "one"}, 0.4),
        ({"digit": {"one": 0.7, "two": 0.3}}, 0.4),
        ({"digit": "one", "speaker": "theo"}, 0.6), ({"digit": "one", "speaker": "lucas"}, 0.4),
    ]:  # fmt: skip
        assert own.samples(request_of(conditions=asked)) == seconds * 8000


@pytest.mark.parametrize(
    ("region", "duration"),
    [
        ({"keep": "0:0.2s"}, None),
        ({"keep": "0:0.1,0.3:"}, None),
        ({"redo": "0.15:0.25"}, None),
        ({"keep": "0:0.3"}, 0.9),
        ({"keep": ":"}, 0.9),
    ],
)
@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (44100, 2)])
def test_kept_samples_are_exact_bit_for_bit(domain, clips, region, duration, rate, channels):
    source = AudioClip(np.repeat(resample(clips[0], rate).waveform * 0.3, channels, 0), rate)
    request = request_of(source=source, duration=duration, **region)
    _, mask = domain.known(request)
    assert 0 < int(mask["frames"].sum()) < len(mask["frames"])
    out = made(domain, request)
    assert (out.sample_rate, out.channels) == (rate, channels)
    assert out.samples == round((duration or source.duration) * rate)
    both = min(out.samples, source.samples)
    keep = regions.mask(domain._intervals(request), out.samples, rate)
    core = (weights(keep, rate) == 1)[:both]
    assert np.array_equal(out.waveform[:, :both][:, core], source.waveform[:, :both][:, core])
    assert core.sum() > keep.sum() - 4 * round(0.005 * rate) - 8
    seams = [round(t * rate) for ab in domain._intervals(request) for t in ab]
    assert all(click(out, at) < 3 for at in seams if 0 < at < out.samples - 100)
    assert out.peak <= max(1.0, source.peak)


def test_known_frames_are_those_of_the_source(domain, clips):
    request = request_of(source=clips[0], keep="0:0.3", duration=1.0)
    state, mask = domain.known(request)
    known = mask["frames"]
    count = int(known.sum())
    assert known[:count].all()
    assert count == (2400 - 128) // 128
    loud = AudioClip(clips[0].waveform / clips[0].peak * 10 ** (-1 / 20), 8000)
    own = domain.encode([loud])[0]["frames"][0]
    assert torch.allclose(state["frames"][:count], own[:count], atol=1e-4)


def test_what_cannot_be_kept_is_told(domain, clips):
    source = clips[0]
    for region, words in [
        ({"keep": ":"}, "Nothing is left"),
        ({"keep": "0:9"}, "passes the end"),
        ({"redo": "soon"}, "needs a start"),
    ]:
        with pytest.raises(UsageError, match=words):
            domain.known(request_of(source=source, **region))
    with pytest.raises(UsageError, match="as long as its source"):
        domain.init(request_of(source=source, duration=2.0))


def test_variations_start_at_the_level_of_training_clips(domain, clips):
    quiet = AudioClip(clips[2].waveform * 0.01, 8000)
    a, b = (domain.init(request_of(source=clip))["frames"] for clip in (quiet, clips[2]))
    assert torch.allclose(a, b, atol=1e-3)


def test_loops_from_nothing_and_from_a_clip(domain, clips):
    for request in [
        request_of(duration=0.4, loop=True),
        request_of(source=clips[0], loop=True),
        request_of(source=clips[0], loop=True, redo="0:0.1,0.5:"),
    ]:
        out = made(domain, request)
        assert out.samples == domain.samples(request)
        assert loop_click(out) < 2
    keep = regions.mask(domain._intervals(request), out.samples, 8000)
    core = weights(keep, 8000, loop=True) == 1
    assert np.array_equal(out.waveform[:, core], clips[0].waveform[:, core])


def test_levels_rates_and_channels_of_the_result(domain, clips):
    plain = made(domain, request_of(source=clips[0]))
    assert plain.peak == pytest.approx(10 ** (-1 / 20), rel=1e-3)
    assert not is_clipped(plain)
    assert made(domain, request_of(source=clips[0], loudness="rms")).peak < 1
    other = made(domain, request_of(source=clips[0], sample_rate=16000, channels=2))
    assert (other.sample_rate, other.channels) == (16000, 2)
    assert other.notes[-1] == "8000 Hz resampled to 16000 Hz"


def test_notes_reach_the_user(domain, clips, tmp_path):
    source = AudioClip(resample(clips[0], 16000).waveform, 16000, ("8-bit samples",))
    out = made(domain, request_of(source=source, keep="0:0.2"))
    notes = domain.save(out, tmp_path / "a.wav")
    assert notes == ["source: 8-bit samples", "new sound made at 8000 Hz and resampled to 16000 Hz"]
    assert domain.load(tmp_path / "a.wav").samples == out.samples
    varied = made(domain, request_of(source=source))
    assert varied.notes == ("source: 8-bit samples", "source: 16000 Hz resampled to 8000 Hz")


def test_options_are_checked():
    for wrong in [{"duration": 0}, {"duration": -1}, {"loudness": "loud"}, {"channels": 3}, {"sped": 1}]:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            AudioOptions(**wrong)


def test_a_network_is_made_for_the_conditions(domain):
    network = domain.network()
    frames = torch.zeros(2, 5, domain.codec.features)
    cond = {name: torch.tensor([row] * 2) for name, row in domain.conditions().null().items()}
    assert network({"frames": frames}, torch.zeros(2), {}, cond)["frames"].shape == frames.shape


def test_augmentation_is_a_function_of_the_seed(domain, clips):
    (a, labels), (b, _) = (domain.augment(clips[0], {"digit": "zero"}, seed) for seed in (1, 2))
    assert labels == {"digit": "zero"}
    assert a == domain.augment(clips[0], {}, 1)[0]
    assert a != b
    assert a.peak == pytest.approx(clips[0].peak, rel=1e-3)


def test_a_pitch_that_is_a_number_moves_with_the_speed(domain, tone):
    pitched = Audio(domain.config.model_copy(update={"conditions": conditions_of([{"pitch": 69}]).root}))
    moved = set()
    for seed in range(5):
        clip, labels = pitched.augment(tone, {"pitch": 69}, seed)
        assert abs(labels["pitch"] - (69 + 12 * np.log2(pitch(clip) / 440))) < 0.1
        moved.add(labels["pitch"])
    assert len(moved) > 2
