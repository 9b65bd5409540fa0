r"""Processes on curved and periodic spaces: what a row of a table means where points cannot be added.

Noise on such a space is Brownian motion, x_t a point that started at x0 and wandered for a variance of ρ²
in every direction, ρ = sigma / alpha. So the state is what x / alpha is on a vector space, noise and data
live on the same scale for every schedule, and where ρ exceeds the size of the space x_t is uniform. The
score of x_t's law p_ρ gives the direction to data: with the tangent vector at x_t

    v(x, ρ) = ρ² ∇ log p_ρ(x) = E[ρ² ∇ log p_ρ(x | x0) | x]            x̂0 = exp_x(v)

the reverse process is d x / d lambda = v, lambda = log(alpha / sigma), as it is on a vector space, where
x̂0 is the mean of x0 (Tweedie). Here it is less: where noise covers the space v is zero and x̂0 is x
itself, since nothing is known of x0 (De Bortoli et al. 2022, section 3; Leach et al. 2022; Yim et al.
2023, section 4).

A denoiser that knew x0 would answer the point of ρ² ∇ log p_ρ(x | x0), `target`, and the mean of that
over x0 is v: networks learn it by squared distance in the tangent space at x_t. The rate at which the
bound on the log likelihood falls with log_snr is snr / 2 times that, as for a Gaussian component.

A row of a table is a weighted sum of points: h_k = p x_k + q x̂0_k is, in units of the state, a point at
x_k of weight m_k = p alpha_k + q and a tangent vector q v_k, and so with n = 1 / alpha at the end of the
move

    x⁺ = exp_x( Σ_k n b_k (m_k log_x(x_k) + q_k v_k) + n base alpha_anchor log_x(anchor) ),  then noise n c

The weights of points add up to one, so that a has nothing to do, and read-outs of ε̂ (m = 0) are tangent
vectors alone. Tangent vectors are written in a frame that moves along with the point (on a group left-
invariant), in which they are carried from x_k to x as they are. Errors of that are brackets of nearly
parallel vectors, of the third order in a step: multistep solvers keep second order, and on a flat space
all of theirs.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from polydiff.engine.processes.base import Process, Scaling, noise_ratio
from polydiff.engine.schedules import Schedule
from polydiff.engine.states import either, filled, linear_combination, masked, mean_over_real, per_sample
from polydiff.engine.table import Level, Levels, Row, live
from polydiff.errors import UsageError

__all__ = ["Tangent", "levels_of"]

#: alpha is not taken for less: noise of 1e6 covers any compact space
_LEAST_UNIT = 1e-6


def levels_of(row: Row) -> Levels:
    """The levels of a row. Errors: UsageError where it has none."""
    if row.levels is None:
        raise UsageError(
            "this table does not know its noise levels: make it by make_table, or pass it through "
            "polydiff.engine.nodes.with_levels(table, schedule)"
        )
    return row.levels


class Tangent(Process):
    """A process on a space with exp and log. A read-out is kept as (B, N, features): the point it was made
    at, the tangent vector q v, and m."""

    @property
    def needs_noised_known(self) -> bool:
        """True: the flow to a known point sets in abruptly, where noise is about as large as the space."""
        return True

    @abstractmethod
    def exp(self, x: Tensor, v: Tensor) -> Tensor:
        """Where the geodesic from x along the tangent vector v ends."""

    @abstractmethod
    def log(self, x: Tensor, y: Tensor) -> Tensor:
        """The shortest tangent vector at x that leads to y."""

    @abstractmethod
    def diffuse(self, x: Tensor, noise: Tensor, scale: Tensor) -> Tensor:
        """x after Brownian motion of standard deviation `scale`, float64 (B,), in every direction."""

    def unit(self, level: Level) -> float:
        """What a state of the table is divided by to become a state of this process."""
        return level[0]

    @abstractmethod
    def pull(self, v: Tensor, ratio: Tensor) -> Tensor:
        """ρ² ∇ log p_ρ(x | x0) for v = log_x(x0) and ratio ρ, float64 (B,)."""

    @abstractmethod
    def reach(self, ratio: Tensor) -> Tensor:
        """About how large v is in one direction, float64 (B,): what a network's output is multiplied by."""

    def denoised(self, output: Tensor, x: Tensor, scaling: Scaling) -> Tensor:
        return self.exp(x, per_sample(self.reach(scaling.ratio), output) * output)

    def target(self, x0: Tensor, x: Tensor, t: Tensor, schedule: Schedule) -> Tensor:
        return self.exp(x, self.pull(self.log(x, x0), noise_ratio(schedule, t)))

    def read(
        self, x: Tensor, x0_hat: Tensor, row: Row, mask: Tensor | None, out: Tensor | None = None
    ) -> Tensor:
        weight = row.p * self.unit(levels_of(row).here) + row.q
        v = row.q * self.log(x, self.project(x0_hat, mask)).flatten(2)
        return torch.cat([x.flatten(2), v, torch.ones_like(v[..., :1]) * weight], -1)

    def displacement(self, x: Tensor, readouts: Sequence[Tensor], row: Row, anchor: Tensor | None) -> Tensor:
        """The tangent vector at x along which a row moves, without its noise."""
        levels = levels_of(row)
        unit, size = self._unit(levels.there), x[0, 0].numel()
        shape = (len(x), *self.noise_shape(tuple(x.shape[1:])))
        terms = []
        for age, (weight, readout) in enumerate(zip(row.b, readouts, strict=False)):
            if not live(weight):
                continue
            v = readout[..., size:-1].reshape(shape)
            if age:  # the newest was read at x itself
                point = readout[..., :size].reshape(x.shape)
                v = v + readout[..., -1:].reshape(*x.shape[:2], *[1] * (v.dim() - 2)) * self.log(x, point)
            terms.append((weight / unit, v))
        if anchor is not None:
            terms.append((row.base * self.unit(levels.anchor) / unit, self.log(x, anchor)))
        return linear_combination(terms) if terms else x.new_zeros(shape)

    def _unit(self, level: Level) -> float:
        unit = self.unit(level)
        return unit.clamp(min=_LEAST_UNIT) if isinstance(unit, Tensor) else max(unit, _LEAST_UNIT)

    def move(
        self,
        x: Tensor,
        readouts: Sequence[Tensor],
        row: Row,
        anchor: Tensor | None,
        noise: Tensor | None,
        mask: Tensor | None,
        out: Tensor | None = None,
    ) -> Tensor:
        moved = self.exp(x, self.displacement(x, readouts, row, anchor))
        if noise is not None:
            scale = filled(row.c / self._unit(levels_of(row).there), len(x), x.device)
            moved = either(row.c == 0, lambda: moved, partial(self.diffuse, moved, noise, scale))
        return masked(moved, mask)

    def loss(
        self, x0_hat: Tensor, x0: Tensor, x: Tensor, t: Tensor, schedule: Schedule, mask: Tensor | None
    ) -> Tensor:
        residual = self.log(x, x0_hat) - self.pull(self.log(x, x0), noise_ratio(schedule, t))
        return mean_over_real(residual**2, mask)

    def between(self, a: Tensor, b: Tensor, share: float) -> Tensor:
        return self.exp(a, share * self.log(a, b))
