"""Calibration of a model: a table of few steps is fitted to the model's own samples of very many steps."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from polydiff.calibration.fit import Case, Problem, best_start, check_processes, distances
from polydiff.calibration.fit import calibrate as fit
from polydiff.calibration.point_exact import point_exact
from polydiff.conditions import Categorical, Real
from polydiff.engine.guidance import inpaint_from_cond
from polydiff.engine.loop import sample
from polydiff.engine.noise import uniform
from polydiff.engine.schedules import Schedule
from polydiff.engine.solvers import make_table
from polydiff.engine.table import Table
from polydiff.errors import UsageError
from polydiff.model import Model
from polydiff.models.calibrated import Distances, SavedTable
from polydiff.models.processes import processes_of
from polydiff.runtime.requests import begin
from polydiff.sampling.options import SamplingOptions
from polydiff.sampling.plan import engine_request
from polydiff.sampling.source import files_of, source_of

#: calls of the default solver that stand for the exact answer
REFERENCE_CALLS = 200
#: samples in one network call on a CPU, where more gain nothing
CPU_BATCH = 4
#: on an accelerator, which a small network fills by then
GPU_BATCH = 256

#: a fit ends after so many rounds without a gain on the held-out samples
PATIENCE = 8

#: the solvers, with options, that a fit may start from
START_SOLVERS: tuple[tuple[str, dict[str, Any]], ...] = (
    *[("adams", {"order": order, "readout": "eps"}) for order in (2, 3, 4)],
    *[("ipndm", {"order": order}) for order in (3, 4)],
    *[("unipc", {"order": order}) for order in (2, 3)],
    *[("dpmpp", {"order": order}) for order in (2, 3)],
    ("deis", {}),
)
GRIDS = ("karras", "uniform_log_snr")


def start_tables(schedule: Schedule, steps: int, noise_scale: float = 1.0) -> dict[str, Table]:
    """The tables that a fit may start from, by a readable name."""
    tables = [make_table(name, schedule, steps, grid, own) for grid in GRIDS for name, own in START_SOLVERS]
    names = [f"{table.solver} on {table.grid}" for table in tables]
    scaled = [with_noise_scale(table, schedule, noise_scale) for table in tables]
    return dict(zip(names, scaled, strict=True))


def with_noise_scale(table: Table, schedule: Schedule, noise_scale: float) -> Table:
    """A deterministic table with its noise multiplied: see `PointExact.with_noise_scale`."""
    numbers = point_exact(table, schedule) if noise_scale != 1 else None
    return table if numbers is None else numbers.with_noise_scale(noise_scale).table(schedule)


def noise_scale_of(model: Model) -> float:
    """The noise_scale of the model's own sampler, which its tables must have too."""
    scale = float(model.manifest.sampling.solver_options.get("noise_scale", 1.0))
    if not scale > 0:
        raise UsageError(f"noise_scale {scale:g}: without noise all samples are one, nothing to calibrate.")
    return scale


def extended_tables(model: Model, steps: int) -> dict[str, Table]:
    """The model's own calibrated table of the next smaller number of steps, with steps added that change
    nothing yet: on the samples it is fitted to, a fit that starts there cannot end worse. Empty where that
    table does not fit the model any more: calibrating again is how to fix that."""
    calls = max((calls for calls in model.tables if 3 <= calls < steps), default=None)
    if calls is None:
        return {}
    path = model.tables[calls]
    try:
        table = SavedTable.read(path).solver_table(model.manifest.schedule, str(path))
    except UsageError:
        return {}
    numbers = point_exact(table, model.schedule)
    if numbers is None:
        return {}
    for _ in range(steps - calls):
        numbers = numbers.extended()
    return {f"calibrated of {calls} calls": numbers.table(model.schedule)}


@dataclass(frozen=True, eq=False)
class References:
    """Samples of a model by very many calls. fitted: what a table is fitted to. held: what says when to stop.
    unseen: what the table is judged by, by the name of what was asked for. sources: how many were used; keep:
    the region of each that was kept."""

    fitted: Problem
    held: Problem
    unseen: Mapping[str, Problem]
    sources: int = 0
    keep: str | None = None


