"""A solver: a function from a schedule and times to a table, a row a call of the network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch

from polydiff.engine.schedules import Schedule
from polydiff.engine.table import Row, Table


def mydata(schedule: Schedule, times: Sequence[float]) -> Table:
    """From t to s with x = alpha x0 + sigma eps: believe the network's x0 and keep the noise that follows
    from it, so that x at s is (sigma_s / sigma_t) x + (alpha_s - alpha_t sigma_s / sigma_t) x0."""
    t = torch.as_tensor(times, dtype=torch.float64)
    levels = zip(t.tolist(), schedule.alpha(t).tolist(), schedule.sigma(t).tolist(), strict=True)
    rows = []
    for (here, alpha, sigma), (_, alpha_next, sigma_next) in pairwise(levels):
        ratio = sigma_next / sigma
        rows.append(Row(t=here, a=ratio, b=(alpha_next - alpha * ratio,)))
    return Table(rows=tuple(rows), solver="mydata.v1")
