"""The shipped video/moving-digits, on clips of digits that it never saw."""

from pathlib import Path

import numpy as np
import pytest
import torch

import polydiff
import polydiff_video
from polydiff.domain import SampleRequest
from polydiff.engine.solvers import make_table
from polydiff.errors import UsageError
from polydiff.model import Model
from polydiff.workflows.calibrate import calibrate, reference_problem
from polydiff_video import prediction
from polydiff_video.clip import VideoClip
from polydiff_video.config import VideoOptions
from polydiff_video.files import read

FOLDER = Path(__file__).parent / "digits"
WEIGHTS = Path(polydiff_video.__file__).parent / "checkpoints" / "moving-digits"
KEPT = np.arange(20) < 10


@pytest.fixture(scope="module")
def model() -> Model:
    return polydiff.load("video/moving-digits")


@pytest.fixture(scope="module")
def truths() -> list[VideoClip]:
    return [read(FOLDER / f"{i}.npz") for i in range(4)]


def test_it_is_small_and_says_what_it_is(model):
    assert sum(p.numel() for p in model.network.parameters()) <= 8e6
    assert sum(file.stat().st_size for file in WEIGHTS.iterdir()) < 16 * 2**20
    assert model.manifest.card.licence == "BSD-3-Clause"
    assert "MNIST" in model.manifest.card.data
    assert model.manifest.metrics["frame_error"] > 0


def test_what_is_kept_stays_and_one_call_beats_every_floor(model, truths):
    rows = []
    for truth in truths:
        made = model.sample(source=truth, keep="0:10", steps=1, seed=0)[0].example
        assert np.array_equal(made.frames[:10], truth.frames[:10])
        assert len(made) == 20
        rows.append(prediction.figures([made.frames], truth.frames, KEPT))
        assert rows[-1]["frame_error"] < rows[-1]["frame_error_black"]
    found = prediction.over_sources(rows)
    floors = [found[f"frame_error_{name}"] for name in ("black", "context", "copy")]
    assert found["frame_error"] < 0.8 * min(floors)


def test_the_network_is_told_which_frames_to_work_on(model, truths):
    request = SampleRequest(options=VideoOptions(), source=truths[0], keep="0:10")
    assert model.domain.carried(request)["made"].tolist() == [[frame] for frame in range(10, 20)]


def test_digits_go_on_beyond_the_window(model, truths):
    made = model.sample(source=truths[0], keep="0:20", frames=40, steps=1, seed=0)[0].example
    assert len(made) == 40
    assert np.array_equal(made.frames[:20], truths[0].frames)
    ink = made.frames[20:].astype(float).sum((1, 2, 3))
    assert (ink > 0.2 * truths[0].frames.astype(float).sum((1, 2, 3)).mean()).all()


def test_without_frames_to_go_on_from_it_says_so(model):
    with pytest.raises(UsageError, match=r"go on from frames.*--keep 0:10"):
        model.sample(seed=0)
    with pytest.raises(UsageError, match=r"go on from frames.*--from clip.gif --keep 0:10"):
        calibrate(model, 5)


@pytest.mark.slow
def test_a_table_is_tuned_on_what_comes_after_given_frames(model, truths):
    """Each of two samples in one call keeps its own clip's frames; the reference is what sampling makes."""
    problem = reference_problem(model, [7, 8], 3, "cpu", sources=truths[:2], keep="0:10")
    table = make_table(schedule=model.schedule, steps=3)
    for i, truth in enumerate(truths[:2]):
        [(_, state)] = model.plan(1, 7 + i, solver=table, device="cpu", source=truth, keep="0:10").states()
        [case] = problem.cases
        assert torch.allclose(case.end["frames"][i], state["frames"], atol=1e-3)
        given = model.domain.codec.encode(torch.tensor(truth.frames))[: 10 * model.domain.codec.patches]
        assert torch.allclose(case.end["frames"][i, : len(given)], given, atol=1e-3)
