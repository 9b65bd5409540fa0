r"""Calibration: the free numbers of a table of few steps, fitted to a denoiser by least squares.

A solver promises an order, which says little at five or ten calls. What counts there is how this network's
x̂0 changes along the way, and that can be measured: sample a few seeds with very many calls, then choose the
inner times and the weights (`polydiff.calibration.point_exact`) so that the same seeds end as near as can be
to where they ended then. Related: GITS (Chen et al. 2024) and Align Your Steps (Sabour et al. 2024) fit the
times, DPM-Solver-v3 (Zheng et al. 2023) coefficients, Bespoke solvers (Shaul et al. 2023) and S4S (Frankel et
al. 2025) both.

The fit is nonlinear least squares, by Levenberg and Marquardt. The network is called and never
differentiated: a column of the Jacobian is a difference, and the run up to the row that a number changes is
reused. The curvatures of the numbers differ by orders of magnitude, which first-order methods pay for
with more calls than the Jacobian costs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import cycle, islice

import numpy as np
import torch
from torch import Tensor

from polydiff.calibration.point_exact import PointExact, point_exact
from polydiff.engine.denoisers import Cond, Denoiser, Mask, State
from polydiff.engine.loop import Run, sample, step
from polydiff.engine.processes import Process
from polydiff.engine.schedules import Schedule
from polydiff.engine.table import Table
from polydiff.errors import UsageError

#: how much a number of the table is moved to see what it does
DIFFERENCE = 0.01
#: multiples of the Jacobian's own curvature that are tried as damping
DAMPING = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
#: rounds over all cases in turn that bring the samples nearer by less than this, in the mean of the loss,
#: are the last
WORTHWHILE = 0.01
#: cases that a round differentiates, at least: they take turns, and all of them judge the step
DIFFERENTIATED = 4
#: what it costs, a sample, to move a number by one: numbers that hardly matter stay where they were
RELUCTANCE = 1e-4


@dataclass(frozen=True, eq=False)
class Case:
    """One micro-batch of seeds. run: before the first row. end: where it should end, name to (B, N, ...)."""

    run: Run
    end: State
    mask: Mask
    cond: Cond


@dataclass(frozen=True, eq=False)
class Problem:
    """A denoiser and the cases that a table is fitted to. at_once: samples in one network call, at most,
    where different tables are run in one batch."""

    denoiser: Denoiser
    processes: Mapping[str, Process]
    schedule: Schedule
    cases: tuple[Case, ...]
    at_once: int = 1

    @cached_property
    def units(self) -> dict[str, float]:
        """Standard deviation of the ends of each component that is drawn."""
        drawn = [name for name, process in self.processes.items() if not process.passive]
        values = {name: torch.cat([_real(case, name) for case in self.cases]) for name in drawn}
        return {name: max(float(value.double().std()), 1e-12) for name, value in values.items()}

    @cached_property
    def counts(self) -> Tensor:
        """How many numbers each sample of all cases has, float64."""
        return torch.cat([_counts(case, self.units) for case in self.cases]).cpu()

    def ends(self, table: Table) -> list[list[Run]]:
        """For each case, the run before each row and after the last."""
        return [
            [case.run, *sample(self.denoiser, self.processes, table, case.run, case.mask, case.cond)]
            for case in self.cases
        ]

    def squares(self, states: Sequence[list[Run]]) -> Tensor:
        """Mean square distance of each sample to where it should end, in `units`, float64."""
        found = [self.difference(case, runs[-1]) for case, runs in zip(self.cases, states, strict=True)]
        return torch.cat([r.square().sum(1) for r in found]).cpu() / self.counts

    def difference(self, case: Case, run: Run) -> Tensor:
        """Where each sample ended less where it should, in `units`: float64 (B, numbers), zero in padding."""
        parts = [(run.x[k] - case.end[k]).flatten(1).double() / unit for k, unit in self.units.items()]
        return torch.cat(parts, 1)


def check_processes(processes: Mapping[str, Process]) -> None:
    """Raise a UsageError for a component of a space in which states cannot be subtracted."""
    for name, process in processes.items():
        if not (process.linear or process.passive):
            kind = type(process).__name__
            raise UsageError(f"component {name!r} is of the process {kind}: only Gaussian ones can be tuned")


def distances(problem: Problem, table: Table) -> Tensor:
    """Root mean square distance of each sample's end to where it should be, in units of the ends' deviation:
    float64 (B,)."""
    return problem.squares(problem.ends(table)).sqrt()


def best_start(problem: Problem, tables: Iterable[Table]) -> tuple[Table, PointExact, float]:
    """The known table with the smallest median distance that can be tuned, its free numbers and that
    distance."""
    tunable = [(table, point_exact(table, problem.schedule)) for table in tables]
    scored = [(float(distances(problem, table).median()), table, found) for table, found in tunable if found]
    if not scored:
        raise UsageError("none of the tables to start from can be tuned")
    nearest, table, found = min(scored, key=lambda entry: entry[0])
    return table, found, nearest


def calibrate(problem: Problem, start: PointExact, rounds: int = 12) -> Iterator[tuple[PointExact, float]]:
    """The free numbers after each round, and their median distance; the first is the start itself.

    Stop iterating to cancel. It ends by itself when each case was differentiated in `rounds` rounds, or when
    a pass through all cases gains too little for its calls.
    A sample counts by the logarithm of its distance rather than by its square (Cauchy's loss, half way at the
    median): one that ends in another mode of the data says nothing about the table.

    >>> from polydiff.engine.schedules import EDM
    >>> from polydiff.engine.solvers import make_table
    >>> from polydiff.engine.processes import Gaussian
    >>> from polydiff.engine.loop import sample, start
    >>> def denoiser(x, t, mask, cond):  # of data that is N(0, 0.25)
    ...     return {"x": x["x"] * (0.25 / (0.25 + EDM().sigma(t) ** 2)).float().reshape(-1, 1, 1)}
    >>> table, processes = make_table("adams", EDM(), 100), {"x": Gaussian()}
    >>> first = start(processes, EDM(), table, range(4), {"x": (8, 1)})
    >>> *_, last = sample(denoiser, processes, table, first)
    >>> problem = Problem(denoiser, processes, EDM(), (Case(first, last.x, {}, {}),))
    >>> known, numbers, before = best_start(problem, [make_table("adams", EDM(), 4)])
    >>> *_, (tuned, after) = calibrate(problem, numbers)
    >>> after < before / 10
    True
    """
    check_processes(problem.processes)
    if start.calls < 2:
        raise UsageError("one call leaves nothing to calibrate: give at least 2 steps")
    here, states = start, problem.ends(_deep(start, problem.schedule))
    squares = problem.squares(states)
    yield here, float(squares.median().sqrt())
    turns = max(len(problem.cases) // DIFFERENTIATED, 1)
    gains = deque([np.inf] * turns, turns)
    for turn in islice(cycle(range(turns)), rounds * turns):
        middle = max(float(squares.median()), 1e-24)
        weights = 1 / ((middle + squares) * problem.counts)
        curvature, slope, samples = _normal_equations(
            problem, here, states, weights, slice(turn, None, turns)
        )
        curvature += RELUCTANCE * samples * np.eye(len(slope))
        slope += RELUCTANCE * samples * (here.vector - start.vector)
        stiffness = np.diag(np.diag(curvature))
        before = best = float(torch.log1p(squares / middle).sum())
        for damping in DAMPING:
            tried = here.moved(np.linalg.solve(curvature + damping * stiffness, -slope))
            if not tried.falls(problem.schedule):
                continue
            found = problem.ends(_deep(tried, problem.schedule))
            cost = float(torch.log1p(problem.squares(found) / middle).sum())
            if cost < best:
                best, better = cost, (tried, found)
        if best < before:
            here, states = better
            squares = problem.squares(states)
        yield here, float(squares.median().sqrt())
        gains.append(before - best)
        if sum(gains) < WORTHWHILE * len(squares):
            return


def _normal_equations(
    problem: Problem, here: PointExact, states: Sequence[list[Run]], weights: Tensor, chosen: slice
) -> tuple[np.ndarray, np.ndarray, int]:
    """JᵀWJ and JᵀWr of the differences r of the chosen cases, with a weight a sample and J by forward
    differences; and how many samples they are."""
    size, samples = len(here.vector), 0
    curvature, slope = np.zeros((size, size)), np.zeros(size)
    tables = [_deep(here.moved(DIFFERENCE * one), problem.schedule) for one in np.eye(size)]
    split = weights.sqrt().split([len(case.run.seeds) for case in problem.cases])
    for case, runs, root in zip(problem.cases[chosen], states[chosen], split[chosen], strict=True):
        samples += len(case.run.seeds)
        r, root = problem.difference(case, runs[-1]), root[:, None].to(case.run.seeds.device)
        moved = [
            _moved_again(problem, case, runs[first], runs[first + 1], table)
            for first, table in zip(here.rows_moved, tables, strict=True)
        ]
        changes = (problem.difference(case, run) - r for run in _run_out(problem, case, moved, tables))
        jacobian = torch.stack([(change * root).flatten() / DIFFERENCE for change in changes], 1)
        curvature += (jacobian.T @ jacobian).cpu().numpy()
        slope += (jacobian.T @ (r * root).flatten()).cpu().numpy()
    return curvature, slope, samples


def _run_out(problem: Problem, case: Case, runs: Sequence[Run], tables: Sequence[Table]) -> list[Run]:
    """Runs of one case, each under its own table, after their last rows."""
    runs, size = list(runs), max(1, problem.at_once // len(case.run.seeds))
    for row in range(tables[0].nfe):
        ready = [i for i, run in enumerate(runs) if run.row == row]
        for group in (ready[first : first + size] for first in range(0, len(ready), size)):
            stepped = _step_together(problem, case, [runs[i] for i in group], [tables[i] for i in group])
            for i, run in zip(group, stepped, strict=True):
                runs[i] = run
    return runs


@torch.no_grad()
def _step_together(problem: Problem, case: Case, runs: Sequence[Run], tables: Sequence[Table]) -> list[Run]:
    """Each run after one more row of its own table: one network call for all of them."""
    states = [{**run.x, **run.memory} for run in runs]
    x = {name: torch.cat([state[name] for state in states]) for name in states[0]}
    mask, cond = (
        {name: torch.cat([value] * len(runs)) for name, value in given.items()}
        for given in (case.mask, case.cond)
    )
    times = torch.tensor(
        [table.rows[run.row].t for run, table in zip(runs, tables, strict=True)], dtype=torch.float64
    )
    t = times.repeat_interleave(len(case.run.seeds)).to(case.run.seeds.device)
    answer = problem.denoiser(x, t, mask, cond)
    own = [{name: value.chunk(len(runs))[i] for name, value in answer.items()} for i in range(len(runs))]
    return [
        step(run, table, lambda *_, mine=mine: mine, problem.processes, case.mask, case.cond)
        for run, table, mine in zip(runs, tables, own, strict=True)
    ]


def _deep(numbers: PointExact, schedule: Schedule) -> Table:
    """The table, with every x̂0 kept to the end: another table may need one that this table drops."""
    table = numbers.table(schedule)
    first = table.rows[0]
    return replace(table, rows=(replace(first, b=(*first.b, *[0.0] * table.nfe)), *table.rows[1:]))


def _moved_again(problem: Problem, case: Case, before: Run, after: Run, table: Table) -> Run:
    """`after` as another table's row would have moved there, from the same x̂0."""
    row = table.rows[before.row]
    x = {
        name: process.move(before.x[name], after.h[name], row, None, None, case.mask.get(name))
        for name, process in problem.processes.items()
    }
    return replace(after, x=x)


def _real(case: Case, name: str) -> Tensor:
    mask = case.mask.get(name)
    return (case.end[name] if mask is None else case.end[name][mask]).flatten()


def _counts(case: Case, names: Iterable[str]) -> Tensor:
    total = torch.zeros(len(case.run.seeds), dtype=torch.float64, device=case.run.seeds.device)
    for name in names:
        shape, mask = case.end[name].shape, case.mask.get(name)
        nodes = torch.full_like(total, shape[1]) if mask is None else mask.sum(1).double()
        total += nodes * shape[2:].numel()
    return total
