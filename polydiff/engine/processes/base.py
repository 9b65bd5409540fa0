"""What a process is: one component's geometry, its noise and its loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from polydiff.engine.schedules import Schedule
from polydiff.engine.table import Row, live

__all__ = ["Process", "Scaling", "noise_ratio"]


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


class Process(ABC):
    """One component of a state. Tensors are (B, N, ...); a mask is bool (B, N), True = real, or None.

    Subclass it for a space of your own: what is abstract has to be written, every other method has a
    default. The flags say what the engine may do with a component, whatever its class:

    passive: it is given with the request and carried along. It has no noise, no prior and no loss, `read`
        and `move` return x, and `draws` is False.
    linear: it is a vector space with Gaussian noise, x_t = alpha x0 + sigma ξ, with x0 and ξ projected by
        `project`, an orthogonal projection that is linear for a given mask; x̂0 is the mean of x0; `read` and
        `move` are the weighted sums of the row, and a read-out has the shape of the state. Adaptive steps,
        likelihoods, particles and the calibration of tables need this, and the loop reuses its memory.

    Noise always arrives as standard normals of shape `noise_shape`; a process on another space makes
    its own kind of randomness out of them, so that seeds mean the same everywhere.

    The numbers of a row are floats, or all of them tensors of no dimension (`runtime.captured`): `live` and
    `states.either` decide without asking the device, and arithmetic is the same on both.

    >>> from polydiff.engine.processes import Fixed, Gaussian, Torus
    >>> [(p.linear, p.passive) for p in (Gaussian(), Fixed(), Torus())]
    [(True, False), (False, True), (False, False)]
    """

    passive: ClassVar[bool] = False
    linear: ClassVar[bool] = False

    @property
    def needs_noised_known(self) -> bool:
        """Whether inpainting must show the network the known part with noise added: True where long steps may
        leave the path of `corrupt` to an x0 that is known."""
        return False

    @abstractmethod
    def noise_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the normals that one sample of `shape` needs."""

    @abstractmethod
    def prior(self, noise: Tensor, schedule: Schedule, t: Tensor, mask: Tensor | None) -> Tensor:
        """The state before the first step, at time t (float64 scalar or (B,))."""

    @abstractmethod
    def corrupt(
        self, x0: Tensor, noise: Tensor, t: Tensor, schedule: Schedule, mask: Tensor | None
    ) -> Tensor:
        """x_t given x0; t is float64 (B,)."""

    def noiseless(self, x0: Tensor, t: Tensor, schedule: Schedule) -> Tensor:
        """x0 as a state at time t (float64 (B,)) to which no noise was added."""
        return x0

    @abstractmethod
    def project(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x with its invariants restored: padding zero, on the manifold."""

    def dimensions(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """How many numbers of each sample of x are free, float64 (B,): the rank of `project`."""
        nodes = x.shape[1] if mask is None else mask.sum(1)
        return torch.as_tensor(nodes * x[0, 0].numel(), dtype=torch.float64, device=x.device).expand(len(x))

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """What a network returns for one sample of `shape`."""
        return shape

    def network_input(self, x: Tensor, scaling: Scaling) -> Tensor:
        """What a network sees of x."""
        return x

    @abstractmethod
    def denoised(self, output: Tensor, x: Tensor, scaling: Scaling) -> Tensor:
        """x̂0 from a network's output at x."""

    def target(self, x0: Tensor, x: Tensor, t: Tensor, schedule: Schedule) -> Tensor:
        """What a denoiser that knew x0 would answer at x. Its mean given x is the x̂0 that solvers need."""
        return x0

    @abstractmethod
    def read(
        self, x: Tensor, x0_hat: Tensor, row: Row, mask: Tensor | None, out: Tensor | None = None
    ) -> Tensor:
        """The read-out h = p x + q x̂0 of one network call, x̂0 projected first.

        out: given to linear processes only: a tensor of the shape of x that nothing else uses, to write the
            result to and return. It may be ignored: this only saves memory.
        """

    def draws(self, row: Row) -> bool:
        """Whether the move of a row needs noise."""
        return live(row.c)

    @abstractmethod
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
        """x⁺ = a x + Σ_k b_k h_{i-k} + base anchor + c ξ, read-outs newest first, as a new tensor.

        `anchor` is given where row.base is not zero, `noise` where `draws` says so. out: as in `read`; it may
        be x itself, so read x before writing.
        """

    def placed(self, known: Tensor, x0_hat: Tensor, keep: Tensor) -> Tensor:
        """`known` aligned with `x0_hat` (both (B, N, ...)) by the symmetry of the data, unchanged where
        there is none. keep: bool (B, N), where it is known."""
        return known

    @abstractmethod
    def loss(
        self, x0_hat: Tensor, x0: Tensor, x: Tensor, t: Tensor, schedule: Schedule, mask: Tensor | None
    ) -> Tensor:
        """The loss: squared distance per real entry, (B,), unweighted, of x̂0 answered at x and t.

        Times snr / 2 it is the rate at which the bound on the log likelihood falls with log_snr (Kingma et
        al. 2021, section 4), and a loss that is no distance must be that rate too, so that one weighting fits
        every process.
        """

    @abstractmethod
    def between(self, a: Tensor, b: Tensor, share: float) -> Tensor:
        """Interpolate from noise a to noise b (N, ...), `share` of the way; the result is noise too."""
