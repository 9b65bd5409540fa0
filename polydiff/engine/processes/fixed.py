"""A component that is carried along and never noised: context, conditioning frames, node types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from polydiff.engine.processes.base import Process, Scaling
from polydiff.engine.schedules import Schedule
from polydiff.engine.states import masked
from polydiff.engine.table import Row

__all__ = ["Fixed"]


@dataclass(frozen=True)
class Fixed(Process):
    """The state given at the start is the state at every time; it takes no noise and has no loss."""

    passive: ClassVar[bool] = True

    def noise_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (0,)

    def project(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return masked(x, mask)

    def prior(self, noise: Tensor, schedule: Schedule, t: Tensor, mask: Tensor | None) -> Tensor:
        raise ValueError("a Fixed component has no prior: give its value in `init`")

    def corrupt(
        self, x0: Tensor, noise: Tensor, t: Tensor, schedule: Schedule, mask: Tensor | None
    ) -> Tensor:
        return self.project(x0, mask)

    def denoised(self, output: Tensor, x: Tensor, scaling: Scaling) -> Tensor:
        return x

    def read(self, x: Tensor, *rest: Any, **named: Any) -> Tensor:
        return x

    def move(self, x: Tensor, *rest: Any, **named: Any) -> Tensor:
        return x

    def draws(self, row: Row) -> bool:
        return False

    def dimensions(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return torch.zeros(len(x), dtype=torch.float64, device=x.device)

    def loss(self, x0_hat: Tensor, *rest: Any, **named: Any) -> Tensor:
        return x0_hat.new_zeros(len(x0_hat))

    def between(self, a: Tensor, b: Tensor, share: float) -> Tensor:
        return a
