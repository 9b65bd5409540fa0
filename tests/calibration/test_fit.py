"""Tables fitted to a denoiser: what they gain on seeds that they never saw, and what they keep."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from polydiff.calibration.fit import Case, Problem, best_start, calibrate, distances
from polydiff.calibration.point_exact import PointExact, point_exact
from polydiff.engine.loop import sample, start
from polydiff.engine.processes import Fixed, Gaussian, Torus
from polydiff.engine.schedules import EDM, RectifiedFlow, Schedule
from polydiff.engine.solvers import make_table
from polydiff.engine.table import Table
from polydiff.errors import UsageError
from polydiff.testing.closed_forms import ALL_SCHEDULES, Mixture, finish, gaussian, mixture
from polydiff.workflows.calibrate import start_tables

PROCESSES = {"x": Gaussian(), "label": Fixed()}


def problem(form: Mixture, schedule: Schedule, seeds: range, lengths: tuple[int, ...] = ()) -> Problem:
    """Samples of 16 points of a closed form, half of them a case, and where its exact flow takes them."""
    table = make_table("adams", schedule, 150, options={"order": 4})
    denoiser, cases = form.denoiser(schedule), []
    for half in (seeds[::2], seeds[1::2]):
        init = {"label": torch.zeros(len(half), 1, 1, dtype=torch.float64)}
        real = torch.tensor([lengths[i % len(lengths)] for i in half] if lengths else [16] * len(half))
        mask = {"x": torch.arange(16) < real[:, None]}
        run = start(PROCESSES, schedule, table, half, {"x": (16, 3)}, mask, init, dtype=torch.float64)
        cases.append(Case(run, finish(denoiser, PROCESSES, table, run, mask).x, mask, {}))
    return Problem(denoiser, PROCESSES, schedule, tuple(cases))


def fitted(task: Problem, calls: int) -> tuple[Table, PointExact, list[float]]:
    """The start, what became of it, and the distances on the way."""
    begun, numbers, _ = best_start(task, start_tables(task.schedule, calls).values())
    rounds = list(calibrate(task, numbers))
    return begun, rounds[-1][0], [value for _, value in rounds]


@pytest.mark.parametrize("schedule", ["edm", "rectified_flow", "linear_vp"])
@pytest.mark.parametrize("form", [gaussian, mixture])
@pytest.mark.slow
def test_five_calls_at_least_halve_the_best_known_error_on_unseen_seeds(form, schedule):
    schedule = ALL_SCHEDULES[schedule]
    _, numbers, _ = fitted(problem(form(), schedule, range(8)), 5)
    unseen = problem(form(), schedule, range(100, 116))
    best = min(distances(unseen, table).median() for table in start_tables(schedule, 5).values())
    assert distances(unseen, numbers.table(schedule)).median() < best / 2


def test_padding_counts_for_nothing_and_the_fit_is_the_same_each_time():
    task = problem(mixture(), EDM(), range(6), lengths=(16, 5, 9))
    assert int(task.counts.sum()) == 3 * sum((16, 5, 9)) * 2
    _, numbers, way = fitted(task, 4)
    assert way[-1] < way[0]
    again = fitted(problem(mixture(), EDM(), range(6), lengths=(16, 5, 9)), 4)
    assert (numbers, way) == again[1:]
    other = fitted(problem(mixture(), EDM(), range(50, 56), lengths=(16, 5, 9)), 4)
    assert numbers != other[1]


def test_many_columns_of_the_jacobian_at_once_are_the_same():
    """A call holds samples of several tables, each at its own time."""
    task, sizes = problem(mixture(), EDM(), range(6), lengths=(16, 5, 9)), []

    def one_by_one(x, t, mask, cond):
        sizes.append(len(t))
        answers = [
            task.denoiser({"x": x["x"][i : i + 1]}, t[i : i + 1], mask, cond)["x"] for i in range(len(t))
        ]
        return {"x": torch.cat(answers)}

    _, numbers, _ = fitted(task, 4)
    _, at_once, _ = fitted(replace(task, denoiser=one_by_one, at_once=8), 4)
    assert at_once.vector == pytest.approx(numbers.vector, abs=1e-6)
    assert set(sizes) == {3, 6}


@pytest.mark.parametrize("schedule", ALL_SCHEDULES)
def test_a_point_mass_stays_exact(schedule):
    """The state holds the right share of the point at every row, and the end is the point itself."""
    schedule = ALL_SCHEDULES[schedule]
    _, numbers, _ = fitted(problem(mixture(), schedule, range(4)), 5)
    table, point = numbers.table(schedule), torch.tensor([0.7, -1.2, 0.1], dtype=torch.float64)
    noiseless = {"x": float(schedule.alpha(torch.tensor(1.0, dtype=torch.float64))) * point.expand(1, 4, 3)}
    first = start({"x": Gaussian()}, schedule, table, [3], dtype=torch.float64, noisy=noiseless)
    noisy = start({"x": Gaussian()}, schedule, table, [3], {"x": (4, 3)}, dtype=torch.float64)

    def denoiser(x, t, mask, cond):
        return {"x": point.expand(1, 4, 3)}

    times = [*(row.t for row in table.rows[1:]), 0.0]
    runs = sample(denoiser, {"x": Gaussian()}, table, first)
    for t, run in zip(times, runs, strict=True):
        alpha = float(schedule.alpha(torch.tensor(t, dtype=torch.float64)))
        assert torch.allclose(run.x["x"], (alpha * point).expand(1, 4, 3), atol=1e-9)
    end = finish(denoiser, {"x": Gaussian()}, table, noisy).x["x"]
    assert torch.allclose(end, point.expand(1, 4, 3), atol=1e-12)
    assert table.rows[-1].a == 0
    assert sum(table.rows[-1].b) == pytest.approx(1)


@pytest.mark.parametrize("schedule", ALL_SCHEDULES)
def test_known_solvers_are_of_the_family_to_the_last_digits(schedule):
    schedule = ALL_SCHEDULES[schedule]
    task = problem(mixture(), schedule, range(2))
    for table in start_tables(schedule, 6).values():
        found = point_exact(table, schedule)
        assert found is not None, table.solver
        for case in task.cases:
            mine, theirs = (
                finish(task.denoiser, PROCESSES, t, case.run).x["x"] for t in (table, found.table(schedule))
            )
            assert torch.allclose(mine, theirs, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    ("solver", "grid", "options"),
    [
        ("ddpm", "karras", {}),
        ("adams", "karras", {"readout": "v"}),
        ("adams", "repaint", {}),
        ("adams", [0.5, 0.4, 0.3, 0.2, 0.0], {}),
    ],
)
def test_what_is_not_of_the_family_is_told(solver, grid, options):
    assert point_exact(make_table(solver, EDM(), 4, grid, options), EDM()) is None


def test_numbers_go_into_a_vector_and_back():
    numbers = point_exact(make_table("adams", EDM(), 7, options={"order": 4}), EDM())
    assert len(numbers.vector) == len(numbers.rows_moved) == 6 + 6 + 0 + 1 + 2 + 3 + 4 + 5 + 6
    assert numbers.moved(0 * numbers.vector) == numbers
    one = torch.eye(len(numbers.vector))[14].numpy()
    assert numbers.moved(one).vector == pytest.approx(numbers.vector + one)
    for j, first in enumerate(numbers.rows_moved):  # a number changes no row's move before that
        table = numbers.moved(0.01 * torch.eye(len(numbers.vector))[j].numpy()).table(EDM())
        rows, known = table.rows, numbers.table(EDM()).rows
        assert rows[:first] == known[:first]
        assert rows[first] != known[first]


@pytest.mark.parametrize("schedule", [EDM(), RectifiedFlow()])
def test_a_call_more_changes_nothing_by_itself(schedule):
    """And what was moved is read back, noise included."""
    task = problem(mixture(), schedule, range(2))
    numbers = point_exact(make_table("adams", schedule, 5, options={"readout": "eps"}), schedule)
    numbers = numbers.moved(0.03 * np.cos(np.arange(len(numbers.vector))))
    grown = numbers.extended().extended()
    assert grown.calls == 7
    back = point_exact(grown.table(schedule), schedule)
    assert back.vector == pytest.approx(grown.vector, abs=1e-9)
    for case in task.cases:
        mine, theirs = (
            finish(task.denoiser, PROCESSES, made.table(schedule), case.run).x["x"]
            for made in (numbers, back)
        )
        assert torch.allclose(mine, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("schedule", [EDM(), RectifiedFlow()])
@pytest.mark.parametrize(("solver", "options"), [("adams", {"readout": "eps"}), ("dpmpp", {}), ("unipc", {})])
def test_less_noise_makes_narrower_data_as_ancestral_sampling_with_less_does(schedule, solver, options):
    """Of Gaussian data of deviation .3, in the limit of many steps. What rectified flow and EDM begin with is
    far out for it."""
    deviation = 0.3

    def denoiser(x, t, mask, cond):
        alpha, sigma = (f(t).reshape(-1, 1, 1) for f in (schedule.alpha, schedule.sigma))
        return {"x": x["x"] * alpha * deviation**2 / (alpha**2 * deviation**2 + sigma**2)}

    plain_space = {"x": Gaussian()}
    plain = make_table(solver, schedule, 300, "karras", options)
    lower = point_exact(plain, schedule).with_noise_scale(0.6).table(schedule)
    first = start(plain_space, schedule, plain, range(3), {"x": (4, 1)}, dtype=torch.float64)
    wide, narrow = (finish(denoiser, plain_space, table, first).x["x"] for table in (plain, lower))
    assert torch.allclose(narrow, 0.6 * wide, rtol=1e-3)
    if solver == "adams":
        drawn = make_table("ddpm", schedule, 400, "karras", {"noise_scale": 0.6})
        runs = start(plain_space, schedule, drawn, range(40), {"x": (500, 1)}, dtype=torch.float64)
        assert float(finish(denoiser, plain_space, drawn, runs).x["x"].std()) == pytest.approx(0.18, rel=0.02)


def test_one_call_and_tables_of_other_kinds_are_refused():
    task = problem(mixture(), EDM(), range(2))
    with pytest.raises(UsageError, match="one call leaves nothing to calibrate"):
        next(calibrate(task, point_exact(make_table("ddim", EDM(), 1), EDM())))
    with pytest.raises(UsageError, match="can be tuned"):
        best_start(task, [make_table("ddpm", EDM(), 3)])


def test_components_on_curved_spaces_are_refused():
    task = problem(mixture(), EDM(), range(2))
    curved = replace(task, processes={"x": Torus()})
    with pytest.raises(UsageError, match="'x' is of the process Torus: only Gaussian ones can be tuned"):
        next(calibrate(curved, point_exact(make_table("ddim", EDM(), 4), EDM())))
