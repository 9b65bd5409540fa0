"""From data to the noise that would have become it: the probability-flow ODE run the other way.

The way there is deterministic, so a state and its noise are one to one, and what lies between two noises is
noise too: decoded, it lies between their data (Song et al. 2021, section 4.3 and appendix D.3).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from polydiff.engine.denoisers import Cond, Denoiser, Mask, State
from polydiff.engine.grids import SIGMA_MIN, uniform_log_snr
from polydiff.engine.nodes import nodes_at
from polydiff.engine.processes import Fixed
from polydiff.engine.processes.base import Process, per_sample
from polydiff.engine.sampling import Run, sample
from polydiff.engine.schedules import Schedule
from polydiff.engine.solvers.rows import ddim_row, eps_row
from polydiff.engine.table import Row, Table

STEPS = 20


def encoding_table(schedule: Schedule, steps: int = STEPS) -> Table:
    """Heun's method from sigma / alpha = SIGMA_MIN, where a state is data but for that much, up to t = 1; two
    network calls a step, and one for a last step to pure noise.

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
    return Table(rows=tuple(rows), end=1.0, solver="encoding", grid="uniform_log_snr")


def encode(
    denoiser: Denoiser,
    processes: Mapping[str, Process],
    schedule: Schedule,
    state: State,
    mask: Mask | None = None,
    cond: Cond | None = None,
    steps: int = STEPS,
) -> State:
    """The state at t = 1 that a deterministic solver leads back to `state`, clean tensors (B, N, ...).

    Components that are carried (Fixed) stay as they are.
    """
    table = encoding_table(schedule, steps)
    some = next(iter(state.values()))
    t = torch.full((len(some),), table.rows[0].t, dtype=torch.float64, device=some.device)
    x = {
        name: value if isinstance(processes[name], Fixed) else value * per_sample(schedule.alpha(t), value)
        for name, value in state.items()
    }
    seeds = torch.zeros(len(some), dtype=torch.int64, device=some.device)
    run = Run(x=x, h={name: () for name in processes}, anchor={}, row=0, seeds=seeds)
    return deque(sample(denoiser, processes, table, run, mask, cond), maxlen=1).pop().x


def between(a: Tensor, b: Tensor, share: float) -> Tensor:
    """What lies `share` of the way from noise a to noise b (N, ...), of their length: along the great circle
    (Shoemake 1985), since what lies on the straight line is too short to be noise.

    >>> x, y = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    >>> between(x, y, 0.5).norm().item().__round__(4), bool((between(x, y, 1.0) == y).all())
    (1.0, True)
    """
    if share in (0.0, 1.0):
        return b if share else a
    cosine = (a * b).sum() / (a.norm() * b.norm()).clamp(min=1e-12)
    angle = torch.arccos(cosine.clamp(-1, 1)).double()
    if float(angle) < 1e-4:
        return torch.lerp(a, b, share)
    weights = torch.sin((1 - share) * angle) / torch.sin(angle), torch.sin(share * angle) / torch.sin(angle)
    return (weights[0] * a + weights[1] * b).to(a.dtype)
