"""The nodes of a grid as solvers see them, and the frame that every solver fills."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from polydiff.engine.schedules import Schedule
from polydiff.engine.table import Level, Levels, Row, Table, renoise
from polydiff.errors import UsageError

__all__ = [
    "LOWEST_LAMBDA",
    "SHORTEST_STEP",
    "Node",
    "churned",
    "fill_table",
    "nodes_at",
    "steps_of",
    "with_levels",
]

#: below this sigma is 10,000 alpha, and x / alpha would leave too few digits of x̂0 in float32
LOWEST_LAMBDA = -math.log(1e4)

#: times closer than this are one time
SHORTEST_STEP = 1e-9


@dataclass(frozen=True)
class Node:
    """One time of a grid in the four coordinates that formulas are written in."""

    t: float
    alpha: float
    sigma: float
    lam: float

    @property
    def finite(self) -> bool:
        """Whether a polynomial in lambda can pass through this node: neither end, nor nearly all noise."""
        return LOWEST_LAMBDA < self.lam < math.inf


def nodes_at(schedule: Schedule, times: Sequence[float]) -> list[Node]:
    t = torch.tensor(times, dtype=torch.float64)
    columns = (t, schedule.alpha(t), schedule.sigma(t), schedule.log_snr(t) / 2)
    return [Node(*values) for values in zip(*(column.tolist() for column in columns), strict=True)]


def fill_table(
    name: str, schedule: Schedule, times: Tensor | Sequence[float], fill: Callable[[list[Node]], list[Row]]
) -> Table:
    """A table over falling runs of times; a rise between two runs adds the noise that belongs there.

    Times that repeat are one time: a step of no length needs no network.
    """
    numbers: list[float] = []
    for value in map(float, times):
        if not numbers or abs(value - numbers[-1]) > SHORTEST_STEP:
            numbers.append(value)
    if len(numbers) > 1:
        numbers[-1] = float(times[-1])
    if len(numbers) < 2 or numbers[1] > numbers[0]:
        raise UsageError("a sampler's times must begin with a fall, such as 1, 0.5, 0")
    rises = [i for i in range(1, len(numbers)) if numbers[i] > numbers[i - 1]]
    rows: list[Row] = []
    nodes = nodes_at(schedule, numbers)
    for first, end in pairwise([0, *rises, len(numbers)]):
        if rows:
            last, here = nodes[first - 1], nodes[first]
            keep = here.alpha / last.alpha
            added = math.sqrt(max(here.sigma**2 - (keep * last.sigma) ** 2, 0.0))
            rows[-1] = renoise(rows[-1], keep, added)
        rows += fill(nodes[first:end])
    return with_levels(Table(rows=tuple(rows), end=numbers[-1], solver=name), schedule)


def churned(schedule: Schedule, times: Tensor | Sequence[float], churn: float) -> list[float]:
    """Times with a rise before every step but the first: sigma / alpha by the factor
    1 + min(churn / steps, √2 - 1) (Karras et al. 2022, algorithm 2), not beyond the first time."""
    falling = [float(t) for t in times]
    if churn == 0:
        return falling
    if not churn > 0:
        raise UsageError(f"churn must not be negative, got {churn!r}")
    factor = 1 + min(churn / (len(falling) - 1), math.sqrt(2) - 1)
    found = falling[:1]
    for time in falling[1:-1]:
        log_snr = schedule.log_snr(torch.tensor(time, dtype=torch.float64)) - 2 * math.log(factor)
        raised = min(float(schedule.t_of_log_snr(log_snr)), falling[0])
        found += [time, raised] if raised > time else [time]
    return [*found, falling[-1]]


def with_levels(table: Table, schedule: Schedule) -> Table:
    """The table with each row's `levels`: a move ends where the next row calls the network.

    >>> from polydiff.engine.schedules import RectifiedFlow
    >>> table = Table(rows=(Row(t=0.75, a=0.5, b=(0.5,)), Row(t=0.25, a=0.0, b=(1.0,))))
    >>> with_levels(table, RectifiedFlow()).rows[0].levels.there
    (0.75, 0.25)
    """
    t = torch.tensor([*[row.t for row in table.rows], table.end], dtype=torch.float64)
    levels: list[Level] = list(zip(schedule.alpha(t).tolist(), schedule.sigma(t).tolist(), strict=True))
    rows, anchor = [], levels[0]
    for row, (here, there) in zip(table.rows, pairwise(levels), strict=True):
        anchor = here if row.anchor else anchor
        rows.append(replace(row, levels=Levels(here, there, anchor)))
    return replace(table, rows=tuple(rows))


def steps_of(nodes: list[Node], order: int) -> Iterator[tuple[list[Node], Node]]:
    """For each step the nodes a polynomial may use, newest first, and the node to reach."""
    for i, target in enumerate(nodes[1:]):
        used = [node for node in reversed(nodes[max(i - order + 1, 0) : i + 1])]
        yield used[:1] + [node for node in used[1:] if node.finite], target
