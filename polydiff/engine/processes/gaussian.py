"""Gaussian noise on a vector space, with masks and, where asked, zero centre of mass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from polydiff.engine.processes.base import Process, Scaling
from polydiff.engine.schedules import Schedule
from polydiff.engine.states import centred, linear_combination, masked, mean_over_real, per_sample, superposed
from polydiff.engine.table import Row, live

__all__ = ["Gaussian"]


@dataclass(frozen=True)
class Gaussian(Process):
    """x_t = alpha x0 + sigma eps on (B, N, C), in units where data has unit variance.

    With `centre` the process lives in the subspace whose mean over real nodes is zero, and the noise is
    projected into it too (Hoogeboom et al. 2022, section 3.1), so translations carry no probability.
    `pose_free` says that the nodes are points in space, or several each, (B, N, ..., 3), whose pose as a
    whole means nothing: what is known of a sample is turned and moved to where the model draws it.
    """

    linear: ClassVar[bool] = True

    centre: bool = False
    pose_free: bool = False

    @property
    def needs_noised_known(self) -> bool:
        """True unless the process is translation-free: solvers on v leave the exact path to a known x0, so
        the known part must be shown noised. Without a pose, where the known part lies is settled only at
        the end."""
        return not (self.centre or self.pose_free)

    def noise_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def project(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return centred(x, mask) if self.centre else masked(x, mask)

    def prior(self, noise: Tensor, schedule: Schedule, t: Tensor, mask: Tensor | None) -> Tensor:
        return self.project(noise, mask) * per_sample(schedule.sigma(t), noise)

    def corrupt(
        self, x0: Tensor, noise: Tensor, t: Tensor, schedule: Schedule, mask: Tensor | None
    ) -> Tensor:
        signal = per_sample(schedule.alpha(t), x0) * self.project(x0, mask)
        return signal + per_sample(schedule.sigma(t), x0) * self.project(noise, mask)

    def noiseless(self, x0: Tensor, t: Tensor, schedule: Schedule) -> Tensor:
        return x0 * per_sample(schedule.alpha(t), x0)

    def dimensions(self, x: Tensor, mask: Tensor | None) -> Tensor:
        free = super().dimensions(x, mask)
        return (free - x[0, 0].numel()).clamp(min=0) if self.centre else free

    def network_input(self, x: Tensor, scaling: Scaling) -> Tensor:
        return x * per_sample(scaling.into, x)

    def denoised(self, output: Tensor, x: Tensor, scaling: Scaling) -> Tensor:
        return torch.addcmul(per_sample(scaling.out, output) * output, per_sample(scaling.skip, output), x)

    def read(
        self, x: Tensor, x0_hat: Tensor, row: Row, mask: Tensor | None, out: Tensor | None = None
    ) -> Tensor:
        x0_hat = self.project(x0_hat, mask)
        if not isinstance(row.q, Tensor) and row.q == 1 and not live(row.p):
            return x0_hat
        return linear_combination([(row.q, x0_hat), (row.p, x)], out)

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
        terms = [(row.a, x), *zip(row.b, readouts, strict=False)]
        if anchor is not None:
            terms.append((row.base, anchor))
        if noise is not None:
            terms.append((row.c, self.project(noise, mask)))
        return linear_combination(terms, out)

    def placed(self, known: Tensor, x0_hat: Tensor, keep: Tensor) -> Tensor:
        return superposed(known, x0_hat, keep) if self.pose_free else known

    def loss(
        self, x0_hat: Tensor, x0: Tensor, x: Tensor, t: Tensor, schedule: Schedule, mask: Tensor | None
    ) -> Tensor:
        return mean_over_real((x0_hat - x0) ** 2, mask)

    def between(self, a: Tensor, b: Tensor, share: float) -> Tensor:
        """Spherical interpolation (Shoemake 1985): points on the straight line are too short to be noise.

        >>> x, y = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
        >>> middle = Gaussian().between(x, y, 0.5)
        >>> middle.norm().item().__round__(4), bool((Gaussian().between(x, y, 1.0) == y).all())
        (1.0, True)
        """
        if share in (0.0, 1.0):
            return b if share else a
        cosine = (a * b).sum() / (a.norm() * b.norm()).clamp(min=1e-12)
        angle = torch.arccos(cosine.clamp(-1, 1)).double()
        if float(angle) < 1e-4:
            return torch.lerp(a, b, share)
        weights = [torch.sin(part * angle) / torch.sin(angle) for part in (1 - share, share)]
        return (weights[0] * a + weights[1] * b).to(a.dtype)
