"""Which table a model is sampled with, and from which time: solver, grid, steps and strength."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from polydiff.engine.schedules import Schedule
from polydiff.engine.solvers import DEFAULT_GRID, DEFAULT_SOLVER, make_table
from polydiff.engine.table import Table
from polydiff.errors import UsageError
from polydiff.models.calibrated import CALIBRATED, SavedTable
from polydiff.plugins.registry import get_registry
from polydiff.sampling.options import SamplingOptions

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
    model: Model, options: SamplingOptions, strength: float | None
) -> tuple[Table, str, str]:
    """The table, and the full names of its solver and grid; a Table that the options bring is used as it is.

    Where they name neither solver nor grid, it is the model's calibrated table of so many steps, if there is
    one that was made with what the model itself says of them; but that begins at pure noise, and what does
    not has none.
    """
    solver, grid = options.solver, options.grid
    if isinstance(solver, Table):
        return solver, solver.solver, solver.grid
    registry, defaults = get_registry(), model.manifest.sampling
    count = defaults.steps if options.steps is None else options.steps
    solver_name, grid_name = solver or defaults.solver, grid or defaults.grid
    from_noise = options.target is None and not options.denoise and strength in (None, 1)
    saved = None
    if solver is None and grid is None and from_noise and count in model.tables:
        saved = SavedTable.read(model.tables[count])
        solver_name = CALIBRATED if saved.named == defaults.named else solver_name
    if solver_name is not None and (solver_name == CALIBRATED or solver_name.endswith(".json")):
        if not from_noise:
            raise UsageError(f"--solver {solver_name}: a calibrated table begins at noise; name another.")
        if grid is not None:
            raise UsageError(f"--grid {grid}: a calibrated table has its own times; leave it out.")
        return _calibrated(model, solver_name, count, options.steps, saved), CALIBRATED, CALIBRATED
    solver_name, grid_name = solver_name or DEFAULT_SOLVER, grid_name or DEFAULT_GRID
    # Options belong to the default that they were written for.
    solver_options = defaults.solver_options if solver in (None, defaults.solver) else {}
    grid_options = defaults.grid_options if grid in (None, defaults.grid) else {}
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


def _calibrated(model: Model, name: str, count: int, steps: int | None, saved: SavedTable | None) -> Table:
    """The model's table of `count` steps, or that of a file; `saved` where it was read already."""
    if name == CALIBRATED and count not in model.tables:
        there = f"it has those of {', '.join(map(str, model.tables))}" if model.tables else "it has none"
        raise UsageError(
            f"{model.ref or 'the model'}: no calibrated table of {count} steps, {there}. "
            f"Make it: polydiff calibrate {model.ref or 'MODEL'} --steps {count}."
        )
    path = model.tables[count] if name == CALIBRATED else Path(name)
    if saved is None or name != CALIBRATED:
        saved = SavedTable.read(path)
    table = saved.solver_table(model.manifest.schedule, str(path))
    wanted = count if name == CALIBRATED else steps
    if wanted not in (None, table.nfe):
        raise UsageError(f"{path}: a table of {table.nfe} steps, and {wanted} are asked for.")
    return table
