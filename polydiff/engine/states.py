"""Arithmetic on states: tensors (B, N, ...) of a batch with padding.

A mask is bool (B, N), True = real; None where all entries are. Sums run over real entries only, and their
bits do not depend on the padding or on the other samples of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

__all__ = [
    "centred",
    "either",
    "filled",
    "inner",
    "linear_combination",
    "masked",
    "mean_over_real",
    "per_sample",
    "real_count",
    "superposed",
]


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """(B,) float64 scalars shaped and cast to multiply a (B, ...) tensor."""
    return values.to(device=like.device, dtype=like.dtype).reshape(-1, *[1] * (like.dim() - 1))


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """x (B, N, ...) with padded entries exactly zero, NaN there included; mask (B, N) bool, True = real."""
    return x if mask is None else torch.where(mask.reshape(*mask.shape, *[1] * (x.dim() - 2)), x, 0.0)


# Multiples of this add up exactly in float64 while their sum stays below 2^53 of them (half a million),
# and an exact sum is the same in any order.
_QUANTUM = 2.0**-34


def centred(x: Tensor, mask: Tensor | None) -> Tensor:
    """x (B, N, ...) less its mean over real entries; padding zero. Bits do not depend on batch or padding."""
    x = masked(x, mask)
    total = (x.double() / _QUANTUM).round().sum(1, keepdim=True) * _QUANTUM
    if mask is None:
        return x - (total / x.shape[1]).to(x.dtype)
    count = mask.sum(1).clamp(min=1).reshape(-1, *[1] * (x.dim() - 1))
    return masked(x - (total / count).to(x.dtype), mask)


def mean_over_real(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of (B, N, ...) over a sample's real entries, shape (B,)."""
    if mask is None:
        return values.flatten(1).mean(1)
    features = values[0, 0].numel()
    total = masked(values, mask).flatten(1).sum(1)
    return total / (mask.sum(1).clamp(min=1) * features)


def inner(a: Tensor, b: Tensor, mask: Tensor | None) -> Tensor:
    """The inner product over a sample's real entries, (B,) float64."""
    return (masked(a, mask).double() * masked(b, mask).double()).flatten(1).sum(1)


def real_count(x: Tensor, mask: Tensor | None) -> Tensor | int:
    """How many real numbers a sample of x (B, N, ...) has, at least one."""
    return x[0].numel() if mask is None else mask.sum(1).clamp(min=1) * x[0, 0].numel()


def linear_combination(terms: Sequence[tuple[float, Tensor]], out: Tensor | None = None) -> Tensor:
    """Σ weight · tensor as a new tensor, or in `out`: an operation a term, none for a weight of zero.

    The sum is left to right and element by element, so an element's bits do not depend on the shape. Weights
    are all floats, or all tensors of no dimension, whose values are not looked at.
    """
    weight, first = terms[0]
    if isinstance(weight, Tensor):
        total = first * weight
        for weight, tensor in terms[1:]:
            total.addcmul_(tensor, weight)
        return total
    (weight, first), *rest = [term for term in terms if term[0] != 0] or terms[:1]
    if weight != 1:
        # a fake or otherwise special tensor wants the number itself
        factor = _scalar(weight, first.dtype) if type(first) is Tensor else weight
        total = torch.mul(first, factor, out=out)
    elif rest:
        (weight, second), *rest = rest
        total = torch.add(first, second, alpha=weight, out=out)
    else:
        total = first.clone() if out is None else out.copy_(first)
    for weight, tensor in rest:
        total.add_(tensor, alpha=weight)
    return total


@lru_cache(4096)
def _scalar(weight: float, state: torch.dtype) -> Tensor:
    """A weight as `torch.mul` takes it faster than a float: the weights of a table come again and again.

    Of half precision torch multiplies in float32, so the weight is not rounded to less than that.
    """
    dtype = state if state in (torch.float32, torch.float64) else torch.float64
    with torch.inference_mode(False):
        return torch.tensor(weight, dtype=dtype, device="cpu")


def filled(value: float | Tensor, count: int, device: torch.device) -> Tensor:
    """(B,) float64 of one value, which may be a tensor of no dimension."""
    if isinstance(value, Tensor):
        return value.expand(count)
    return torch.full((count,), value, dtype=torch.float64, device=device)


def either(condition: bool | Tensor, this: Callable[[], Tensor], that: Callable[[], Tensor]) -> Tensor:
    """`this` where the condition holds, else `that`; both are computed where only the device knows."""
    if isinstance(condition, Tensor):
        return torch.where(condition, this(), that())
    return this() if condition else that()


def superposed(points: Tensor, onto: Tensor, chosen: Tensor) -> Tensor:
    """Points (B, N, ..., 3) turned and moved as a whole so that those of the chosen nodes (B, N) lie as near
    as can be to those of `onto`, never mirrored (Kabsch 1976). Where none is chosen nothing moves."""
    weight = chosen.double().reshape(*chosen.shape, *[1] * (points.dim() - 2))
    weight = weight.expand(*points.shape[:-1], 1).flatten(1, -2)
    here, there = points.double().flatten(1, -2), onto.double().flatten(1, -2)
    count = weight.sum(1, keepdim=True).clamp(min=1)
    middle, goal = (here * weight).sum(1, keepdim=True) / count, (there * weight).sum(1, keepdim=True) / count
    u, _, vh = torch.linalg.svd(((here - middle) * weight).transpose(1, 2) @ (there - goal))
    handed = torch.ones_like(u[:, 0])
    handed[:, 2] = torch.linalg.det(u @ vh).sign()
    moved = (here - middle) @ (u * handed[:, None]) @ vh + goal
    return torch.where(chosen.any(1)[:, None, None], moved, here).reshape(points.shape).to(points.dtype)
