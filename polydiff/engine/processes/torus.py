"""Angles: every number lives on a circle of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from polydiff.engine.processes.base import noise_ratio
from polydiff.engine.processes.tangent import Tangent
from polydiff.engine.schedules import Schedule
from polydiff.engine.states import masked, per_sample

__all__ = ["Torus", "wrap"]

_TURN = 2 * math.pi
#: noise of this deviation in radians is uniform on the circle to 1e-7
_UNIFORM = 6.0
#: how often an angle of less noise than that may have gone round, either way
_TURNS = 8


def wrap(x: Tensor) -> Tensor:
    """Angles in radians brought to [-π, π).

    >>> wrap(torch.tensor([0.5, 4.0, 7.0]).double()).round(decimals=4).tolist()
    [0.5, -2.2832, 0.7168]
    """
    return torch.remainder(x + math.pi, _TURN) - math.pi


@dataclass(frozen=True)
class Torus(Tangent):
    """Wrapped normal noise on angles in radians, (B, N, C), C of them a node (Jing et al. 2022, section 3.2).

    States lie in [-π, π). A network sees the angles, best through sine and cosine, and returns (B, N, C), of
    unit scale. Where sigma / alpha passes 6 the angles are uniform, which is also the prior. Angles have no
    unit variance and need none. See `processes.tangent` for what solvers do here.
    """

    def noise_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def project(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return masked(wrap(x), mask)

    def prior(self, noise: Tensor, schedule: Schedule, t: Tensor, mask: Tensor | None) -> Tensor:
        uniform = torch.special.ndtr(noise.double()) - 0.5
        return masked((_TURN * uniform).to(noise.dtype), mask)

    def corrupt(
        self, x0: Tensor, noise: Tensor, t: Tensor, schedule: Schedule, mask: Tensor | None
    ) -> Tensor:
        return masked(self.diffuse(x0, noise, noise_ratio(schedule, t)), mask)

    def exp(self, x: Tensor, v: Tensor) -> Tensor:
        return wrap(x + v)

    def log(self, x: Tensor, y: Tensor) -> Tensor:
        return wrap(y - x)

    def diffuse(self, x: Tensor, noise: Tensor, scale: Tensor) -> Tensor:
        # twice what covers the circle, so that a wide noise keeps its digits
        return wrap(x + per_sample(scale.clamp(max=2 * _UNIFORM), x) * noise)

    def pull(self, v: Tensor, ratio: Tensor) -> Tensor:
        """E[v + 2πk | v], over how often the noise went round."""
        rho = ratio.clamp(1e-6, _UNIFORM).to(v.device).reshape(-1, *[1] * v.dim())
        turns = _TURN * torch.arange(-_TURNS, _TURNS + 1, dtype=torch.float64, device=v.device)
        lifts = v.double()[..., None] + turns
        mean = ((-0.5 * (lifts / rho) ** 2).softmax(-1) * lifts).sum(-1)
        known = per_sample(ratio < _UNIFORM, mean)
        return (mean * known).to(v.dtype)

    def reach(self, ratio: Tensor) -> Tensor:
        # ρ for little noise; the score's last harmonic dies with exp(-ρ²/2), this half as fast
        rho = ratio.clamp(max=40)
        return rho * torch.exp(-(rho**2) / 4)
