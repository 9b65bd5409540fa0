"""Observed order of convergence of every solver, on every schedule and process, against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from polydiff.engine.loop import Run
from polydiff.engine.solvers import SOLVERS
from polydiff.plugins.builtin import polydiff_components
from polydiff.testing.closed_forms import (
    ALL_SCHEDULES,
    PROCESSES,
    SINGLESTEP,
    SOLVER_ORDERS,
    Mixture,
    finish,
    gaussian,
    mixture,
    named,
    times_at,
)

LOW, HIGH = -0.5, 1.5  # in lambda: where a unit-variance sample takes shape


def error(problem: Mixture, schedule, processes, solver: str, options: dict, steps: int) -> float:
    """End-point error over LOW..HIGH, the history begun with exact values so that only the order shows."""
    lams = [LOW + (HIGH - LOW) * i / steps for i in range(steps + 1)]
    times = times_at(schedule, lams)
    table = SOLVERS[solver](schedule, times, **options)
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(4, 5, 3, generator=generator, dtype=torch.float64) * math.sqrt(1 + math.exp(-2 * LOW))
    centre = processes["x"].centre
    if centre:
        y = y - y.mean(1, keepdim=True)
    if len(problem.means) == 1:
        variance = problem.variances[0]
        path = [
            y * torch.sqrt((variance + math.exp(-2 * lam)) / (variance + math.exp(-2 * LOW))) for lam in lams
        ]
    else:
        path = problem.path(y, lams, substeps=max(128 // steps, 1))
    alphas = schedule.alpha(torch.tensor(times, dtype=torch.float64)).tolist()
    sigmas = schedule.sigma(torch.tensor(times, dtype=torch.float64)).tolist()
    states = [alpha * value for alpha, value in zip(alphas, path, strict=True)]

    first = 0 if solver in SINGLESTEP else table.history - 1
    label = torch.arange(12.0).reshape(4, 3, 1)
    past = []
    for i in reversed(range(first)):
        row = table.rows[i]
        past.append(row.p * states[i] + row.q * problem.denoise(states[i], alphas[i], sigmas[i]))
    run = Run(
        x={"x": states[first], "label": label},
        h={"x": tuple(past), "label": (label,) * first},
        anchor={},
        row=first,
        seeds=torch.arange(4),
    )
    run = finish(problem.denoiser(schedule), processes, table, run)
    assert torch.equal(run.x["label"], label)
    return float((run.x["x"] - states[-1]).square().mean().sqrt()) / alphas[-1]


def _steps(solver: str, order: int) -> tuple[int, int]:
    """Polynomials in t or sigma show their fourth order at shorter steps."""
    return (48, 96) if solver in ("deis", "lms") and order == 4 else (24, 48)


ORDERS = {info.name: info.facts["order"] for info in polydiff_components() if info.kind == "solver"}


@pytest.mark.parametrize("solver", sorted({name for name, _, _ in SOLVER_ORDERS}))
def test_the_orders_that_are_listed_are_those_that_are_measured(solver):
    """What `polydiff solvers` says of a solver: its lowest and highest order, "1 to 4" or "2"."""
    lowest, _, highest = ORDERS[solver].partition(" to ")
    plain = {"corrector": False}  # a predictor alone has one order less
    measured = {
        k for name, options, k in SOLVER_ORDERS if name == solver and not plain.items() <= options.items()
    }
    assert measured <= set(range(int(lowest), int(highest or lowest) + 1))
    assert max(measured) == int(highest or lowest)


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("schedule", ALL_SCHEDULES)
@pytest.mark.parametrize("case", SOLVER_ORDERS, ids=named)
def test_order_on_an_anisotropic_gaussian(case, schedule, process):
    solver, options, order = case
    coarse, fine = (
        error(gaussian(), ALL_SCHEDULES[schedule], PROCESSES[process], solver, options, steps)
        for steps in _steps(solver, order)
    )
    observed = math.log2(coarse / fine)
    assert order - 0.2 < observed < order + 0.8, (coarse, fine)


@pytest.mark.parametrize("schedule", ALL_SCHEDULES)
@pytest.mark.parametrize("case", SOLVER_ORDERS, ids=named)
@pytest.mark.slow
def test_order_on_a_mixture_with_its_exact_denoiser(case, schedule):
    solver, options, order = case
    coarse, fine = (
        error(mixture(), ALL_SCHEDULES[schedule], PROCESSES["gaussian"], solver, options, steps)
        for steps in (24, 48)
    )
    observed = math.log2(coarse / fine)
    assert order - 0.3 < observed < order + 1, (coarse, fine)
