"""What each pair of residues looks like from one another: numbers that do not change when all is turned."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_CENTRES = 20
_LOW, _HIGH = math.log(0.15), math.log(5.0)  # of distances, in deviations of the coordinates
FEATURES = _CENTRES + 3 + 3 + 9


def pair_features(atoms: Tensor) -> Tensor:
    """(B, N, N, FEATURES) of atoms N, CA, C (B, N, 3, 3): how far apart the two Cα are, as bumps over the
    logarithm of the distance; the way from one to the other in the local axes of both; their axes in each
    other's. The axes are the bonds to C and N and their cross product, so a mirror image looks different."""
    ca = atoms[:, :, 1]
    axes = _local_axes(atoms)
    away = ca[:, None] - ca[:, :, None]  # from i to j
    distance = (away.square().sum(-1) + 1e-6).sqrt()
    direction = away / (distance + 0.02)[..., None]
    centres = torch.linspace(_LOW, _HIGH, _CENTRES, device=atoms.device)
    step = (_HIGH - _LOW) / (_CENTRES - 1)
    bumps = torch.exp(-(((torch.log(distance + 0.05)[..., None] - centres) / step) ** 2))
    mine = torch.einsum("bikc,bijc->bijk", axes, direction)
    yours = torch.einsum("bjkc,bijc->bijk", axes, direction)
    turned = torch.einsum("bikc,bjlc->bijkl", axes, axes).flatten(3)
    return torch.cat([bumps, mine, yours, turned], dim=-1)


def _local_axes(atoms: Tensor) -> Tensor:
    """(B, N, 3 axes, 3)."""
    first, second = (_unit(atoms[:, :, k] - atoms[:, :, 1]) for k in (2, 0))
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-2)


def _unit(vectors: Tensor) -> Tensor:
    return vectors * torch.rsqrt(vectors.square().sum(-1, keepdim=True) + 1e-4)
