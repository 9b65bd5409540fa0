r"""The isotropic Gaussian on SO(3): the law of Brownian motion from the identity after a variance of ρ² about
each axis (Nikolayev and Savyolova 1997; Leach et al. 2022, section 3).

A rotation by the angle ω has, with respect to the uniform (Haar) measure, the density f(ω) = h(ω) / sin(ω/2),

    h(ω) = Σ_l (2l + 1) exp(-l (l + 1) ρ²/2) sin((l + 1/2) ω)                 l = 0, 1, ...
    h(ω) ∝ Σ_k (-1)^k (ω + 2πk) exp(-(ω + 2πk)² / 2 ρ²)                       k = ..., -1, 0, 1, ...

The first sum, over characters, needs few terms for large ρ; the second, over how often the motion went
round, for small ρ. They are each other's Poisson sum and meet at ρ = 1, where nine and five terms give all
digits. The angle has the density f(ω) (1 - cos ω) / π on (0, π), and for small ρ is ρ times the length of
three normals.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

__all__ = ["UNIFORM", "angle_of", "pull_factor", "table_of_angles"]

#: from this ρ on the density is one to 1e-9
UNIFORM = 5.0
_MEET, _CHARACTERS, _TURNS = 1.0, 9, 2
_SMALLEST_ANGLE = 1e-3  # below it the pull is taken as proportional to the angle, true to 1e-7

# of the table of angles: nodes a unit of ρ, nodes a unit of length, the greatest length, cells of an integral
_RHO_NODES, _LENGTH_NODES, _LONGEST, _CELLS = 64, 128, 8.0, 1024


def _sums(angle: Tensor, rho: Tensor) -> tuple[Tensor, Tensor]:
    """h and dh/dω, float64, but for a common factor; for ρ < 1 exp(-ω² / 2 ρ²) is left out."""
    small, large = rho.clamp(max=_MEET), rho.clamp(min=_MEET)
    near, near_slope = torch.zeros_like(angle), torch.zeros_like(angle)
    for k in range(-_TURNS, _TURNS + 1):
        lift = angle + 2 * math.pi * k
        weight = (-1) ** k * torch.exp(-(lift**2 - angle**2) / (2 * small**2))
        near, near_slope = near + weight * lift, near_slope + weight * (1 - (lift / small) ** 2)
    far, far_slope = torch.zeros_like(angle), torch.zeros_like(angle)
    for order in range(_CHARACTERS):
        weight = (2 * order + 1) * torch.exp(-order * (order + 1) * large**2 / 2)
        far = far + weight * torch.sin((order + 0.5) * angle)
        far_slope = far_slope + weight * (order + 0.5) * torch.cos((order + 0.5) * angle)
    return torch.where(rho < _MEET, near, far), torch.where(rho < _MEET, near_slope, far_slope)


def pull_factor(angle: Tensor, rho: Tensor) -> Tensor:
    """-ρ² f'(ω) / (f(ω) ω): the share of the way back to the mean that ρ² ∇ log f goes, from 1 - ρ²/12
    where noise is little to 0 where it is uniform. Angles in [0, π] and ρ > 0, float64 of one shape.

    >>> factor = pull_factor(torch.tensor([0.1, 1.0]).double(), torch.tensor([0.1, 9.0]).double())
    >>> [round(value, 4) for value in factor.tolist()]
    [0.9992, 0.0]
    """
    angle = angle.clamp(min=_SMALLEST_ANGLE)
    rho = rho.clamp(min=1e-6)
    total, slope = _sums(angle, rho)
    factor = -(rho**2) * (slope / total - 0.5 / torch.tan(angle / 2)) / angle
    return torch.where(rho < UNIFORM, factor, 0.0)


def angle_of(length: Tensor, rho: Tensor) -> Tensor:
    """The angle of a rotation drawn at ρ, float64, from the length of three standard normals: the angle and
    the length have the same share of their laws below them. Two tensors of one shape.

    >>> length = torch.tensor([0.5, 2.0]).double()
    >>> [round(angle, 3) for angle in angle_of(length, torch.tensor([0.01, 9.0]).double()).tolist()]
    [0.005, 2.725]
    """
    table = table_of_angles(str(length.device))
    rows, columns = table.shape
    rho = rho.clamp(max=UNIFORM)
    row, row_share = _place(rho * _RHO_NODES, rows)
    column, column_share = _place(length * _LENGTH_NODES, columns)
    first = row * columns + column
    flat = table.reshape(-1)
    lower = torch.lerp(flat[first], flat[first + 1], column_share)
    upper = torch.lerp(flat[first + columns], flat[first + columns + 1], column_share)
    return rho * torch.lerp(lower, upper, row_share)


def _place(place: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The node below a place, and how far it is from there to the next."""
    place = place.clamp(0, count - 1)
    node = place.floor().clamp(max=count - 2)
    return node.long(), place - node


def table_of_angles(device: str) -> Tensor:
    """The table made once a device; for compilers a constant."""
    return _angles(device)


@lru_cache(maxsize=8)
def _angles(device: str) -> Tensor:
    """angle / ρ at nodes of ρ (from 0 to UNIFORM) and of the length of three normals (from 0 to _LONGEST)."""
    length = torch.linspace(0, _LONGEST, round(_LONGEST * _LENGTH_NODES) + 1, dtype=torch.float64)
    below = torch.erf(length / math.sqrt(2)) - math.sqrt(2 / math.pi) * length * torch.exp(-(length**2) / 2)
    rho = torch.linspace(0, UNIFORM, round(UNIFORM * _RHO_NODES) + 1, dtype=torch.float64)[1:, None]
    # both laws begin with a third power, whose root is smooth
    roots, rows = below.clamp(0, 1).numpy() ** (1 / 3), [length.numpy()]
    share = torch.linspace(0, 1, _CELLS + 1, dtype=torch.float64)
    angle = share * (rho * (_LONGEST + 0.5)).clamp(max=math.pi)
    total, _ = _sums(angle, rho.expand_as(angle))
    bell = torch.where(rho < _MEET, torch.exp(-((angle / rho) ** 2) / 2), 1.0)  # what _sums left out
    density = total * bell * torch.sin(angle / 2)
    cumulated = torch.cumulative_trapezoid(density, dim=1)
    laws = torch.nn.functional.pad(cumulated / cumulated[:, -1:], (1, 0)).numpy() ** (1 / 3)
    scaled = (angle / rho).numpy()
    rows += [np.interp(roots, law, values) for law, values in zip(laws, scaled, strict=True)]
    return torch.from_numpy(np.stack(rows)).to(device)
