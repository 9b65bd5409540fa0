"""Encoding: exact on a Gaussian, the way back of sampling on a mixture, of second order."""

from __future__ import annotations

from collections import deque

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from polydiff.engine.loop import sample, start
from polydiff.engine.ode.encoding import encode, encoding_table
from polydiff.engine.processes import Fixed, Gaussian
from polydiff.engine.solvers import make_table
from polydiff.testing.closed_forms import ALL_SCHEDULES, Mixture

PROCESSES = {"x": Gaussian()}
GAUSSIAN = Mixture(
    torch.zeros(1, 3, dtype=torch.float64), torch.tensor([[0.5, 1.0, 2.0]], dtype=torch.float64)
)
PAIR = Mixture(
    torch.tensor([[-1.5, 0.5], [1.0, -0.5]], dtype=torch.float64),
    torch.full((2, 2), 0.2, dtype=torch.float64),
)


def encoded(problem: Mixture, schedule, x, steps: int = 20):
    return encode(problem.denoiser(schedule), PROCESSES, schedule, {"x": x}, steps=steps)["x"]


@pytest.mark.parametrize("name", ALL_SCHEDULES)
def test_a_gaussian_is_stretched_as_the_closed_form_says(name: str) -> None:
    schedule = ALL_SCHEDULES[name]
    x = torch.randn(4, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    one = torch.tensor(1.0, dtype=torch.float64)
    alpha, sigma = float(schedule.alpha(one)), float(schedule.sigma(one))
    variances = GAUSSIAN.variances[0]
    exact = x * ((alpha**2 * variances + sigma**2) / variances).sqrt()
    found = encoded(GAUSSIAN, schedule, x, 200)
    assert float((found - exact).abs().max() / exact.abs().max()) < 2e-3


@pytest.mark.parametrize("name", ALL_SCHEDULES)
def test_sampling_leads_back(name: str) -> None:
    schedule = ALL_SCHEDULES[name]
    x = torch.tensor([[[-1.6, 0.7], [1.3, -0.2], [0.0, 0.1]]], dtype=torch.float64)
    noisy = encoded(PAIR, schedule, x, 60)
    table = make_table("heun", schedule, 60, "exponential")
    run = start(PROCESSES, schedule, table, [0], {"x": (3, 2)}, dtype=torch.float64, noisy={"x": noisy})
    last = deque(sample(PAIR.denoiser(schedule), PROCESSES, table, run), maxlen=1).pop().x["x"]
    assert float((last - x).abs().max()) < 0.02


def test_the_error_falls_with_the_square_of_the_steps() -> None:
    schedule = ALL_SCHEDULES["edm"]
    x = torch.tensor([[[-1.6, 0.7], [1.3, -0.2]]], dtype=torch.float64)
    best = encoded(PAIR, schedule, x, 640)
    errors = [float((encoded(PAIR, schedule, x, n) - best).abs().max()) for n in (40, 80)]
    assert 3.0 < errors[0] / errors[1] < 5.5


def test_carried_components_stay_as_they_are() -> None:
    schedule = ALL_SCHEDULES["edm"]
    state = {"x": torch.ones(2, 3, 2), "label": torch.full((2, 1, 1), 7.0)}

    def denoiser(x, t, mask, cond):
        return {"x": x["x"] * 0.5}

    found = encode(denoiser, {"x": Gaussian(), "label": Fixed()}, schedule, state)
    assert torch.equal(found["label"], state["label"])


def test_a_table_says_what_it_costs() -> None:
    table = encoding_table(ALL_SCHEDULES["edm"], 10)
    assert table.nfe == 20
    assert [row.t for row in table.rows] == sorted(row.t for row in table.rows)


@given(st.floats(0, 1), st.integers(0, 1000))
def test_between_two_noises_lies_noise_of_their_length(share: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(64, 3, generator=generator) for _ in range(2))
    a, b = a / a.norm(), b / b.norm()
    between = Gaussian().between
    made = between(a, b, share)
    assert float(made.norm()) == pytest.approx(1, abs=1e-5)
    assert torch.allclose(made, between(b, a, 1 - share), atol=1e-6)
    assert torch.allclose(between(a, a, share), a, atol=1e-6)
