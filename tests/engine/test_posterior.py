"""Posterior sampling and particles against the posterior of a Gaussian, which is known."""

from __future__ import annotations

import math
from collections import deque

import pytest
import torch

from polydiff.engine.inverse import posterior
from polydiff.engine.inverse.particles import measured, sample_particles, systematic
from polydiff.engine.inverse.posterior import Measurement, conjugate_gradients, diffpir, dps, mmps, pigdm
from polydiff.engine.loop import start
from polydiff.engine.noise import noise
from polydiff.engine.processes import Gaussian
from polydiff.engine.solvers import make_table
from polydiff.errors import UsageError
from polydiff.testing.closed_forms import ALL_SCHEDULES, Mixture, finish

EDM = ALL_SCHEDULES["edm"]
A = torch.tensor([[1.0, 0.5, -0.3], [0.2, -1.0, 0.7]]).double()
Y, STD = torch.tensor([[0.8, -0.5]]).double(), 0.2
SEEN = Measurement(lambda x0, mask: x0["x"].sum(1) @ A.T, Y, STD)
VARIANCES = {"any": torch.tensor([[1.0, 0.25, 0.04]]).double(), "unit": torch.ones(1, 3).double()}
PROCESSES = {"x": Gaussian()}


def prior(kind: str) -> Mixture:
    return Mixture(torch.zeros(1, 3).double(), VARIANCES[kind])


