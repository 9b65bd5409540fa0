r"""Grids: where a sampler stops along t.

A grid takes a schedule and a number of steps and returns steps + 1 falling times, float64 on the host,
from 1 (or where it is told to start) to 0. Grids in the noise level place their nodes in sigma / alpha,
which is infinite at t = 1 for some schedules and zero at t = 0 for all. They are laid from `sigma_max`
to `sigma_min`, steps + 1 of them, and the two ends are then moved to t = 1 and t = 0: no network call is
spent at sigma_min, where it would change the sample by that much only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from polydiff.engine.schedules import Schedule
from polydiff.errors import UsageError

#: sigma / alpha at which a grid in the noise level aims: 0.2 % of the data's deviation
SIGMA_MIN = 0.002
#: sigma / alpha beyond which a grid places no node but the first: noise, for unit variance
SIGMA_MAX = 80.0


def noise_level(schedule: Schedule, t: float) -> float:
    """sigma / alpha at t; infinite where the signal is gone."""
    return math.exp(-0.5 * float(schedule.log_snr(torch.tensor(t, dtype=torch.float64))))


def _from_levels(schedule: Schedule, levels: Tensor) -> Tensor:
    """The grid 1, ..., 0 through the noise levels (steps + 1,), the outer two of which stand for the ends."""
    inner = schedule.t_of_log_snr(-2 * torch.log(levels[1:-1]))
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    return torch.cat([one, inner, zero])


def _bounds(schedule: Schedule, sigma_min: float, sigma_max: float | None) -> tuple[float, float]:
    highest = min(noise_level(schedule, 1.0), SIGMA_MAX if sigma_max is None else sigma_max)
    if not 0 < sigma_min < highest:
        raise UsageError(f"sigma_min must lie between 0 and {highest:g}, got {sigma_min:g}")
    return sigma_min, highest


def karras(
    schedule: Schedule,
    steps: int,
    rho: float = 8.0,
    sigma_min: float = SIGMA_MIN,
    sigma_max: float | None = None,
) -> Tensor:
    """Uniform in (sigma / alpha)^(1 / rho), after Karras et al. 2022, eq. 5.

    They take rho = 7, lay `steps` nodes down to sigma_min and add a step from there to 0; see the module for
    the ends, and benchmarks/README.md for the measurement behind rho = 8.

    >>> from polydiff.engine.schedules import EDM
    >>> [round(80 * t, 3) for t in karras(EDM(), 3).tolist()]  # sigma
    [80.0, 8.474, 0.37, 0.0]
    """
    low, high = _bounds(schedule, sigma_min, sigma_max)
    ramp = torch.linspace(high ** (1 / rho), low ** (1 / rho), _count(steps) + 1, dtype=torch.float64)
    return _from_levels(schedule, ramp**rho)


def uniform_log_snr(
    schedule: Schedule, steps: int, sigma_min: float = SIGMA_MIN, sigma_max: float | None = None
) -> Tensor:
    """Uniform in log_snr (Lu et al. 2022, section 3.4); see the module for the ends."""
    low, high = _bounds(schedule, sigma_min, sigma_max)
    ramp = torch.linspace(math.log(high), math.log(low), _count(steps) + 1, dtype=torch.float64)
    return _from_levels(schedule, ramp.exp())


def uniform_t(schedule: Schedule, steps: int) -> Tensor:
    """1, ..., 0 in equal steps of t."""
    return torch.linspace(1, 0, _count(steps) + 1, dtype=torch.float64)


def quadratic(schedule: Schedule, steps: int) -> Tensor:
    """Equal steps of √t: finer near the data (Song et al. 2021, DDIM, appendix D.2)."""
    return torch.linspace(1, 0, _count(steps) + 1, dtype=torch.float64) ** 2


def custom(schedule: Schedule, steps: int, times: Sequence[float] | Tensor) -> Tensor:
    """The given times, which must lie in [0, 1], begin above 0 and end at 0; they may rise in between."""
    grid = torch.as_tensor(times, dtype=torch.float64)
    if grid.dim() != 1 or len(grid) != _count(steps) + 1:
        raise UsageError(f"a custom grid of {steps} steps needs {steps + 1} times, got {len(times)}")
    if bool((grid < 0).any() or (grid > 1).any()) or grid[-1] != 0:
        raise UsageError("custom times must lie between 0 and 1 and end at 0")
    return grid


def _count(steps: int) -> int:
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise UsageError(f"steps must be a whole number of at least 1, got {steps!r}")
    return steps


GRIDS: dict[str, Callable[..., Tensor]] = {
    "karras": karras,
    "uniform_log_snr": uniform_log_snr,
    "uniform_t": uniform_t,
    "quadratic": quadratic,
    "custom": custom,
}
