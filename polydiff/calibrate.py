"""Fitting a table to a model: its own samples with very many calls are the reference."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from polydiff.conditions import Categorical, Real
from polydiff.engine.calibration import Case, Problem, best_start, check_processes, distance
from polydiff.engine.calibration import calibrate as fit
from polydiff.engine.noise import uniform
from polydiff.engine.requests import begin
from polydiff.engine.sampling import sample
from polydiff.engine.schedules import Schedule
from polydiff.engine.solvers import make_table
from polydiff.engine.table import Table
from polydiff.errors import UsageError
from polydiff.model import Model
from polydiff.plan import engine_request
from polydiff.tables import SavedTable

#: calls of the default solver that stand for the exact answer
REFERENCE_CALLS = 64
#: seeds in one network call on a CPU, where more gain nothing
CPU_BATCH = 4

#: the solvers, with options, that a fit may begin with
KNOWN: tuple[tuple[str, dict[str, Any]], ...] = (
    *[("adams", {"order": order}) for order in (2, 3, 4)],
    *[("adams", {"order": order, "weights": "uniform"}) for order in (3, 4)],  # iPNDM
    *[("unipc", {"order": order}) for order in (2, 3)],
    *[("dpmpp", {"order": order}) for order in (2, 3)],
    ("deis", {}),
)
GRIDS = ("karras", "uniform_log_snr")


def known_tables(schedule: Schedule, steps: int) -> dict[str, Table]:
    """The tables that a fit may begin with, by a readable name."""
    tables = [make_table(name, schedule, steps, grid, options) for grid in GRIDS for name, options in KNOWN]
    return {f"{table.solver} on {table.grid}": table for table in tables}


def calibrate(
    model: Model,
    steps: int,
    seeds: int = 16,
    seed: int = 0,
    device: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> SavedTable:
    """A table of `steps` network calls, fitted to a model at its own guidance scale.

    Args:
        seeds: how many samples it is fitted to; half as many others say what it came to.
        seed: what those samples and their conditions are drawn from.
        say: is told of each round.

    Raises UsageError where there is nothing to tune.
    """
    if steps < 2:
        raise UsageError(f"--steps {steps}: one call leaves nothing to calibrate, give 2 or more.")
    if seeds < 2:
        raise UsageError(f"--seeds {seeds}: too few to tell a table by, give 2 or more.")
    check_processes(model.domain.processes())
    say(f"reference: {seeds} samples by {REFERENCE_CALLS} calls")
    problem = reference_problem(model, range(seed, seed + seeds), REFERENCE_CALLS, device)
    tables = known_tables(model.schedule, steps)
    begun, numbers, nearest = best_start(problem, tables.values())
    name = next(name for name, table in tables.items() if table is begun)
    say(f"the nearest of {len(tables)} known solvers: {name}, distance {nearest:.4f}")
    for number, (found, value) in enumerate(fit(problem, numbers)):
        numbers = found
        if number:
            say(f"round {number}: distance {value:.4f}")
    table = numbers.table(model.schedule)
    others = range(seed + seeds, seed + seeds + max(seeds // 2, 2))
    unseen = reference_problem(model, others, REFERENCE_CALLS, device)
    distances = {"start": distance(unseen, begun), "calibrated": distance(unseen, table)}
    return SavedTable(
        table=json.loads(table.to_json()),
        schedule=model.manifest.schedule,
        model=model.ref,
        model_hash=model.hash,
        guidance_scale=model.manifest.sampling.guidance_scale,
        seed=seed,
        seeds=seeds,
        reference_calls=REFERENCE_CALLS,
        start=name,
        distances={key: round(value, 6) for key, value in distances.items()},
    )


def reference_problem(model: Model, seeds: Sequence[int], calls: int, device: str | None = None) -> Problem:
    """Samples of these seeds with conditions of the model's vocabulary, at its guidance scale, and where
    the default solver takes them in so many calls."""
    table = make_table(schedule=model.schedule, steps=calls)
    plan = model.plan(
        conditions=drawn_conditions(model, seeds), n=len(seeds), seed=0, solver=table, device=device
    )
    asked = [replace(request, seed=seed) for (_, request), seed in zip(plan.asks, seeds, strict=True)]
    denoiser, processes = plan.denoiser(), model.domain.processes()

    def cases() -> Iterator[Case]:
        size = CPU_BATCH if plan.device == "cpu" else plan.batch_size
        for first in range(0, len(asked), size):
            batch = [engine_request(model, request, None) for request in asked[first : first + size]]
            run, mask, cond = begin(processes, model.schedule, table, batch, plan.device)
            last = deque(sample(denoiser, processes, table, run, mask, cond), maxlen=1).pop()
            yield Case(run, last.x, mask, cond)

    return Problem(denoiser, processes, model.schedule, tuple(cases()))


def drawn_conditions(model: Model, seeds: Sequence[int]) -> dict[str, list[Any]]:
    """A value of each condition for each seed, evenly from its choices or its range; what has neither (a
    text) is left to the model."""
    drawn: dict[str, list[Any]] = {}
    for condition in model.conditions:
        shares = uniform(list(seeds), f"calibration {condition.name}", 0, (1,))[:, 0].tolist()
        if isinstance(condition, Categorical):
            values: list[Any] = [condition.choices[int(share * len(condition.choices))] for share in shares]
        elif isinstance(condition, Real):
            values = [condition.low + share * (condition.high - condition.low) for share in shares]
        else:
            continue
        drawn[condition.name] = values
    return drawn