def law(kind: str, y=Y) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and covariance of x0 given y."""
    S = torch.diag(VARIANCES[kind][0])
    gain = S @ A.T @ torch.linalg.inv(A @ S @ A.T + STD**2 * torch.eye(2).double())
    return gain @ y[0], S - gain @ A @ S


@pytest.mark.parametrize("schedule", ALL_SCHEDULES)
@pytest.mark.parametrize(("method", "kind"), [(mmps, "any"), (mmps, "unit"), (pigdm, "unit")])
@pytest.mark.parametrize("t", [0.02, 0.5, 0.95])
def test_a_gaussian_gets_the_exact_posterior_mean(method, kind, schedule, t):
    """E[x0 | x, y] of Gaussian data: two measurements of x0, with the noise of x and with that of y."""
    schedule, time = ALL_SCHEDULES[schedule], torch.full((2,), t, dtype=torch.float64)
    alpha, sigma = schedule.alpha(time[0]), schedule.sigma(time[0])
    x = noise([1, 2], "x", 0, (1, 3), torch.float64) * (alpha**2 + sigma**2).sqrt()
    informed = method(prior(kind).denoiser(schedule), SEEN, schedule, jacobian_below=math.inf)
    found = informed({"x": x}, time, {}, {})["x"][:, 0]
    precision = torch.diag(1 / VARIANCES[kind][0] + alpha**2 / sigma**2) + A.T @ A / STD**2
    exact = torch.linalg.solve(precision, (x[:, 0] * alpha / sigma**2 + Y @ A / STD**2).T).T
    assert torch.allclose(found, exact, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("schedule", ["edm", "rectified_flow"])
@pytest.mark.parametrize(("method", "kind"), [(mmps, "any"), (pigdm, "unit")])
def test_samples_have_the_posteriors_moments(method, kind, schedule):
    schedule = ALL_SCHEDULES[schedule]
    table = make_table("adams", schedule, 20)
    run = start(PROCESSES, schedule, table, range(1500), {"x": (1, 3)}, dtype=torch.float64)
    options = {"iterations": 2, "jacobian_below": math.inf}
    informed = method(prior(kind).denoiser(schedule), SEEN, schedule, **options)
    x = finish(informed, PROCESSES, table, run).x["x"][:, 0]
    mean, covariance = law(kind)
    assert torch.allclose(x.mean(0), mean, atol=4 * float(covariance.diag().max() / 1500) ** 0.5)
    assert torch.allclose(torch.cov(x.T), covariance, atol=0.15 * float(covariance.diag().max()))


@pytest.mark.parametrize("method", [dps, diffpir])
def test_the_others_meet_the_measurement(method):
    table, options = make_table("ddpm", EDM, 50), {"iterations": 2} if method is diffpir else {}
    run = start(PROCESSES, EDM, table, range(100), {"x": (1, 3)}, dtype=torch.float64)
    x = finish(method(prior("unit").denoiser(EDM), SEEN, EDM, **options), PROCESSES, table, run).x["x"][:, 0]
    assert float((x @ A.T - Y).square().mean().sqrt()) < 2 * STD


@pytest.mark.parametrize("method", ["dps", "pigdm", "mmps", "diffpir"])
def test_padding_and_company_change_nothing(method):
    """Three nodes alone, and beside five with something else in the padding."""

    def network(x, t, mask, cond):
        value = torch.tanh(x["x"])
        return {"x": torch.where(mask["x"][..., None], value, torch.nan) if mask else value}

    seen = Measurement(lambda x0, mask: x0["x"].sum(1), torch.ones(1, 2), 0.1)
    informed = getattr(posterior, method)(network, seen, EDM)
    x, t = noise([1, 2], "x", 0, (5, 2)), torch.full((2,), 0.01, dtype=torch.float64)
    mask = {"x": torch.arange(5) < torch.tensor([[3], [5]])}
    together = informed({"x": torch.where(mask["x"][..., None], x, 0.0)}, t, mask, {})["x"]
    alone = informed({"x": x[:1, :3]}, t[:1], {}, {})["x"]
    assert torch.allclose(together[0, :3], alone[0], atol=1e-6)


@pytest.mark.parametrize("method", [mmps, pigdm])
@pytest.mark.parametrize("t", [0.02, 0.5])
def test_a_wrong_jacobian_does_no_harm_where_it_is_not_believed(method, t):
    """The right x̂0 of N(0, I) with a Jacobian of 5: without it the answer is exact, believed it is not."""
    exact, time = prior("unit").denoiser(EDM), torch.full((2,), t, dtype=torch.float64)
    x = noise([1, 2], "x", 0, (1, 3), torch.float64) * float(EDM.sigma(time[0]))

    def network(x, t, mask, cond):
        return {"x": exact(x, t, mask, cond)["x"].detach() + 5 * (x["x"] - x["x"].detach())}

    best = mmps(exact, SEEN, EDM)({"x": x}, time, {}, {})["x"]
    # sigma is 1.6 and 40: at 40 the default does not believe it either
    for ratio in (0.0, 1.0) if t == 0.02 else (0.0, 1.0, posterior.BELIEVED_BELOW):
        found = method(network, SEEN, EDM, jacobian_below=ratio)({"x": x}, time, {}, {})["x"]
        assert torch.allclose(found, best, rtol=1e-5, atol=1e-7)
    believed = method(network, SEEN, EDM, jacobian_below=math.inf)({"x": x}, time, {}, {})["x"]
    assert not torch.allclose(believed, best, atol=1e-3)


@pytest.mark.parametrize("t", [0.02, 0.95])
@pytest.mark.parametrize("ratio", [0.0, 0.5, math.inf])
def test_pigdm_is_exact_for_data_of_the_deviation_it_is_told(ratio, t):
    """With the network's Jacobian and with what stands for it."""
    time = torch.full((2,), t, dtype=torch.float64)
    schedule = ALL_SCHEDULES["rectified_flow"]
    denoiser = Mixture(torch.zeros(1, 3).double(), VARIANCES["unit"] / 4).denoiser(schedule)
    x = {"x": noise([1, 2], "x", 0, (1, 3), torch.float64)}
    exact = mmps(denoiser, SEEN, schedule, jacobian_below=math.inf)(x, time, {}, {})["x"]
    told = pigdm(denoiser, SEEN, schedule, sigma_data=0.5, jacobian_below=ratio)(x, time, {}, {})["x"]
    assert torch.allclose(told, exact, rtol=1e-5, atol=1e-7)


