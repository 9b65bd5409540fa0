"""Gaussian noise on a vector space, with masks and, where asked, zero centre of mass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from polydiff.engine.processes.base import (
    centred,
    linear_combination,
    masked,
    mean_over_real,
    per_sample,
    superposed,
)
from polydiff.engine.schedules import Schedule
from polydiff.engine.table import Row


@dataclass(frozen=True)
class Gaussian:
    """x_t = alpha x0 + sigma eps on (B, N, C), in units where data has unit variance.

    With `centre` the process lives in the subspace whose mean over real nodes is zero, and the noise is
    projected into it too (Hoogeboom et al. 2022, section 3.1), so translations carry no probability.
    `pose_free` says that the nodes are points in space, or several each, (B, N, ..., 3), whose pose as a
    whole means nothing: what is known of a sample is turned and moved to where the model draws it.
    """

    centre: bool = False
    pose_free: bool = False

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

    def read(self, x: Tensor, x0_hat: Tensor, row: Row, mask: Tensor | None) -> Tensor:
        x0_hat = self.project(x0_hat, mask)
        scaled = x0_hat if row.q == 1 else row.q * x0_hat
        return torch.add(scaled, x, alpha=row.p) if row.p else scaled

    def move(
        self,
        x: Tensor,
        readouts: Sequence[Tensor],
        row: Row,
        anchor: Tensor | None,
        noise: Tensor | None,
        mask: Tensor | None,
    ) -> Tensor:
        terms = [(row.a, x), *zip(row.b, readouts, strict=False)]
        if anchor is not None:
            terms.append((row.base, anchor))
        if noise is not None:
            terms.append((row.c, self.project(noise, mask)))
        return linear_combination(terms)

    def placed(self, known: Tensor, x0_hat: Tensor, keep: Tensor) -> Tensor:
        return superposed(known, x0_hat, keep) if self.pose_free else known

    def loss(self, x0_hat: Tensor, x0: Tensor, mask: Tensor | None) -> Tensor:
        return mean_over_real((x0_hat - x0) ** 2, mask)
