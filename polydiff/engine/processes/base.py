"""What a process is: one component's geometry, its noise and its loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from polydiff.engine.schedules import Schedule
from polydiff.engine.table import Row, live

__all__ = [
    "Process",
    "Scaling",
    "centred",
    "either",
    "filled",
    "linear_combination",
    "masked",
    "mean_over_real",
    "noise_ratio",
    "per_sample",
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


@dataclass(frozen=True)
class Scaling:
    """What `denoisers.precondition` multiplies with, float64 (B,): see there for the first three. ratio is
    sigma / alpha, infinite where there is no signal."""

    skip: Tensor
    out: Tensor
    into: Tensor
    ratio: Tensor


def noise_ratio(schedule: Schedule, t: Tensor) -> Tensor:
    """sigma / alpha at t, float64: 0 for data, infinite where there is no signal."""
    return torch.exp(-0.5 * schedule.log_snr(t))


class Process(Protocol):
    """One component of a state. Tensors are (B, N, ...); a mask is (B, N) bool or None.

    Noise always arrives as standard normals of shape `noise_shape`; a process on another space makes
    its own kind of randomness out of them, so that seeds mean the same everywhere.

    What has a body here is right for vector spaces, where the x̂0 that solvers need is the mean of x0.
    Subclass to inherit it.

    The numbers of a row are floats, or all of them tensors of no dimension (`engine.captured`): `live` and
    `either` decide without asking the device, and arithmetic is the same on both.
    """

    @property
    def strays(self) -> bool:
        """Whether long steps may lead off the path of `corrupt` to an x0 that is known."""
        return False

    def noise_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the normals that one sample of `shape` needs."""
        ...

    def prior(self, noise: Tensor, schedule: Schedule, t: Tensor, mask: Tensor | None) -> Tensor:
        """The state before the first step, at time t (float64 scalar or (B,))."""
        ...

    def corrupt(
        self, x0: Tensor, noise: Tensor, t: Tensor, schedule: Schedule, mask: Tensor | None
    ) -> Tensor:
        """x_t given x0; t is float64 (B,)."""
        ...

    def noiseless(self, x0: Tensor, t: Tensor, schedule: Schedule) -> Tensor:
        """x0 as a state at time t (float64 (B,)) to which no noise was added."""
        return x0

    def project(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x with its invariants restored: padding zero, on the manifold."""
        ...

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """What a network returns for one sample of `shape`."""
        return shape

    def network_input(self, x: Tensor, scaling: Scaling) -> Tensor:
        """What a network sees of x."""
        return x

    def denoised(self, output: Tensor, x: Tensor, scaling: Scaling) -> Tensor:
        """x̂0 from a network's output at x."""
        ...

    def target(self, x0: Tensor, x: Tensor, t: Tensor, schedule: Schedule) -> Tensor:
        """What a denoiser that knew x0 would answer at x. Its mean given x is the x̂0 that solvers need."""
        return x0

    def read(self, x: Tensor, x0_hat: Tensor, row: Row, mask: Tensor | None) -> Tensor:
        """The read-out h = p x + q x̂0 of one network call, x̂0 projected first."""
        ...

    def draws(self, row: Row) -> bool:
        """Whether the move of a row needs noise."""
        return live(row.c)

    def move(
        self,
        x: Tensor,
        readouts: Sequence[Tensor],
        row: Row,
        anchor: Tensor | None,
        noise: Tensor | None,
        mask: Tensor | None,
    ) -> Tensor:
        """x⁺ = a x + Σ_k b_k h_{i-k} + base anchor + c ξ, read-outs newest first, as a new tensor.

        `anchor` is given where row.base is not zero, `noise` where `draws` says so.
        """
        ...

    def placed(self, known: Tensor, x0_hat: Tensor, keep: Tensor) -> Tensor:
        """`known` as it would stand in `x0_hat` (both (B, N, ...)) where the process cannot tell it from what
        was given: moved by the symmetry that its data has. keep: bool (B, N), where it is known."""
        return known

    def loss(
        self, x0_hat: Tensor, x0: Tensor, x: Tensor, t: Tensor, schedule: Schedule, mask: Tensor | None
    ) -> Tensor:
        """Squared distance a real entry, (B,), unweighted, of x̂0 answered at x and t.

        Times snr / 2 it is the rate at which the bound on the log likelihood falls with log_snr (Kingma et
        al. 2021, section 4), and that is what it must be where it is no distance: so one weight fits all.
        """
        ...

    def between(self, a: Tensor, b: Tensor, share: float) -> Tensor:
        """What lies `share` of the way from noise a to noise b (N, ...), as likely as they are."""
        ...
