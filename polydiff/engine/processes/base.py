"""What a process is: one component's geometry, its noise and its loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from polydiff.engine.schedules import Schedule
from polydiff.engine.table import Row, live


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
    def needs_noised_known(self) -> bool:
        """Whether inpainting must show the network the known part with noise added: True where long steps may
        leave the path of `corrupt` to an x0 that is known."""
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
