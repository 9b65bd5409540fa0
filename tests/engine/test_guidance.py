"""Guidance: denoisers that wrap denoisers."""

from __future__ import annotations

import pytest
import torch
from closed_forms import ALL_SCHEDULES, ALL_SOLVERS, finish, named

from polydiff.engine.guidance import cfg, inpaint, overlay
from polydiff.engine.noise import noise
from polydiff.engine.processes import Gaussian
from polydiff.engine.sampling import start
from polydiff.engine.solvers import make_table
from polydiff.errors import UsageError

EDM = ALL_SCHEDULES["edm"]
X = {"x": noise([1, 2], "x", 0, (4, 3))}
T = torch.tensor([0.5, 0.01], dtype=torch.float64)
COND = {"digit": torch.tensor([[1.0], [2.0]]), "mask": torch.tensor([[5.0], [5.0]])}
NULL = {"digit": torch.zeros(1, 1)}


class Network:
    """x̂0 = x / 2 + digit, counting its calls."""

    def __init__(self):
        self.batches: list[int] = []

    def __call__(self, x, t, mask, cond):
        self.batches.append(len(t))
        assert (cond["mask"] == 5).all()  # not named in the null: never dropped
        assert len(cond["digit"]) == len(x["x"]) == len(t)
        assert all(len(m) == len(t) for m in mask.values())
        return {"x": x["x"] / 2 + cond["digit"][:, :, None]}


def test_guidance_extrapolates_in_one_doubled_call():
    network = Network()
    mask = {"x": torch.ones(2, 4, dtype=torch.bool)}
    answer = cfg(network, 3.0, NULL)(X, T, mask, COND)["x"]
    assert network.batches == [4]
    assert torch.allclose(answer, X["x"] / 2 + 3 * COND["digit"][:, :, None])


def test_no_guidance_is_the_denoiser_itself():
    network = Network()
    assert cfg(network, 1.0, NULL) is network
    assert cfg(network, 3.0, {}) is network


def test_scale_zero_is_the_unconditioned_model():
    assert torch.allclose(cfg(Network(), 0.0, NULL)(X, T, {}, COND)["x"], X["x"] / 2)


def test_outside_its_interval_the_conditioned_answer_stands_alone():
    # log_snr is -7.4 at t = 0.5 and 0.4 at t = 0.01
    answer = cfg(Network(), 3.0, NULL, interval=(-2.0, 2.0), schedule=EDM)(X, T, {}, COND)["x"]
    weight = torch.tensor([1.0, 3.0])[:, None, None]
    assert torch.allclose(answer, X["x"] / 2 + weight * COND["digit"][:, :, None])


def test_rescale_restores_the_deviation_over_real_entries():
    mask = {"x": torch.tensor([[True, True, True, False], [True, True, False, False]])}

    def network(x, t, m, cond):
        return {"x": x["x"] * (1 + cond["digit"][:, :, None])}

    plain = network(X, T, mask, COND)["x"]
    full = cfg(network, 4.0, NULL, rescale=1.0)(X, T, mask, COND)["x"]
    for i, length in enumerate((3, 2)):
        expected = plain[i, :length].std(correction=0)
        assert torch.allclose(full[i, :length].std(correction=0), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rescale": 2.0}, "rescale must lie between 0 and 1"),
        ({"interval": (0.0, 1.0)}, "needs the schedule"),
    ],
)
def test_bad_guidance_is_named(arguments, message):
    with pytest.raises(UsageError, match=message):
        cfg(Network(), 2.0, NULL, **arguments)


def test_a_condition_that_is_missing_is_named():
    with pytest.raises(UsageError, match="needs the condition digit"):
        cfg(Network(), 2.0, NULL)(X, T, {}, {})


@pytest.mark.parametrize("schedule", ALL_SCHEDULES)
@pytest.mark.parametrize("case", ALL_SOLVERS, ids=named)
def test_inpainting_ends_on_the_known_values(case, schedule):
    schedule = ALL_SCHEDULES[schedule]
    known = {"x": torch.full((1, 6, 2), 0.5)}
    keep = {"x": torch.tensor([[True, True, False, False, True, False]])}
    table = make_table(case[0], schedule, 5, options=case[1])
    seen = []

    def denoiser(x, t, mask, cond):
        seen.append((float(t[0]), x["x"].clone()))
        return {"x": x["x"] * 0.1}

    run = start({"x": Gaussian()}, schedule, table, 3, {"x": (6, 2)})
    x = finish(inpaint(denoiser, known, keep), {"x": Gaussian()}, table, run).x["x"]
    assert torch.equal(x[keep["x"]], known["x"][keep["x"]])
    assert not torch.equal(x[~keep["x"]], known["x"][~keep["x"]])


def test_the_kept_part_follows_the_schedule():
    """x = alpha known + sigma eps with one eps all the way, so the network sees the right noise level."""
    schedule = ALL_SCHEDULES["rectified_flow"]
    known, keep = {"x": torch.full((1, 6, 2), 0.5)}, {"x": torch.ones(1, 6, dtype=torch.bool)}
    table = make_table("adams", schedule, 6)
    eps = noise(3, "x", 0, (6, 2))

    def denoiser(x, t, mask, cond):
        expected = (1 - t) * 0.5 + t * eps.double()
        assert torch.allclose(x["x"].double(), expected, atol=1e-4)
        return x

    run = start({"x": Gaussian()}, schedule, table, 3, {"x": (6, 2)})
    finish(inpaint(denoiser, known, keep), {"x": Gaussian()}, table, run)


def test_keep_may_name_single_features_and_single_components():
    state = {"x": torch.zeros(1, 2, 2), "y": torch.zeros(1, 2, 2)}
    keep = {"x": torch.tensor([[[True, False], [False, True]]])}
    result = overlay(state, {"x": torch.ones(1, 2, 2)}, keep)
    assert result["x"].tolist() == [[[1, 0], [0, 1]]]
    assert result["y"] is state["y"]


def test_what_is_kept_must_be_known():
    with pytest.raises(UsageError, match="known values are not given"):
        inpaint(Network(), {}, {"x": torch.ones(1, 2, dtype=torch.bool)})
