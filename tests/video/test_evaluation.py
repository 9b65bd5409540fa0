"""Figures, against closed forms and on real clips; the shipped judge knows characters it never saw."""

import json

import numpy as np
import pytest

from polydiff.dataset import Dataset
from polydiff.errors import UsageError
from polydiff_video import metrics as m
from polydiff_video import prediction
from polydiff_video.clip import VideoClip
from polydiff_video.config import VideoConfig
from polydiff_video.convert import enlarged
from polydiff_video.domain import Video
from polydiff_video.evaluation import evaluate, metrics
from polydiff_video.judge import KIND

from .conftest import DATA

SHIPPED = sorted(path.parent.name for path in KIND.folder.glob("*/judge.json"))
PARTS = ("body", "bottom", "top", "hair")


@pytest.fixture(scope="session")
def real() -> Dataset:
    """The clips with every label; the four digits of the name are body, bottom, top and hair."""
    data = Video.dataset(DATA, "{action}_{direction}_{character}")
    rows = [
        {
            "action": item.conditions["action"],
            "direction": item.conditions["direction"],
            **dict(zip(PARTS, item.conditions["character"], strict=True)),
        }
        for item in data
    ]
    return Dataset.of(data.examples(), rows)


@pytest.fixture(scope="session")
def judged() -> Video:
    return Video(VideoConfig(judge="sprites"))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_judges_are_small_and_say_what_they_are(name):
    assert (KIND.folder / name / "weights.safetensors").stat().st_size < 2**20
    about = json.loads((KIND.folder / name / "judge.json").read_text())
    assert about["card"].keys() == {"summary", "data", "licence", "held_out_accuracy"}
    assert about["card"]["held_out_accuracy"].keys() == about["choices"].keys()


def test_clips_are_named_rightly(real):
    judge = KIND.load("sprites")
    _, seen = judge.assess(real.examples())
    for task, p in seen.items():
        assert [judge.choices[task][i] for i in p.argmax(1)] == real.labels(task)


def test_what_does_not_matter_does_not_matter(real):
    judge = KIND.load("sprites")
    clips = real.examples()[:2]
    base, _ = judge.assess(clips)
    large, _ = judge.assess([enlarged(clip, 2) for clip in clips])
    rate, _ = judge.assess([VideoClip(clip.frames, 30) for clip in clips])
    assert np.allclose(base, large, atol=1e-4)
    assert np.allclose(base, rate, atol=1e-4)


def test_a_judge_is_saved_and_loaded(tmp_path, real):
    judge = KIND.load("sprites")
    judge.save(tmp_path / "mine")
    again = KIND.load(tmp_path / "mine")
    assert np.allclose(judge.assess(real.examples()[:1])[0], again.assess(real.examples()[:1])[0], atol=1e-2)
    with pytest.raises(UsageError, match=r"no judge there.*Shipped judges: sprites"):
        KIND.load(tmp_path / "none")


def test_figures_of_real_clips_are_at_their_limits(judged, real):
    figures = evaluate(judged, real, real)
    assert all(figures[f"{task}_accuracy"] == 1 for task in ("action", "direction", *PARTS))
    assert figures["inception"] == pytest.approx(9, abs=0.05)
    assert figures["marginal_entropy"] == pytest.approx(np.log(9), abs=0.01)
    assert figures["conditional_entropy"] < 0.02
    assert figures["constancy"] > 0.99
    assert figures["novelty"] == pytest.approx(0, abs=1e-3)
    assert set(metrics("sprites")) <= set(figures)


def test_figures_tell_what_is_wrong(judged, real):
    rows = [item.conditions for item in real]
    one_kind = Dataset.of([real.examples()[0]] * 9, rows[:9])
    figures = evaluate(judged, one_kind, real)
    assert figures["inception"] < 1.1
    assert figures["marginal_entropy"] < 0.1
    shares = [row["action"] == rows[0]["action"] for row in rows[:9]]
    assert figures["action_accuracy"] == pytest.approx(np.mean(shares))
    mixed = [
        VideoClip(np.where(np.arange(8)[:, None, None, None] < 4, a.frames, b.frames), 8)
        for a, b in zip(real.examples()[:4], real.examples()[1:5], strict=True)
    ]
    assert evaluate(judged, Dataset.of(mixed), real)["constancy"] < 0.95
    rng = np.random.default_rng(0)
    noise = [VideoClip(rng.integers(0, 255, (8, 64, 64, 3), np.uint8), 8) for _ in real]
    bad = evaluate(judged, Dataset.of(noise, rows), real)
    assert bad["frechet"] > 2 * bad["frechet_floor"]
    assert bad["novelty"] > 1


