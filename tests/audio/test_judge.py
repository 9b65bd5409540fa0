"""The judges that ship: small, licensed, right about recordings that they never heard."""

import json

import numpy as np
import pytest
import torch

from polydiff.dataset import Dataset
from polydiff.errors import UsageError
from polydiff_audio import external
from polydiff_audio.clip import AudioClip
from polydiff_audio.convert import resample, to_channels
from polydiff_audio.evaluation import evaluate, metrics
from polydiff_audio.judge import KIND, batch_of, log_mel

SHIPPED = sorted(path.parent.name for path in KIND.folder.glob("*/judge.json"))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_judges_are_small_and_say_what_they_are(name):
    assert (KIND.folder / name / "weights.safetensors").stat().st_size < 2**20
    about = json.loads((KIND.folder / name / "judge.json").read_text())
    assert about["card"].keys() == {"summary", "data", "licence", "held_out_accuracy"}
    assert about["card"]["held_out_accuracy"].keys() == about["choices"].keys()
    KIND.load(name)


def test_recordings_are_named_rightly(clips, dataset):
    _, heard = KIND.load("digits").assess(clips)
    judge = KIND.load("digits")
    digits = [int(label) for label in dataset.labels("digit")]
    speakers = [judge.choices["speaker"].index(label) for label in dataset.labels("speaker")]
    assert heard["digit"].argmax(1).tolist() == digits
    assert heard["speaker"].argmax(1).tolist() == speakers


def test_what_does_not_matter_does_not_matter(clips):
    judge = KIND.load("digits")
    base, _ = judge.assess(clips[:2])
    quiet, _ = judge.assess([AudioClip(clip.waveform * 0.05, 8000) for clip in clips[:2]])
    stereo, _ = judge.assess([to_channels(resample(clip, 16000), 2) for clip in clips[:2]])
    one, _ = judge.assess(clips[:1])
    assert torch.allclose(quiet, base, atol=1e-3)
    assert float((stereo - base).abs().mean()) < 0.1 * float(base.abs().mean())
    assert torch.allclose(one, base[:1], atol=1e-4)  # company and padding change nothing


def test_a_judge_is_saved_and_loaded(tmp_path, clips):
    judge = KIND.new({"sound": ("a", "b", "c")}, {"sample_rate": 8000})
    network = judge.network.eval()
    judge.save(tmp_path / "mine")
    again = KIND.load(tmp_path / "mine")
    x = batch_of([log_mel(clips[0], 8000)])
    assert torch.allclose(network.features(*x), again.network.features(*x), atol=1e-2)
    with pytest.raises(UsageError, match="no judge there"):
        KIND.load(tmp_path / "none")


def test_figures_of_recordings_and_of_noise(clips, dataset, monkeypatch):
    monkeypatch.setattr(external, "available", lambda: ())
    labels = [item.conditions for item in dataset]
    rng = np.random.default_rng(0)
    real = Dataset.of(clips, labels)
    noise = Dataset.of([AudioClip(rng.normal(0, 0.1, clip.samples), 8000) for clip in clips], labels)
    good, bad = evaluate(real, real, "digits"), evaluate(noise, real, "digits")
    assert good["digit_accuracy"] == good["speaker_accuracy"] == 1
    assert bad["digit_accuracy"] < 0.5
    assert good["inception"] > 2 * bad["inception"]
    assert good["am"] < bad["am"]
    assert set(metrics("digits")) <= set(good)


@pytest.mark.skipif("pocketsphinx" not in external.available(), reason="an optional judge")
def test_pocketsphinx_hears_digits(clips):
    heard = external.recognise([clips[6], clips[2]])
    assert heard == ["seven", "two"]


@pytest.mark.skipif("openwakeword" not in external.available(), reason="an optional judge")
def test_openwakeword_embeds(clips):
    rows = external.embed(clips[:2])
    assert rows.shape == (2, 96)
    assert not np.allclose(rows[0], rows[1])


@pytest.mark.skipif("speechmos" not in external.available(), reason="an optional judge")
def test_dnsmos_prefers_speech_to_noise(clips):
    noise = AudioClip(np.random.default_rng(0).normal(0, 0.1, 8000), 8000)
    speech, hiss = external.mos([clips[6], noise])
    assert speech > hiss