def test_conjugate_gradients_solve_and_stop():
    random = noise([1, 2], "m", 0, (4, 4), torch.float64)
    matrix = random @ random.transpose(1, 2) + 0.1 * torch.eye(4)
    b = noise([1, 2], "b", 0, (4,), torch.float64)
    times = lambda v: (matrix @ v[..., None])[..., 0]  # noqa: E731
    assert torch.allclose(times(conjugate_gradients(times, b, 8)), b, atol=1e-8)
    assert torch.equal(conjugate_gradients(lambda v: -v, b, 3), torch.zeros_like(b))


@pytest.mark.parametrize("bend", [0.0, 1.0])
def test_particles_reach_the_posterior(bend):
    table, count = make_table("ddpm", EDM, 50), 1500
    twist = measured(SEEN, EDM)
    denoiser = prior("any").denoiser(EDM)
    arguments = (denoiser, PROCESSES, EDM, table, twist, [5], count, {"x": (1, 3)})
    last = deque(sample_particles(*arguments, bend=bend, dtype=torch.float64), maxlen=1).pop()
    mean, covariance = law("any")
    x, weights = last.x["x"][0, :, 0], last.weights[0]
    found = weights @ x
    assert torch.allclose(found, mean, atol=0.04)
    centred = x - found
    assert torch.allclose(centred.T @ (weights[:, None] * centred), covariance, atol=0.015)
    assert last.effective > count / 10
    assert last.drawn(3)["x"].shape == (1, 1, 3)


def test_particles_of_a_sample_do_not_know_their_company():
    table, twist = make_table("ddpm", EDM, 12), measured(SEEN, EDM)

    def ends(seeds):
        arguments = (prior("any").denoiser(EDM), PROCESSES, EDM, table, twist, seeds, 8, {"x": (1, 3)})
        return deque(sample_particles(*arguments, dtype=torch.float64), maxlen=1).pop()

    together, alone = ends([3, 4, 5]), ends([4])
    assert torch.allclose(together.x["x"][1], alone.x["x"][0])
    assert torch.allclose(together.log_weights[1], alone.log_weights[0])


def test_particles_carry_what_a_denoiser_remembers():
    """Here the step before, of which it makes nothing: so all is as without."""
    table, twist, exact = make_table("ddpm", EDM, 12), measured(SEEN, EDM), prior("any").denoiser(EDM)

    def remembering(x, t, mask, cond):
        answer = exact({"x": x["x"] + 0 * x.get("x/before", x["x"])}, t, mask, cond)
        return {**answer, "x/before": x["x"]}

    def end(denoiser):
        arguments = (denoiser, PROCESSES, EDM, table, twist, [3, 4], 8, {"x": (1, 3)})
        return deque(sample_particles(*arguments, dtype=torch.float64), maxlen=1).pop()

    found, expected = end(remembering), end(exact)
    assert found.run.memory["x/before"].shape == (16, 1, 3)
    assert torch.allclose(found.x["x"], expected.x["x"])
    assert torch.allclose(found.log_weights, expected.log_weights)


def test_systematic_resampling_keeps_to_the_weights():
    weights = torch.tensor([[0.1, 0.2, 0.3, 0.4], [1.0, 0.0, 0.0, 0.0]])
    chosen = systematic(weights, torch.tensor([[0.3], [0.9]]), 40)
    counts = torch.stack([row.bincount(minlength=4) for row in chosen])
    assert ((counts - 40 * weights).abs() <= 1).all()


def test_what_cannot_be_asked_is_said_in_a_line():
    exact = Measurement(SEEN.operator, Y)
    with pytest.raises(UsageError, match="dps needs a std above 0"):
        dps(prior("any").denoiser(EDM), exact, EDM)
    with pytest.raises(UsageError, match="std above 0"):
        measured(exact, EDM)
    with pytest.raises(UsageError, match="std must be 0 or more"):
        Measurement(SEEN.operator, Y, -1.0)
    wrong = Measurement(SEEN.operator, torch.ones(1, 5), 0.1)
    with pytest.raises(UsageError, match="both must have one shape"):
        wrong.log_likelihood({"x": torch.zeros(1, 1, 3).double()})
