"""Stochastic solvers: what is wrong with the law of their samples vanishes as the steps grow."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from polydiff.engine.loop import start
from polydiff.engine.processes import Gaussian
from polydiff.engine.schedules import Schedule
from polydiff.engine.solvers import make_table
from polydiff.engine.table import Table
from polydiff.testing.closed_forms import ALL_SCHEDULES, STOCHASTIC, finish, mixture, named
from tests.engine.test_solver_identities import sliced_distance

EDM = ALL_SCHEDULES["edm"]
FIRST_ORDER = {("ddpm", ()), ("ddim", ()), ("dpmpp", (("order", 1),)), ("er_sde", (("order", 1),))}


def weak_order(solver: str, options: dict) -> int:
    """Those with one read-out a row and no corrector are of first order, all others of second at least."""
    order = tuple((key, value) for key, value in options.items() if key == "order")
    return 1 if (solver, order) in FIRST_ORDER else 2


def deviation(table: Table, schedule: Schedule, s: float) -> float:
    """Of the samples of N(0, s²) with its exact denoiser, without a draw: all is linear, so a sample is a sum
    of independent normals, the start and the noise of each row: the length of its coefficients."""
    t = torch.tensor([row.t for row in table.rows], dtype=torch.float64)
    alpha, sigma = schedule.alpha(t).numpy(), schedule.sigma(t).numpy()
    gain = alpha * s**2 / ((alpha * s) ** 2 + sigma**2)
    normals = np.eye(table.nfe + 1)
    x = anchor = math.hypot(alpha[0] * s, sigma[0]) * normals[0]
    past: list[np.ndarray] = []
    for i, row in enumerate(table.rows):
        past.insert(0, (row.p + row.q * gain[i]) * x)
        anchor = x if row.anchor else anchor
        terms = sum(weight * readout for weight, readout in zip(row.b, past, strict=False))
        x = row.a * x + terms + row.base * anchor + row.c * normals[i + 1]
    return float(np.linalg.norm(x))


@pytest.mark.parametrize("schedule", ["edm", "linear_vp", "rectified_flow"])
@pytest.mark.parametrize("case", STOCHASTIC, ids=named)
@pytest.mark.slow
def test_the_width_of_a_gaussian_comes_right_at_the_solvers_weak_order(case, schedule):
    """Ancestral sampling draws 8 % too narrow with 60 steps and 1 % with 480."""
    solver, options = case
    for s in (1.0, 0.2):
        wrong = [
            abs(deviation(table, ALL_SCHEDULES[schedule], s) / s - 1)
            for table in (
                make_table(solver, ALL_SCHEDULES[schedule], steps, "uniform_log_snr", options)
                for steps in (60, 120, 240)
            )
        ]
        # the grid's own ends leave 2e-4: the prior takes data for nothing beside sigma, a last step of 0.002
        floor = 3e-4
        order = weak_order(solver, options)
        assert all(fine < coarse / 2 ** (order - 0.2) + floor for coarse, fine in pairwise(wrong))


@pytest.mark.slow
def test_with_many_steps_ancestral_sampling_cannot_be_told_from_exact_draws():
    """The sliced Wasserstein distance to exact draws is within four deviations of what ten pairs of exact
    sets are apart, and means are within four standard errors: nothing is left for a bias."""
    problem, generator = mixture(), torch.Generator().manual_seed(1)

    def exact(count: int = 1024) -> torch.Tensor:
        kind = torch.randint(3, (count,), generator=generator)
        normals = torch.randn(count, 3, generator=generator, dtype=torch.float64)
        return problem.means[kind] + problem.variances[kind].sqrt() * normals

    table = make_table("ddpm", EDM, 320, "uniform_log_snr", grid_options={"sigma_min": 0.01})
    run = start({"x": Gaussian()}, EDM, table, range(2), {"x": (512, 3)})
    x = finish(problem.denoiser(EDM), {"x": Gaussian()}, table, run).x["x"].flatten(0, 1).double()
    apart = torch.tensor([sliced_distance(exact(), exact()) for _ in range(10)])
    assert sliced_distance(x, exact()) < float(apart.mean() + 4 * apart.std())
    truth = problem.means.mean(0)
    assert torch.all((x.mean(0) - truth).abs() < 4 * exact(50_000).std(0) / math.sqrt(1024))
