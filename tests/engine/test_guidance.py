"""Guidance: denoisers that wrap denoisers."""

from __future__ import annotations

import pytest
import torch

from polydiff.engine.guidance import (
    apg,
    autoguidance,
    cfg,
    cfg_zero,
    classifier,
    inpaint,
    paste_known,
    steer,
    threshold,
)
from polydiff.engine.loop import sample, start, step
from polydiff.engine.noise import noise
from polydiff.engine.processes import Gaussian
from polydiff.engine.solvers import SOLVERS, make_table
from polydiff.errors import UsageError
from polydiff.runtime.requests import Request, sample_requests
from polydiff.runtime.saved import load_run, save_run
from polydiff.testing.closed_forms import ALL_SCHEDULES, ALL_SOLVERS, finish, gaussian, named

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


KNOWN, KEPT, EPS = torch.full((6, 2), 0.5), torch.arange(6) < 4, noise(3, "x", 0, (6, 2))[0]


def sees_the_right_noise(x, t, mask, cond):
    """x = alpha known + sigma eps with one eps all the way."""
    t = float(t[0])
    assert torch.allclose(x["x"][0, KEPT], ((1 - t) * KNOWN + t * EPS)[KEPT], atol=1e-4)
    return {"x": x["x"] * 0.1}


@pytest.mark.parametrize("options", [{}, {"readout": "x0"}, {"readout": "eps"}])
def test_the_kept_part_follows_the_schedule(options):
    schedule = ALL_SCHEDULES["rectified_flow"]
    table = make_table("adams", schedule, 7, options=options)
    told = inpaint(sees_the_right_noise, {"x": KNOWN[None]}, {"x": KEPT[None]})
    finish(told, {"x": Gaussian()}, table, start({"x": Gaussian()}, schedule, table, 3, {"x": (6, 2)}))


@pytest.mark.parametrize("steps", [1, 5, 6, 12])
@pytest.mark.parametrize("solver", SOLVERS)
def test_what_a_request_keeps_is_seen_at_the_right_noise(solver, steps):
    """By v of another deviation, and by noise that a solver adds, too."""
    schedule = ALL_SCHEDULES["rectified_flow"]
    table = make_table(solver, schedule, steps)
    wanted = Request({"x": (6, 2)}, 3, known={"x": KNOWN}, keep={"x": KEPT})
    [(_, state)] = sample_requests(sees_the_right_noise, {"x": Gaussian()}, schedule, table, [wanted])
    assert torch.equal(state["x"][KEPT], KNOWN[KEPT])


def test_keep_may_name_single_features_and_single_components():
    state = {"x": torch.zeros(1, 2, 2), "y": torch.zeros(1, 2, 2)}
    keep = {"x": torch.tensor([[[True, False], [False, True]]])}
    result = paste_known(state, {"x": torch.ones(1, 2, 2)}, keep)
    assert result["x"].tolist() == [[[1, 0], [0, 1]]]
    assert result["y"] is state["y"]


def test_what_is_kept_must_be_known():
    with pytest.raises(UsageError, match="known values are not given"):
        inpaint(Network(), {}, {"x": torch.ones(1, 2, dtype=torch.bool)})


MASK = {"x": torch.tensor([[True, True, True, False], [True, True, False, False]])}


def curved(x, t, mask, cond):
    """Something that is no scaled copy of itself without the condition; NaN in the padding."""
    value = torch.tanh(x["x"] + cond["digit"][:, :, None] * torch.arange(3.0))
    return {"x": torch.where(mask["x"][..., None], value, torch.nan) if mask else value}


def test_cfg_zero_fits_the_unconditioned_flow_first():
    t = T.clone()
    y = X["x"] / (1 + EDM.sigma(t)).float()[:, None, None]
    conditioned, null = curved(X, t, {}, COND)["x"], curved(X, t, {}, {"digit": torch.zeros(2, 1)})["x"]
    answer = cfg_zero(curved, 3.0, NULL, EDM)(X, t, {}, COND)["x"]
    for i in range(2):
        a, b = (y - conditioned)[i], (y - null)[i]
        b = b * (a * b).sum() / (b * b).sum()
        assert torch.allclose(y[i] - answer[i], b + 3 * (a - b), atol=1e-5)


def test_cfg_zero_begins_with_no_flow():
    one = torch.ones(2, dtype=torch.float64)
    assert torch.allclose(cfg_zero(curved, 3.0, NULL, EDM)(X, one, {}, COND)["x"], X["x"] / 81)
    other = cfg_zero(curved, 3.0, NULL, EDM, zero_from=None)(X, one, {}, COND)["x"]
    assert not torch.allclose(other, X["x"] / 81)


def test_autoguidance_goes_beyond_the_weaker_model():
    strong, weak = (lambda x, t, m, c, k=k: {"x": k * x["x"]} for k in (0.5, 0.2))
    answer = autoguidance(strong, weak, 2.0)(X, T, {}, {})["x"]
    assert torch.allclose(answer, 0.8 * X["x"])
    assert autoguidance(strong, weak, 1.0) is strong


def test_apg_with_nothing_mended_is_cfg():
    plain = cfg(curved, 3.0, NULL)(X, T, {}, COND)["x"]
    answer = apg(curved, 3.0, NULL, eta=1.0, momentum=0.0)(X, T, {}, COND)["x"]
    assert torch.allclose(answer, plain, atol=1e-6)


