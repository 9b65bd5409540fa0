import numpy as np
import pytest

from polydiff.errors import UsageError
from polydiff.support import spans
from polydiff_audio import loops, regions
from polydiff_audio.clip import AudioClip
from polydiff_audio.metrics import loop_click
from polydiff_audio.splice import soften, splice, weights


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0:0.3s", ((0.0, 0.3),)),
        ("0.2:0.5", ((0.2, 0.5),)),
        (":200ms", ((0.0, 0.2),)),
        ("0.9:", ((0.9, 1.0),)),
        ("0.5:0.6,0:0.1", ((0.0, 0.1), (0.5, 0.6))),
        ("0:0.5,0.4:0.7 s", ((0.0, 0.7),)),
        (":", ((0.0, 1.0),)),
    ],
)
def test_regions_are_read(text, found):
    assert spans.parse(text, 1.0) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0.3", "needs a start and an end"),
        ("0.5:0.2", "ends before it begins"),
        ("0:1.5", "passes the end of the clip: 1.000 s"),
        ("a:b", "'a' is not a time"),
        ("-1:2", "not a time"),
        ("0:nan", "not a time"),
        ("", "needs a start"),
    ],
)
def test_what_is_no_region(text, words):
    with pytest.raises(UsageError, match=words):
        spans.parse(text, 1.0)


def test_masks_and_weights():
    keep = regions.mask(((0.0, 0.25), (0.75, 1.0)), 1000, 1000)
    assert keep.sum() == 500
    weight = weights(keep, 1000)
    assert (weight[:245] == 1).all()
    assert (weight[250:750] == 0).all()
    assert (weight[755:] == 1).all()
    assert (np.diff(weight[240:255]) <= 0).all()
    assert (weights(np.ones(10, bool), 1000) == 1).all()


def test_the_weights_of_a_loop_go_round():
    keep = np.ones(100, bool)
    keep[:10] = False
    assert weights(keep, 1000)[-1] == 1  # the clip's end is no seam
    assert weights(keep, 1000, loop=True)[-1] < 1  # but a loop's is


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (44100, 2), (22050, 1)])
def test_kept_samples_are_those_of_the_source(rate, channels):
    rng = np.random.default_rng(0)
    source = AudioClip(rng.uniform(-0.5, 0.5, (channels, rate)), rate)
    made = AudioClip(rng.uniform(-1.5, 1.5, 8000), 8000)
    out = splice(made, source, ((0.25, 0.5),), 1.0)
    core = slice(round(0.255 * rate) + 1, round(0.495 * rate) - 1)
    assert (out.sample_rate, out.channels, out.samples) == (rate, channels, rate)
    assert np.array_equal(out.waveform[:, core], source.waveform[:, core])
    assert not np.array_equal(out.waveform[:, : rate // 4], source.waveform[:, : rate // 4])
    assert out.peak <= 1
    assert bool(out.notes) == (rate != 8000)


def test_loops_have_no_seam(clips):
    wave = np.sin(np.arange(10_000, dtype=np.float32) * 0.0913)[None] * 0.5
    extra = loops.fold_samples(8000, 8000)
    assert extra == 1200
    folded = loops.fold(wave[:, : 8000 + extra], 8000)
    assert folded.shape == (1, 8000)
    assert loop_click(AudioClip(wave[:, :8000], 8000)) > 3
    assert loop_click(AudioClip(folded, 8000)) < 1.5
    assert np.array_equal(folded[:, extra:], wave[:, extra:8000])
    assert loops.fold(wave, 10_000).shape == (1, 10_000)


def test_ends_are_soft():
    clip = soften(AudioClip(np.ones(8000), 8000))
    assert clip.waveform[0, 0] == clip.waveform[0, -1] == 0
    assert (clip.waveform[0, 16:-16] == 1).all()
