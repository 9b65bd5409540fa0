"""Adaptive steps: as exact as asked for, each sample by itself, masks respected, limits said in a line."""

from __future__ import annotations

import math

import pytest
import torch

from polydiff.engine.grids import SIGMA_MIN
from polydiff.engine.loop import start
from polydiff.engine.ode.adaptive import FORMULAS, adaptive
from polydiff.engine.processes import Fixed, Gaussian
from polydiff.engine.schedules import EDM, Schedule
from polydiff.engine.solvers import make_table
from polydiff.errors import PolydiffError, UsageError
from polydiff.testing.closed_forms import ALL_SCHEDULES, Mixture, gaussian, mixture

PROCESSES = {"x": Gaussian()}


def denoiser(problem: Mixture, schedule: Schedule):
    """Exact, each sample at a time of its own."""

    def call(x, t, mask, cond):
        alpha, sigma = schedule.alpha(t).tolist(), schedule.sigma(t).tolist()
        rows = [problem.denoise(row, a, s) for row, a, s in zip(x["x"], alpha, sigma, strict=True)]
        return {**x, "x": torch.stack(rows)}

    return call


def begun(schedule: Schedule, seeds: list[int], nodes: int = 6, mask=None, processes=PROCESSES, **given):
    table = make_table("ddim", schedule, 2, "uniform_log_snr")
    shapes = {"x": (nodes, 3)}
    return start(processes, schedule, table, seeds, shapes, mask, given or None, dtype=torch.float64)


@pytest.mark.parametrize("order", FORMULAS)
@pytest.mark.parametrize("name", ALL_SCHEDULES)
def test_a_gaussian_is_as_exact_as_asked_for(name: str, order: int) -> None:
    schedule, problem = ALL_SCHEDULES[name], gaussian()
    run = begun(schedule, [0, 1])
    one = torch.tensor(1.0, dtype=torch.float64)
    alpha, sigma = float(schedule.alpha(one)), float(schedule.sigma(one))
    variances = problem.variances[0]
    exact = run.x["x"] * (variances / (alpha**2 * variances + sigma**2)).sqrt()
    found = {
        tol: adaptive(denoiser(problem, schedule), PROCESSES, schedule, run, order=order, rtol=tol, atol=tol)
        for tol in (1e-3, 1e-5)
    }
    errors = {tol: float((result.x["x"] - exact).abs().max()) for tol, result in found.items()}
    assert all(error < 50 * tol for tol, error in errors.items())  # a few dozen steps, each within tol
    assert found[1e-3].nfe < found[1e-5].nfe


def test_fifth_order_needs_fewer_calls_where_much_is_asked() -> None:
    schedule = EDM()
    run = begun(schedule, [0])
    calls = [
        adaptive(denoiser(mixture(), schedule), PROCESSES, schedule, run, order=k, rtol=1e-7, atol=1e-7).nfe
        for k in (3, 5)
    ]
    assert calls[1] < calls[0] / 2


@pytest.mark.parametrize("pid", [(0.4, 0.3, 0.0), (0.0, 1.0, 0.0), (0.3, 0.3, 0.1)])
def test_a_mixture_ends_where_small_steps_end(pid: tuple[float, float, float]) -> None:
    schedule, problem = EDM(), mixture()
    run = begun(schedule, [3, 4])
    y = problem.path(run.x["x"], torch.linspace(-math.log(80), -math.log(SIGMA_MIN), 80).tolist())[-1]
    exact = problem.denoise(y, 1.0, SIGMA_MIN)
    result = adaptive(denoiser(problem, schedule), PROCESSES, schedule, run, rtol=1e-6, atol=1e-6, pid=pid)
    assert torch.allclose(result.x["x"], exact, atol=1e-5)
    assert (result.accepted > 5).all()
    assert result.nfe == 6 * int((result.accepted + result.rejected).max()) + 2


def test_a_sample_is_the_same_in_any_company() -> None:
    schedule = ALL_SCHEDULES["rectified_flow"]
    call = denoiser(mixture(), schedule)
    together = adaptive(call, PROCESSES, schedule, begun(schedule, [5, 6, 7]))
    alone = adaptive(call, PROCESSES, schedule, begun(schedule, [6]))
    assert torch.equal(together.x["x"][1], alone.x["x"][0])
    assert together.accepted[1] == alone.accepted[0]


@pytest.mark.parametrize("centre", [False, True])
def test_padding_changes_nothing(centre: bool) -> None:
    schedule, processes = EDM(), {"x": Gaussian(centre=centre)}
    call = denoiser(mixture(), schedule)
    mask = {"x": torch.tensor([[True] * 6 + [False] * 3])}
    alone = begun(schedule, [1], processes=processes)
    padded = begun(schedule, [1], nodes=9, mask=mask, processes=processes)
    plain = adaptive(call, processes, schedule, alone)
    masked = adaptive(call, processes, schedule, padded, mask)
    assert plain.accepted == masked.accepted
    assert torch.allclose(masked.x["x"][:, :6], plain.x["x"], atol=1e-9)
    assert not masked.x["x"][:, 6:].any()


def test_what_is_carried_stays() -> None:
    schedule, label = EDM(), torch.full((1, 1, 1), 7.0, dtype=torch.float64)
    processes = {"x": Gaussian(), "label": Fixed()}
    run = begun(schedule, [0], processes=processes, label=label)
    assert torch.equal(adaptive(denoiser(gaussian(), schedule), processes, schedule, run).x["label"], label)


def test_limits_are_said_in_a_line() -> None:
    schedule, call = EDM(), denoiser(gaussian(), EDM())
    run = begun(schedule, [0])
    with pytest.raises(UsageError, match="order must be 3 or 5"):
        adaptive(call, PROCESSES, schedule, run, order=4)
    with pytest.raises(UsageError, match="must be positive"):
        adaptive(call, PROCESSES, schedule, run, rtol=0.0)
    with pytest.raises(PolydiffError, match="raise rtol and atol"):
        adaptive(call, PROCESSES, schedule, run, rtol=1e-12, atol=1e-12, max_calls=50)
