"""Encoding: from data to its noise, by the probability-flow ODE run backwards (DDIM inversion).

The ODE is deterministic, so states and noises correspond one to one. Interpolation between two noises gives
noise again, which decodes to an interpolation of their data (Song et al. 2021, section 4.3 and appendix D.3).
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import torch

from polydiff.engine.denoisers import Cond, Denoiser, Mask, Processes, State
from polydiff.engine.grids import SIGMA_MIN, uniform_log_snr
from polydiff.engine.loop import Run, finish
from polydiff.engine.nodes import nodes_at, with_levels
from polydiff.engine.schedules import Schedule
from polydiff.engine.solvers.rows import ddim_row, eps_row
from polydiff.engine.table import Row, Table
from polydiff.errors import UsageError

__all__ = ["STEPS", "encode", "encoding_table"]

STEPS = 20


def encoding_table(schedule: Schedule, steps: int = STEPS) -> Table:
    """The table of Heun's method from sigma / alpha = SIGMA_MIN, where a state is almost clean, up to t = 1;
    two network calls a step, and one for a last step to pure noise.

    >>> from polydiff.engine.schedules import EDM
    >>> table = encoding_table(EDM(), 10)
    >>> table.end, round(80 * table.rows[0].t, 6), table.stochastic
    (1.0, 0.002, False)
    """
    lowest = float(schedule.t_of_log_snr(torch.tensor(-2 * math.log(SIGMA_MIN), dtype=torch.float64)))
    inner = [t for t in uniform_log_snr(schedule, steps).tolist()[::-1] if t > lowest]
    rows: list[Row] = []
    for node, target in pairwise(nodes_at(schedule, [lowest, *inner])):
        if not target.finite:
            rows.append(ddim_row(node, target))
            continue
        half = (target.sigma / target.alpha - node.sigma / node.alpha) / 2
        rows.append(replace(eps_row([node], target, [2 * half]), anchor=True))
        corrector = eps_row([target, node], target, [half, half])
        rows.append(replace(corrector, a=0.0, base=target.alpha / node.alpha))
    table = Table(rows=tuple(rows), end=1.0, solver="encoding", grid="uniform_log_snr")
    return with_levels(table, schedule)


def encode(
    denoiser: Denoiser,
    processes: Processes,
    schedule: Schedule,
    state: State,
    mask: Mask | None = None,
    cond: Cond | None = None,
    steps: int = STEPS,
) -> State:
    """The state at t = 1 that a deterministic solver leads back to `state`, clean tensors (B, N, ...).

    Passive components stay as they are.

    Errors: UsageError for a component whose steps are random whatever the solver (Categorical).
    """
    table = encoding_table(schedule, steps)
    some = next(iter(state.values()))
    t = torch.full((len(some),), table.rows[0].t, dtype=torch.float64, device=some.device)
    for name, process in processes.items():
        if any(process.draws(row) for row in table.rows):
            kind = type(process).__name__
            raise UsageError(f"component {name!r} has no encoding: the steps of {kind} are random")
    x = {name: processes[name].noiseless(value, t, schedule) for name, value in state.items()}
    seeds = torch.zeros(len(some), dtype=torch.int64, device=some.device)
    run = Run(x=x, h={name: () for name in processes}, anchor={}, row=0, seeds=seeds)
    return finish(denoiser, processes, table, run, mask, cond).x
