"""Likelihood against closed forms, over padded states of several components."""

from __future__ import annotations

import math

import pytest
import torch

from polydiff.engine.noise import noise
from polydiff.engine.ode.likelihood import log_likelihood
from polydiff.engine.processes import Fixed, Gaussian
from polydiff.errors import UsageError
from polydiff.testing.closed_forms import ALL_SCHEDULES

EDM = ALL_SCHEDULES["edm"]
DEVIATION = {"x": 0.5, "wave": 1.5}


def denoiser(schedule):
    """The exact one of two independent Gaussian components; `label` is carried, padding is spoilt."""

    def call(x, t, mask, cond):
        alpha, sigma = schedule.alpha(t)[:, None, None], schedule.sigma(t)[:, None, None]
        gain = {k: alpha * s**2 / (alpha**2 * s**2 + sigma**2) for k, s in DEVIATION.items()}
        found = {k: x[k] * gain[k] for k in gain.keys() & x.keys()}
        for name, real in mask.items():
            found[name] = torch.where(real[..., None], found[name], torch.nan)
        return found

    return call


def density(x: torch.Tensor, deviation: float, dimensions: int) -> float:
    return float(-0.5 * (x / deviation).square().sum()) - dimensions * (
        math.log(deviation) + 0.5 * math.log(2 * math.pi)
    )


@pytest.mark.parametrize("name", ALL_SCHEDULES)
@pytest.mark.parametrize("probes", [None, 2])
def test_two_padded_components_have_the_density_of_the_closed_form(name, probes):
    schedule = ALL_SCHEDULES[name]
    state = {k: s * noise([1, 2], k, 0, (4, 2), torch.float64) for k, s in DEVIATION.items()}
    mask = {"x": torch.arange(4) < torch.tensor([[2], [4]])}
    state["x"] = torch.where(mask["x"][..., None], state["x"], 0.0)
    state["label"] = torch.ones(2, 1, 1).double()
    processes = {"x": Gaussian(), "wave": Gaussian(), "label": Fixed()}
    call = denoiser(schedule)
    found = log_likelihood(call, processes, schedule, state, mask, probes=probes, rtol=1e-4, atol=1e-4)
    sizes = [(2 * n, 8) for n in (2, 4)]
    exact = [
        density(state["x"][i], 0.5, few) + density(state["wave"][i], 1.5, many)
        for i, (few, many) in enumerate(sizes)
    ]
    assert found.dimensions.tolist() == [12, 16]
    assert torch.allclose(found.log_density, torch.tensor(exact).double(), rtol=2e-3)
    alone = log_likelihood(
        call,
        {"x": Gaussian(), "wave": Gaussian()},
        schedule,
        {"x": state["x"][:1, :2], "wave": state["wave"][:1]},
        probes=probes,
        rtol=1e-4,
        atol=1e-4,
    )
    assert torch.allclose(alone.log_density, found.log_density[:1], rtol=1e-8)


def test_a_centred_component_lives_in_fewer_dimensions():
    x = Gaussian(centre=True).project(0.5 * noise(1, "x", 0, (5, 2), torch.float64), None)
    found = log_likelihood(denoiser(EDM), {"x": Gaussian(centre=True)}, EDM, {"x": x})
    assert found.dimensions.tolist() == [8]
    assert found.log_density.item() == pytest.approx(density(x, 0.5, 8), rel=2e-3)


def test_probes_agree_with_the_trace_within_their_spread():
    matrix = noise(1, "m", 0, (3, 3), torch.float64)[0]
    covariance = matrix @ matrix.T + 0.2 * torch.eye(3)
    values, vectors = torch.linalg.eigh(covariance)

    def call(x, t, mask, cond):
        gain = vectors @ torch.diag(values / (values + EDM.sigma(t[0]) ** 2)) @ vectors.T
        return {"x": x["x"] @ gain}

    def at_own_times(x, t, mask, cond):
        each = [call({"x": x["x"][i : i + 1]}, t[i : i + 1], {}, {})["x"] for i in range(len(t))]
        return {"x": torch.cat(each)}

    state = {"x": noise(range(4), "x", 0, (1, 3), torch.float64)}
    exact = log_likelihood(at_own_times, {"x": Gaussian()}, EDM, state)
    normal = torch.distributions.MultivariateNormal(torch.zeros(3).double(), covariance)
    assert torch.allclose(exact.log_density, normal.log_prob(state["x"][:, 0]), rtol=2e-3)
    guess = log_likelihood(at_own_times, {"x": Gaussian()}, EDM, state, probes=32, seeds=range(4))
    assert ((guess.log_density - exact.log_density).abs() < 5 * guess.spread + 0.01).all()
    assert (guess.spread > 0).all()


def test_no_probe_is_refused():
    with pytest.raises(UsageError, match="at least 1"):
        log_likelihood(denoiser(EDM), {"x": Gaussian()}, EDM, {"x": torch.zeros(1, 1, 1)}, probes=0)