def test_apg_adds_a_short_step_across_the_answer():
    answer = apg(curved, 3.0, NULL, norm=0.1, momentum=0.0)(X, T, MASK, COND)["x"]
    conditioned = curved(X, T, MASK, COND)["x"]
    for i, length in enumerate((3, 2)):
        c, added = conditioned[i, :length].flatten(), (answer - conditioned)[i, :length].flatten()
        assert abs(float(c @ added)) < 1e-5
        assert 0 < float(added.square().mean().sqrt()) <= 2 * 0.1 + 1e-6


def test_the_momentum_of_apg_resumes_bit_for_bit(tmp_path):
    table, processes = make_table("adams", EDM, 6), {"x": Gaussian()}
    guided = inpaint(apg(curved, 4.0, NULL), {}, {})
    run = start(processes, EDM, table, [1, 2], {"x": (4, 3)}, MASK)
    assert run.memory == {}
    whole = finish(guided, processes, table, run, MASK, COND)
    assert list(whole.memory) == ["x/momentum"]
    assert not whole.memory["x/momentum"][~MASK["x"]].any()
    for paused in sample(guided, processes, table, run, MASK, COND):
        save_run(paused, tmp_path / "run")
        resumed = load_run(tmp_path / "run")
        for _ in range(resumed.row, table.nfe):
            resumed = step(resumed, table, guided, processes, MASK, COND)
        assert torch.equal(resumed.x["x"], whole.x["x"])
    forgetful = finish(apg(curved, 4.0, NULL, momentum=0.0), processes, table, run, MASK, COND)
    assert forgetful.memory == {}
    assert not torch.equal(forgetful.x["x"], whole.x["x"])


def test_a_denoiser_that_remembers_is_not_guided_twice():
    with pytest.raises(UsageError, match="remembers"):
        cfg(apg(curved, 4.0, NULL), 2.0, NULL)(X, T, MASK, COND)
    twice = cfg(apg(curved, 4.0, NULL, momentum=0.0), 1.5, NULL)(X, T, MASK, COND)["x"]
    assert twice[MASK["x"]].isfinite().all()


def test_a_threshold_brings_large_answers_within_the_limit():
    values = torch.tensor([[3.0, -1.0, 0.5, 99.0], [0.3, -0.2, 99.0, 99.0]])[:, :, None]
    answer = threshold(lambda *_: {"x": values}, 1.0, quantile=0.5)(X, T, MASK, {})["x"][..., 0]
    assert torch.allclose(answer[0, :3], torch.tensor([1.0, -1.0, 0.5]))  # the median, 1, is within
    assert torch.allclose(answer[1, :2], torch.tensor([0.3, -0.2]))  # and so is all of this one
    answer = threshold(lambda *_: {"x": values}, 1.0, quantile=1.0)(X, T, MASK, {})["x"][..., 0]
    assert torch.allclose(answer[0, :3], torch.tensor([1.0, -1 / 3, 0.5 / 3]))


@pytest.mark.parametrize("schedule", ALL_SCHEDULES)
def test_a_classifier_steers_a_gaussian_to_the_exact_posterior(schedule):
    """log p(y | x_t) of y = first coordinate + noise is known, so the answer is E[x0 | x, y]."""
    schedule = ALL_SCHEDULES[schedule]
    t, variances = torch.full((2,), 0.4, dtype=torch.float64), gaussian().variances
    alpha, sigma, y, noise_of = float(schedule.alpha(t[0])), float(schedule.sigma(t[0])), 0.7, 0.3

    def log_probability(x, t, mask, cond):
        mean = x["x"] * alpha * variances / (alpha**2 * variances + sigma**2)
        left = variances * sigma**2 / (alpha**2 * variances + sigma**2)
        return (-0.5 * (y - mean) ** 2 / (left + noise_of**2))[:, :, 0].sum(1)

    x = noise([1, 2], "x", 0, (1, 3), torch.float64)
    found = classifier(gaussian().denoiser(schedule), log_probability, schedule)({"x": x}, t, {}, {})["x"]
    precision = 1 / variances[0] + alpha**2 / sigma**2
    precision[0] += 1 / noise_of**2
    pulled = x * alpha / sigma**2
    pulled[..., 0] += y / noise_of**2
    assert torch.allclose(found, pulled / precision, rtol=1e-6)


def test_steering_a_linear_reward_tilts_a_gaussian_exactly():
    """exp(reward) with a linear reward moves a Gaussian by its covariance times the slope."""
    t, slope = torch.full((2,), 0.01, dtype=torch.float64), torch.tensor([1.0, -2.0, 3.0]).double()
    x = noise([1, 2], "x", 0, (1, 3), torch.float64)
    plain = gaussian().denoiser(EDM)
    found = steer(plain, lambda x0, mask: -(x0["x"] @ slope).sum(1), EDM)({"x": x}, t, {}, {})["x"]
    sigma2 = float(EDM.sigma(t[0])) ** 2
    left = gaussian().variances * sigma2 / (gaussian().variances + sigma2)
    assert torch.allclose(found, plain({"x": x}, t, {}, {})["x"] + left * slope)


def test_what_guidance_cannot_use_is_said_in_a_line():
    plain = gaussian().denoiser(EDM)
    with pytest.raises(UsageError, match="one number a sample"):
        steer(plain, lambda x0, mask: x0["x"], EDM)(X, T, {}, {})
    with pytest.raises(UsageError, match="has no gradient"):
        steer(plain, lambda x0, mask: torch.zeros(2), EDM)(X, T, {}, {})
    with pytest.raises(UsageError, match="limit must be above 0"):
        threshold(plain, 0.0)
    with pytest.raises(UsageError, match="momentum must lie"):
        apg(plain, 2.0, NULL, momentum=1.0)
