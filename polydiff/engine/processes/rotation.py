"""Rotations: the group SO(3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from polydiff.engine.processes import quaternions
from polydiff.engine.processes.base import noise_ratio
from polydiff.engine.processes.igso3 import UNIFORM, angle_of, pull_factor
from polydiff.engine.processes.tangent import Tangent, levels_of
from polydiff.engine.schedules import Schedule
from polydiff.engine.states import either, filled, masked, per_sample
from polydiff.engine.table import Level, Row, live

__all__ = ["Rotation"]


def _length(v: Tensor) -> Tensor:
    x, y, z = v.split(1, -1)
    return torch.sqrt(x * x + y * y + z * z)


@dataclass(frozen=True)
class Rotation(Tangent):
    """Rotation matrices, (B, N, 3, 3), padding zero. A network returns the turn from x to x̂0 in the frame of
    x, (B, N, 3), so that turning everything from the left (a global rotation) turns samples along with it.

    path "igso3": Brownian motion, the isotropic Gaussian on SO(3), see `processes.tangent` (Leach et al.
    2022; Yim et al. 2023, section 4).

    path "geodesic": x_t lies on the geodesic from x0 to a uniform rotation, s = sigma / (alpha + sigma)
    of the way (Chen and Lipman 2024; Bose et al. 2024). d x / d s = -E[log_x(x0) | x] / s is
    the flow, so x̂0 is the end of the mean way and the state takes the place that x / (alpha + sigma) has
    on a vector space; one step from noise gives a whole rotation. There is no score, so noise cannot be
    added: a row of a table that would is a step of first order along the flow.
    """

    path: Literal["igso3", "geodesic"] = "igso3"

    def noise_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-2], 3)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-2], 3)

    def project(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return masked(quaternions.to_matrix(quaternions.from_matrix(masked(x, mask))), mask)

    def prior(self, noise: Tensor, schedule: Schedule, t: Tensor, mask: Tensor | None) -> Tensor:
        """Uniform rotations, whatever t."""
        return masked(quaternions.to_matrix(quaternions.exp(self._uniform(noise))), mask)

    def corrupt(
        self, x0: Tensor, noise: Tensor, t: Tensor, schedule: Schedule, mask: Tensor | None
    ) -> Tensor:
        ratio = noise_ratio(schedule, t)
        if self.path == "igso3":
            return masked(self.diffuse(x0, noise, ratio), mask)
        share = ratio / (1 + ratio.clamp(max=1e12))
        return masked(self.exp(x0, per_sample(share.clamp(max=1), noise) * self._uniform(noise)), mask)

    def exp(self, x: Tensor, v: Tensor) -> Tensor:
        turned = quaternions.product(quaternions.from_matrix(x), quaternions.exp(v))
        return quaternions.to_matrix(quaternions.normalised(turned))

    def log(self, x: Tensor, y: Tensor) -> Tensor:
        back = quaternions.conjugate(quaternions.from_matrix(x))
        return quaternions.log(quaternions.product(back, quaternions.from_matrix(y)))

    def diffuse(self, x: Tensor, noise: Tensor, scale: Tensor) -> Tensor:
        return self.exp(x, self._turn(noise, scale))

    def _turn(self, noise: Tensor, scale: Tensor) -> Tensor:
        """The turn (B, N, 3) of Brownian motion of deviation `scale` (B,) that three normals stand for."""
        length = _length(noise.double())
        angle = angle_of(length, per_sample(scale, length).expand_as(length))
        return (angle / length.clamp(min=1e-12)).to(noise.dtype) * noise

    def _uniform(self, noise: Tensor) -> Tensor:
        return self._turn(noise, filled(UNIFORM, len(noise), noise.device))

    def pull(self, v: Tensor, ratio: Tensor) -> Tensor:
        if self.path == "geodesic":
            return v
        angle = _length(v.double())
        return (pull_factor(angle, per_sample(ratio, angle).expand_as(angle))).to(v.dtype) * v

    def reach(self, ratio: Tensor) -> Tensor:
        if self.path == "geodesic":
            rho = ratio.clamp(max=1e12)
            return rho / (1 + rho)
        # ρ for little noise; the score's last harmonic dies with exp(-ρ²), this half as fast
        rho = ratio.clamp(max=40)
        return rho * torch.exp(-(rho**2) / 2)

    def unit(self, level: Level) -> float:
        return level[0] if self.path == "igso3" else level[0] + level[1]

    def draws(self, row: Row) -> bool:
        return self.path == "igso3" and live(row.c)

    def displacement(self, x: Tensor, readouts: Sequence[Tensor], row: Row, anchor: Tensor | None) -> Tensor:
        whole = partial(super().displacement, x, readouts, row, anchor)
        if self.path == "igso3" or not live(row.c):
            return whole()
        levels = levels_of(row)
        here, there = (sigma / (alpha + sigma) for alpha, sigma in (levels.here, levels.there))
        along = (1 - there / here) / (row.q + (row.q == 0)) * readouts[0][..., 9:12]
        return either(row.c == 0, whole, lambda: along)
