r"""The solvers that keep a point mass exact, by their free numbers.

Any deterministic table is linear in the first state and the x̂0 of its calls. Where all x̂0 are one point, as
they are for data that is a single point, its states hold the right share of it only if row i, from time t to
s, is

    x⁺ = a x + (alpha_s - alpha_t a) Σ_k w_k x̂0_{i-k},      Σ_k w_k = 1

and also the noise of time s if a = sigma_s / sigma_t, as every solver of `polydiff.engine.solvers` has
it whose read-out is eps or x̂0: a past ε̂ is a sum of the first state and of x̂0. So what may be tuned
of n calls are the n - 1 inner times, as lambda = log(alpha / sigma); the weights w_1 ... w_i of each
row but the first, w_0 being what is left; and a factor e^scale of each a but the last, since a state
of few steps fits another time than its own. The last row keeps no noise, a = 0: it returns its x̂0,
or goes on along the line through past ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch

from polydiff.engine.nodes import nodes_at
from polydiff.engine.schedules import Schedule
from polydiff.engine.solvers.rows import ddim_row
from polydiff.engine.table import Table, trimmed

#: two inner times may not come nearer than this in lambda
NEAREST = 0.02


@dataclass(frozen=True)
class PointExact:
    """The free numbers of a table of n calls: lams and scales (n - 1,), weights of 0, ..., n - 1 a row."""

    lams: tuple[float, ...]
    weights: tuple[tuple[float, ...], ...]
    scales: tuple[float, ...]

    @property
    def calls(self) -> int:
        return len(self.lams) + 1

    @property
    def vector(self) -> np.ndarray:
        """All of them in one row: the times, the scales, and the weights row by row."""
        return np.array([*self.lams, *self.scales, *(w for row in self.weights for w in row)])

    @property
    def rows_moved(self) -> list[int]:
        """For each number of `vector`, the first row whose move it changes."""
        inner = range(self.calls - 1)
        return [*inner, *inner, *(i for i, row in enumerate(self.weights) for _ in row)]

    def moved(self, move: np.ndarray) -> PointExact:
        """With this added to `vector`."""
        numbers = iter((self.vector + move).tolist())
        lams = tuple(next(numbers) for _ in self.lams)
        scales = tuple(next(numbers) for _ in self.scales)
        weights = (tuple(next(numbers) for _ in row) for row in self.weights)
        return PointExact(lams, tuple(weights), scales)

    def extended(self) -> PointExact:
        """With one call more, in the middle of the longest inner step, to the same end: the rows before and
        after it have the weights of the row that is split, and none for its own x̂0."""
        at = 1 + int(np.argmax(np.diff(self.lams)))  # the row that is split
        middle = (self.lams[at - 1] + self.lams[at]) / 2
        half, own = self.scales[at] / 2, self.weights[at]
        later = [(*row[:i], 0.0, *row[i:]) for i, row in enumerate(self.weights[at + 1 :])]
        return PointExact(
            (*self.lams[:at], middle, *self.lams[at:]),
            (*self.weights[: at + 1], (1 - sum(own), *own), *later),
            (*self.scales[:at], half, half, *self.scales[at + 1 :]),
        )

    def with_noise_scale(self, noise_scale: float) -> PointExact:
        """With the noise multiplied by `noise_scale` from the first row on, as in the states of
        `ddpm(noise_scale=)` after a few steps: Gaussian data of deviation s comes out with noise_scale · s in
        both."""
        lower = math.log(noise_scale)
        return replace(self, scales=tuple(scale + lower * (i == 0) for i, scale in enumerate(self.scales)))

    def falls(self, schedule: Schedule) -> bool:
        """Whether the times fall from 1, each well below the one before."""
        first = float(schedule.log_snr(torch.tensor(1.0, dtype=torch.float64))) / 2
        return bool((np.diff([first, *self.lams]) > NEAREST).all())

    def table(self, schedule: Schedule, solver: str = "calibrated") -> Table:
        """The table; a row i has i + 1 weights, the newest first."""
        log_snr = 2 * torch.tensor(self.lams, dtype=torch.float64)
        nodes = nodes_at(schedule, [1.0, *schedule.t_of_log_snr(log_snr).tolist(), 0.0])
        rows = []
        for weights, scale, (node, target) in zip(
            self.weights, (*self.scales, -math.inf), pairwise(nodes), strict=True
        ):
            row = ddim_row(node, target, math.exp(scale) * target.sigma)
            rows.append(replace(row, b=trimmed([row.b[0] * w for w in (1 - sum(weights), *weights)])))
        return Table(rows=tuple(rows), solver=solver, grid="calibrated")


def point_exact(table: Table, schedule: Schedule) -> PointExact | None:
    """The free numbers of a table from t = 1 to 0; None where it is not of this family: stochastic, with a
    rise or a repetition of times, without noise before its end, or not exact on a point mass.

    >>> from polydiff.engine.schedules import EDM
    >>> from polydiff.engine.solvers import make_table
    >>> found = point_exact(make_table("ddim", EDM(), 4), EDM())
    >>> [round(w, 9) for row in found.weights for w in row], found.table(EDM()).nfe
    ([0.0, 0.0, 0.0, 0.0, 0.0, 0.0], 4)
    """
    count, times = table.nfe, [*(row.t for row in table.rows), table.end]
    nodes = nodes_at(schedule, times)
    lams = tuple(node.lam for node in nodes[1:-1])
    if table.stochastic or times[0] != 1 or times[-1] != 0 or not all(map(math.isfinite, lams)):
        return None
    # a state or read-out as weights of the first state and of x̂0 of each call
    x, anchor = np.eye(count + 1)[0], np.zeros(count + 1)
    past: list[np.ndarray] = []
    weights: list[tuple[float, ...]] = []
    scales: list[float] = []
    for i, row in enumerate(table.rows):
        anchor = x if row.anchor else anchor
        past.insert(0, row.p * x + row.q * np.eye(count + 1)[i + 1])
        moved = row.a * x + row.base * anchor + sum(b * h for b, h in zip(row.b, past, strict=False))
        last, a = i == count - 1, float(moved[0] / x[0])
        if abs(a) > 1e-6 if last else a <= 0:
            return None
        step = ddim_row(nodes[i], nodes[i + 1], a * nodes[i].sigma)
        own = (moved - step.a * x)[: i + 2]
        if not (step.b[0] > 1e-9 and abs(own.sum() / step.b[0] - 1) < 1e-6):
            return None
        weights.append(tuple((own[i:0:-1] / step.b[0]).tolist()))
        if not last:
            scales.append(math.log(a * nodes[i].sigma / nodes[i + 1].sigma))
        x = moved
    found = PointExact(lams, tuple(weights), tuple(scales))
    return found if found.falls(schedule) else None
