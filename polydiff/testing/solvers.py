"""The conformance suite of a solver plugin, as a pytest class to subclass."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch

from polydiff.engine.loop import Run
from polydiff.engine.processes import Gaussian
from polydiff.engine.schedules import Schedule
from polydiff.engine.table import Table
from polydiff.plugins.registry import get_registry
from polydiff.testing.closed_forms import ALL_SCHEDULES, finish, gaussian, mixture, times_at
from polydiff.testing.words import clause

__all__ = ["SolverSuite"]

LOW, HIGH = -0.5, 1.5  # in lambda = log(alpha / sigma): where a sample of unit variance takes shape
STEPS = (48, 96)


class SolverSuite:
    """Subclass it and name the solver.

    solver: its name. options: what to call it with. order: how fast the error of a whole run falls with the
    length of the steps, its start without a past included; None for solvers that add noise.
    """

    solver: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}
    order: ClassVar[int | None] = None

    def table(self, schedule: Schedule, times: list[float]) -> Table:
        """The solver's table through these times."""
        make: Callable[..., Table] = get_registry().component("solver", self.solver)
        return make(schedule, times, **self.options)

    def test_tables(self) -> None:
        for name, schedule in ALL_SCHEDULES.items():
            with clause(
                f"a table on {name} is finite and survives JSON",
                "mind sigma = 0 at the last time, and alpha = 0 at the first.",
            ) as c:
                for steps in (1, 2, 3, 8):
                    table = self.table(schedule, [1 - i / steps for i in range(steps + 1)])
                    c.require(isinstance(table, Table), f"it is a {type(table).__name__}, no Table")
                    c.require(Table.from_json(table.to_json()) == table, "it comes back otherwise")
                    finite = all(map(math.isfinite, _numbers(json.loads(table.to_json())["rows"])))
                    c.require(finite, f"a number of {steps} steps is not finite")

    def test_data(self) -> None:
        for name, schedule in ALL_SCHEDULES.items():
            with clause(
                f"twenty steps on {name} end at data",
                "look at the last row: at t = 0 it should leave what the network predicts.",
            ) as c:
                problem, steps = mixture(), 20
                x = torch.randn(256, 1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
                times = [*times_at(schedule, [-4 + 8 * i / steps for i in range(steps)]), 0.0]
                first = torch.tensor(times[:1], dtype=torch.float64)
                x = x * float(schedule.sigma(first)) + float(schedule.alpha(first)) * problem.means.mean(0)
                made = self._run(problem, schedule, self.table(schedule, times), x)
                spread = float((problem.variances + problem.means.var(0, correction=0)).mean().sqrt())
                found = float(made.std())
                c.require(abs(found / spread - 1) < 0.2, f"deviation {found:.3g}, not {spread:.3g}")

    def test_order(self) -> None:
        if self.order is None:
            return
        for name, schedule in ALL_SCHEDULES.items():
            with clause(
                f"the error on {name} falls with order {self.order}",
                "check the weights of the rows, or state the order that you mean.",
            ) as c:
                coarse, fine = (self._error(schedule, steps) for steps in STEPS)
                observed = math.log2(coarse / fine)
                c.require(observed > self.order - 0.3, f"observed order {observed:.2f}")

    def _error(self, schedule: Schedule, steps: int) -> float:
        """The error at the end of a stretch of the way, on a Gaussian whose path is known."""
        problem = gaussian()
        lams = [LOW + (HIGH - LOW) * i / steps for i in range(steps + 1)]
        times = times_at(schedule, lams)
        first, last = (float(schedule.alpha(torch.tensor(t).double())) for t in (times[0], times[-1]))
        y = torch.randn(64, 1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        y = y * math.sqrt(1 + math.exp(-2 * LOW))
        variance = problem.variances[0]
        exact = y * torch.sqrt((variance + math.exp(-2 * HIGH)) / (variance + math.exp(-2 * LOW)))
        made = self._run(problem, schedule, self.table(schedule, times), first * y)
        return float((made / last - exact).square().mean().sqrt())

    def _run(self, problem: Any, schedule: Schedule, table: Table, x: torch.Tensor) -> torch.Tensor:
        run = Run(x={"x": x}, h={"x": ()}, anchor={}, row=0, seeds=torch.arange(len(x)))
        return finish(problem.denoiser(schedule), {"x": Gaussian()}, table, run).x["x"]


def _numbers(value: Any) -> list[float]:
    """Every number in nested lists and dictionaries."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for part in value for number in _numbers(part)]
    return [value] if isinstance(value, int | float) else []