def test_without_a_judge_there_are_still_figures(real):
    figures = evaluate(Video(), real, real)
    assert figures.keys() == {"frechet", "frechet_floor", "novelty"}


def test_psnr_ssim_and_frame_error_of_known_pairs():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 200, (3, 16, 16, 3), np.uint8)
    assert m.psnr(a, a + 5) == pytest.approx(20 * np.log10(255 / 5))
    assert m.ssim(a, a) == pytest.approx(1)
    assert m.ssim(a, a + 5) > m.ssim(a, rng.integers(0, 200, a.shape, np.uint8))
    assert np.isnan(m.ssim(a[:, :8], a[:, :8]))
    black, white = np.zeros((2, 4, 5, 3), np.uint8), np.full((2, 4, 5, 3), 255, np.uint8)
    assert m.frame_error(black, white) == pytest.approx(20)
    assert m.frame_error(black[:1], white[:1]) == pytest.approx(20)  # a mean over frames, no sum


def test_a_filled_in_frame_is_compared_with_a_copy_of_the_nearest():
    true = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.full((1, 12, 12, 3), 51, np.uint8)
    found = prediction.figures([true], true, np.array([True, False, False, False, True]))
    assert found["frame_error_copy"] == pytest.approx(144 * (0.2**2 + 0.4**2 + 0.2**2) / 3)
    assert found["frame_error_context"] == pytest.approx(144 * (0.2**2 + 0 + 0.2**2) / 3)
    assert (found["frame_error"], found["psnr"]) == (0, 100)


def test_predictions_are_compared_with_their_sources(tmp_path, domain, clips):
    """Records as sampling writes them: the source's frames 0 to 3 kept, frames 4 to 7 made."""
    from dataclasses import replace

    from polydiff.support.files import sha256
    from polydiff_video.files import write

    path = tmp_path / "a.gif"
    write(clips[0], path)
    source = {"path": str(path), "sha256": sha256(path), "strength": None, "keep": "0:4", "redo": None}
    frames = clips[0].frames.copy()
    frames[4:] = np.clip(frames[4:].astype(int) + 3, 0, 255)
    near, exact = VideoClip(frames, 8), clips[0]
    record = {"source": source, "options": {}}
    items = [replace(item, record=record) for item in Dataset.of([near, exact])]
    figures = evaluate(domain, Dataset(items), Dataset.of(clips))
    error = m.frame_error(frames[4:], clips[0].frames[4:])
    assert figures["frame_error"] == pytest.approx(error / 2)
    assert figures["frame_error_best"] == 0
    half = (frames[4:].astype(float) + clips[0].frames[4:]) / 2
    assert figures["frame_error_average"] == pytest.approx(m.frame_error(half, clips[0].frames[4:]))
    true, given = clips[0].frames[4:] / 255.0, clips[0].frames[:4] / 255.0

    def floor(guess):
        return pytest.approx(((true - guess) ** 2).sum((1, 2)).mean())

    assert figures["frame_error_black"] == floor(0)
    assert figures["frame_error_context"] == floor(given.mean(0))
    assert figures["frame_error_copy"] == floor(given[-1])
    one = prediction.figures_beside_sources(domain, Dataset(items[:1]))
    assert one["frame_error"] == pytest.approx(error)
    assert not one.keys() & {"frame_error_best", "frame_error_average"}
    assert figures["psnr"] == pytest.approx((m.psnr(frames[4:], clips[0].frames[4:]) + 100) / 2)
    gone = [replace(item, record={**record, "source": {**source, "sha256": "0"}}) for item in items]
    assert "psnr" not in evaluate(domain, Dataset(gone), Dataset.of(clips))
