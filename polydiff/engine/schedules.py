r"""Noise schedules: how much signal and how much noise a sample holds at time t.

    x_t = alpha(t) x0 + sigma(t) eps,        log_snr(t) = 2 log(alpha(t) / sigma(t))

Time runs from 0 (data) to 1 (noise), so log_snr falls. Every schedule has sigma(0) = 0 exactly: the
end of sampling is data and no remainder. All functions take and give float64 tensors of any shape
and work element by element. A new schedule is one frozen dataclass with four methods.

>>> import torch
>>> schedule = RectifiedFlow()
>>> schedule.alpha(torch.tensor(0.25)), schedule.sigma(torch.tensor(0.25))
(tensor(0.7500), tensor(0.2500))
>>> schedule.t_of_log_snr(schedule.log_snr(torch.tensor(0.25))).item()
0.25
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["EDM", "SCHEDULES", "VE", "Cosine", "LinearVP", "RectifiedFlow", "Schedule", "Shifted", "shifted"]


class Schedule(Protocol):
    """What every schedule answers; see the module for the meaning of the four functions."""

    def alpha(self, t: Tensor) -> Tensor: ...

    def sigma(self, t: Tensor) -> Tensor: ...

    def log_snr(self, t: Tensor) -> Tensor: ...

    def t_of_log_snr(self, log_snr: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class LinearVP:
    """Variance preserving with beta(t) linear in t (Song et al. 2021, eq. 32-33)."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def _integral(self, t: Tensor) -> Tensor:
        return t * (self.beta_min + 0.5 * (self.beta_max - self.beta_min) * t)

    def alpha(self, t: Tensor) -> Tensor:
        return torch.exp(-0.5 * self._integral(t))

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sqrt(-torch.expm1(-self._integral(t)))

    def log_snr(self, t: Tensor) -> Tensor:
        return -torch.log(torch.expm1(self._integral(t)))

    def t_of_log_snr(self, log_snr: Tensor) -> Tensor:
        integral = torch.nn.functional.softplus(-log_snr, threshold=700.0)
        slope = self.beta_max - self.beta_min
        # the root of the quadratic in the form that loses no digits near t = 0
        return 2 * integral / (self.beta_min + torch.sqrt(self.beta_min**2 + 2 * slope * integral))


@dataclass(frozen=True)
class Cosine:
    """alpha = cos(pi t / 2), sigma = sin(pi t / 2) (Nichol and Dhariwal 2021, without the offset).

    The signal-to-noise ratio at t = 1 is zero.
    """

    def alpha(self, t: Tensor) -> Tensor:
        return torch.where(t == 1, torch.zeros_like(t), torch.cos(0.5 * math.pi * t))

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sin(0.5 * math.pi * t)

    def log_snr(self, t: Tensor) -> Tensor:
        return 2 * torch.log(self.alpha(t) / self.sigma(t))

    def t_of_log_snr(self, log_snr: Tensor) -> Tensor:
        return torch.atan(torch.exp(-0.5 * log_snr)) * (2 / math.pi)


@dataclass(frozen=True)
class VE:
    """Variance exploding, geometric in t (Song et al. 2021, eq. 30): sigma(t)^2 = s(t)^2 - s(0)^2."""

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    @property
    def _log_ratio(self) -> float:
        return math.log(self.sigma_max / self.sigma_min)

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return self.sigma_min * torch.sqrt(torch.expm1(2 * self._log_ratio * t))

    def log_snr(self, t: Tensor) -> Tensor:
        return -torch.log(self.sigma(t) ** 2)

    def t_of_log_snr(self, log_snr: Tensor) -> Tensor:
        return torch.log1p(torch.exp(-log_snr) / self.sigma_min**2) / (2 * self._log_ratio)


@dataclass(frozen=True)
class EDM:
    """alpha = 1, sigma = sigma_max t (Karras et al. 2022, section 3): noise is its own clock."""

    sigma_max: float = 80.0

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return self.sigma_max * t

    def log_snr(self, t: Tensor) -> Tensor:
        return -2 * torch.log(self.sigma(t))

    def t_of_log_snr(self, log_snr: Tensor) -> Tensor:
        return torch.exp(-0.5 * log_snr) / self.sigma_max


@dataclass(frozen=True)
class RectifiedFlow:
    """alpha = 1 - t, sigma = t (Liu et al. 2023; Lipman et al. 2023 counts t the other way)."""

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        return t

    def log_snr(self, t: Tensor) -> Tensor:
        return 2 * torch.log((1 - t) / t)

    def t_of_log_snr(self, log_snr: Tensor) -> Tensor:
        return torch.sigmoid(-0.5 * log_snr)


@dataclass(frozen=True)
class Shifted:
    """Another schedule with its noise multiplied by `shift` (Esser et al. 2024, eq. 23).

    log_snr is that of the base minus 2 log(shift); alpha and sigma stay on the base's curve, so the
    process is the base's with time run at another pace. shift > 1 spends more of t at high noise.
    """

    base: Schedule
    shift: float

    def _base_time(self, t: Tensor) -> Tensor:
        moved = self.base.t_of_log_snr(self.base.log_snr(t) - 2 * math.log(self.shift))
        return torch.where(t == 0, torch.zeros_like(t), moved)

    def alpha(self, t: Tensor) -> Tensor:
        return self.base.alpha(self._base_time(t))

    def sigma(self, t: Tensor) -> Tensor:
        return self.base.sigma(self._base_time(t))

    def log_snr(self, t: Tensor) -> Tensor:
        return self.base.log_snr(t) - 2 * math.log(self.shift)

    def t_of_log_snr(self, log_snr: Tensor) -> Tensor:
        return self.base.t_of_log_snr(log_snr + 2 * math.log(self.shift))


def shifted(schedule: Schedule, shift: float) -> Schedule:
    """`schedule` with its noise-to-signal ratio multiplied by `shift` at every t.

    >>> import torch
    >>> shifted(RectifiedFlow(), 3.0).sigma(torch.tensor(0.5, dtype=torch.float64)).item()
    0.75
    """
    if not shift > 0:
        raise ValueError(f"shift must be positive, got {shift}")
    return schedule if shift == 1 else Shifted(schedule, shift)


SCHEDULES: dict[str, type] = {
    "linear_vp": LinearVP,
    "cosine": Cosine,
    "ve": VE,
    "edm": EDM,
    "rectified_flow": RectifiedFlow,
}
