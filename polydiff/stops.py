"""Which table a model is sampled with, and from which time: solver, grid, steps and strength."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from polydiff.engine.schedules import Schedule
from polydiff.engine.solvers import DEFAULT_GRID, DEFAULT_SOLVER, make_table
from polydiff.engine.table import Table
from polydiff.registry import get_registry

if TYPE_CHECKING:
    from polydiff.model import Model


def start_time(schedule: Schedule, strength: float) -> float:
    """The time from which a variation of a source starts: where the source is turned into noise by
    `strength` of a right angle, sigma / alpha = tan(strength * 90°). So a strength means the same noise
    whatever the schedule, the grid and the number of steps, and 1 is pure noise.

    >>> from polydiff.engine.schedules import RectifiedFlow
    >>> start_time(RectifiedFlow(), 0.5), start_time(RectifiedFlow(), 1)
    (0.5, 1.0)
    """
    if strength == 1:
        return 1.0
    log_snr = torch.tensor(-2 * math.log(math.tan(strength * math.pi / 2)), dtype=torch.float64)
    return min(float(schedule.t_of_log_snr(log_snr)), 1.0)


def times_from(times_of: Callable[[int], Tensor], start: float, steps: int) -> list[float]:
    """`steps` + 1 times from `start` to 0: the grid, made finer until so many of its times lie below.

    >>> [round(t, 3) for t in times_from(lambda n: torch.linspace(1, 0, n + 1), 0.5, 2)]
    [0.5, 0.333, 0.0]
    """
    if start >= 1 or steps < 1:  # a grid says best what is wrong with its steps
        return [float(t) for t in times_of(steps)]
    finer = steps
    while True:
        below = [float(t) for t in times_of(finer) if t < start]
        if len(below) >= steps:
            return [start, *below[-steps:]]
        finer = max(finer + 1, math.ceil(finer * 1.05))


def make_model_table(
    model: Model, solver: str | None, grid: str | None, steps: int | None, strength: float | None
) -> tuple[Table, str, str]:
    """The table, and the full names of its solver and grid."""
    registry, defaults = get_registry(), model.manifest.sampling
    solver_name = solver or defaults.solver or DEFAULT_SOLVER
    grid_name = grid or defaults.grid or DEFAULT_GRID
    # Options belong to the default that they were written for.
    solver_options = defaults.solver_options if solver in (None, defaults.solver) else {}
    grid_options = defaults.grid_options if grid in (None, defaults.grid) else {}
    count = defaults.steps if steps is None else steps
    function, make_times = registry.component("solver", solver_name), registry.component("grid", grid_name)
    if strength is None or strength == 1:
        table = make_table(
            function, model.schedule, count, make_times, solver_options, grid_options=grid_options
        )
    else:
        start = start_time(model.schedule, strength)
        times = times_from(lambda k: make_times(model.schedule, k, **grid_options), start, count)
        table = make_table(function, model.schedule, count, times, solver_options)
    names = [
        registry.component_info(k, n).full_name for k, n in (("solver", solver_name), ("grid", grid_name))
    ]
    return table, names[0], names[1]