def references(
    model: Model,
    seeds: int,
    seed: int = 0,
    device: str | None = None,
    say: Callable[[str], None] = lambda line: None,
    sources: Sequence[Any] = (),
    keep: str | None = None,
) -> References:
    """`seeds` samples to fit to, and half as many each for early stopping and for judging, with all
    conditions and with none. Sources are dealt to the samples in turn: with one for each, none is used twice.

    Raises UsageError for a model that cannot be calibrated.
    """
    if seeds < 2:
        raise UsageError(f"--seeds {seeds}: too few to tell a table by, give 2 or more.")
    check_processes(processes_of(model.domain))
    examples = examples_of(model, sources, keep)
    half = max(seeds // 2, 2)
    ends = list(accumulate((seeds, half, half, half), initial=seed))
    fitted, held, conditioned, unconditioned = (range(*pair) for pair in pairwise(ends))
    count = (ends[-1] if len(model.conditions) else conditioned.stop) - seed
    say(f"reference: {count} samples by {REFERENCE_CALLS} calls")
    if 0 < len(examples) < count:
        say(f"{len(examples)} sources for {count} samples: some that it is tuned on also judge it")

    def problem(seeds: range, conditions: Mapping[str, Any] | None = None) -> Problem:
        own = [examples[(one - seed) % len(examples)] for one in seeds if examples]
        return reference_problem(model, seeds, REFERENCE_CALLS, device, conditions, own, keep)

    unseen = {"conditioned": problem(conditioned)}
    if len(model.conditions):
        unseen["unconditioned"] = problem(unconditioned, {})
    return References(
        problem(fitted, drawn_conditions(model, fitted)),
        problem(held, drawn_conditions(model, held)),
        unseen,
        len(examples),
        keep,
    )


def calibrate(
    model: Model,
    steps: int,
    seeds: int = 32,
    seed: int = 0,
    device: str | None = None,
    say: Callable[[str], None] = lambda line: None,
    sources: Sequence[Any] = (),
    keep: str | None = None,
) -> SavedTable:
    """A table of `steps` network calls, fitted to a model at its own guidance scale.

    Args:
        seeds: how many samples it is fitted to; see `references` for the others.
        seed: what those samples and their conditions are drawn from.
        say: is told of each round.
        sources: examples, files or folders of files, of each of which the region `keep` stays and the rest is
            made; dealt to the samples in turn.

    Raises UsageError where there is nothing to tune.
    """
    if steps < 2:
        raise UsageError(f"--steps {steps}: one call leaves nothing to calibrate, give 2 or more.")
    return fit_table(model, references(model, seeds, seed, device, say, sources, keep), steps, say)


def fit_table(
    model: Model, of: References, steps: int, say: Callable[[str], None] = lambda line: None
) -> SavedTable:
    """The table of the round that was nearest to the held-out samples, and its distances on unseen ones."""
    tables = start_tables(model.schedule, steps, noise_scale_of(model)) | extended_tables(model, steps)
    begun, numbers, nearest = best_start(of.fitted, tables.values())
    name = next(name for name, table in tables.items() if table is begun)
    say(f"the nearest of {len(tables)} known tables: {name}, median distance {nearest:.4f}")
    best, lowest, since = begun, math.inf, 0
    for number, (found, value) in enumerate(fit(of.fitted, numbers)):
        table = found.table(model.schedule)
        held = float(distances(of.held, table).median())
        say(f"round {number}: median distance {value:.4f}, of those held back {held:.4f}")
        if held < lowest:
            best, lowest, since = table, held, number
        elif number - since == PATIENCE:
            break
    return SavedTable(
        table=json.loads(best.to_json()),
        schedule=model.manifest.schedule,
        model=model.ref,
        model_hash=model.hash,
        guidance_scale=model.manifest.sampling.guidance_scale,
        seed=int(of.fitted.cases[0].run.seeds[0]),
        seeds=len(of.fitted.counts),
        reference_calls=REFERENCE_CALLS,
        sources=of.sources,
        keep=of.keep,
        named=model.manifest.sampling.named,
        start=name,
        distances={asked: compared(problem, begun, best) for asked, problem in of.unseen.items()},
    )


def compared(problem: Problem, start: Table, calibrated: Table) -> Distances:
    """The distances of both tables to the reference."""
    before, after = distances(problem, start), distances(problem, calibrated)
    values = (before.square().mean().sqrt(), after.square().mean().sqrt(), before.median(), after.median())
    return Distances(**dict(zip(Distances.model_fields, (round(float(v), 6) for v in values), strict=True)))


def reference_problem(
    model: Model,
    seeds: Sequence[int],
    calls: int,
    device: str | None = None,
    conditions: Mapping[str, Any] | None = None,
    sources: Sequence[Any] = (),
    keep: str | None = None,
) -> Problem:
    """Samples of these seeds at the model's guidance scale, and where the default solver takes them in so
    many calls. conditions: name to a value for each seed; by default all of them, drawn. sources: examples,
    dealt to the seeds in turn, of which the region `keep` stays."""
    conditions = drawn_conditions(model, seeds, all_of_them=True) if conditions is None else conditions
    table = make_table(schedule=model.schedule, steps=calls)
    table = with_noise_scale(table, model.schedule, noise_scale_of(model))
    dealt = [sources[i % len(sources)] if sources else None for i in range(len(seeds))]
    plan = model.plan(
        len(seeds), 0, conditions=conditions, solver=table, device=device, source=dealt[0], keep=keep
    )
    asked = [
        replace(request, seed=seed, source=source)
        for (_, request), seed, source in zip(plan.requests, seeds, dealt, strict=True)
    ]
    processes = processes_of(model.domain)
    denoiser = inpaint_from_cond(plan.denoiser, processes, model.schedule)
    at_once = CPU_BATCH if plan.device == "cpu" else GPU_BATCH

    def cases() -> Iterator[Case]:
        for first in range(0, len(asked), at_once):
            batch = [engine_request(model, request, None) for request in asked[first : first + at_once]]
            run, mask, cond = begin(processes, model.schedule, table, batch, plan.device)
            last = deque(sample(denoiser, processes, table, run, mask, cond), maxlen=1).pop()
            yield Case(run, last.x, mask, cond)

    return Problem(denoiser, processes, model.schedule, tuple(cases()), at_once)


def examples_of(model: Model, sources: Sequence[Any], keep: str | None) -> list[Any]:
    """The examples that files, folders of files and examples stand for, each of which has been tried.

    Raises UsageError where one cannot be read, or nothing of it is left to be made, or where the model needs
    a source and has none.
    """
    if sources and keep is None:
        raise UsageError("--from needs --keep REGION, the part that stays: a table is tuned from noise on.")
    single = [
        one
        for source in sources
        for one in (files_of(model.domain, Path(source)) if isinstance(source, str | Path) else [source])
    ]
    found = []
    for source in single or [None]:
        example, _ = source_of(model.domain, SamplingOptions(source=source, keep=keep))
        where = f"{source}: " if isinstance(source, Path) else ""
        try:
            [(_, asked)] = model.plan(1, 0, source=example, keep=keep).requests
            request = engine_request(model, asked, None)
        except UsageError as error:
            raise UsageError(f"{where}{error}") from error
        if request.keep and all(bool(whole.all()) for whole in request.keep.values()):
            raise UsageError(f"{where}--keep {keep} keeps everything, nothing is left to be made.")
        found.append(example)
    return found if single else []


def drawn_conditions(model: Model, seeds: Sequence[int], all_of_them: bool = False) -> dict[str, list[Any]]:
    """A value of each condition for each seed, evenly from its choices or its range; what has neither (a
    text) is left to the model. Unless `all_of_them` are wanted, about half of the seeds leave some of the
    conditions to the model, and most of those all."""
    left = (4 * uniform(list(seeds), "calibration left", 0, (1,)) - 2) * (not all_of_them)
    drawn: dict[str, list[Any]] = {}
    for condition in model.conditions:
        shares = uniform(list(seeds), f"calibration {condition.name}", 0, (2,))
        if isinstance(condition, Categorical):
            values: list[Any] = [
                condition.choices[int(share * len(condition.choices))] for share in shares[:, 0].tolist()
            ]
        elif isinstance(condition, Real):
            values = [
                condition.low + share * (condition.high - condition.low) for share in shares[:, 0].tolist()
            ]
        else:
            continue
        given = (shares[:, 1:] >= left)[:, 0].tolist()
        drawn[condition.name] = [value if kept else None for value, kept in zip(values, given, strict=True)]
    return drawn
