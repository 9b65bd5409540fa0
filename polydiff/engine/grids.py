r"""Grids: the times t at which a sampler calls the network.

A grid takes a schedule and a number of steps and returns steps + 1 falling times, float64 on the host,
from 1 to 0; where the times rise, noise is added and that stretch is sampled again.

Grids in the noise level place their nodes in sigma / alpha, which is infinite at t = 1 for some schedules
and zero at t = 0 for all. They are laid from `sigma_max` to `sigma_min`, steps + 1 of them, and the two
ends are then moved to t = 1 and t = 0: no network call is spent at sigma_min, where it would change the
sample by that much only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from operator import index
from typing import SupportsIndex

import numpy as np
import torch
from torch import Tensor

from polydiff.engine.schedules import Schedule
from polydiff.errors import UsageError, did_you_mean

__all__ = [
    "ALIGN_YOUR_STEPS",
    "FEW_STEPS",
    "GRIDS",
    "SIGMA_MAX",
    "SIGMA_MIN",
    "custom",
    "exponential",
    "karras",
    "listed",
    "noise_level",
    "quadratic",
    "repaint",
    "restart",
    "sigmoid",
    "starts_at_noise",
    "uniform_log_snr",
    "uniform_t",
]

#: sigma / alpha at which a grid in the noise level aims: 0.2 % of the data's deviation
SIGMA_MIN = 0.002
#: sigma / alpha beyond which a grid places no node but the first: noise, for unit variance
SIGMA_MAX = 80.0
#: a table of more rows is a slip of the keyboard, and takes the memory
MOST_STEPS = 100_000
#: so few steps cannot afford a call near the data: `karras` and `make_table` have other defaults for them
FEW_STEPS = 8


def noise_level(schedule: Schedule, t: float) -> float:
    """sigma / alpha at t; infinite where the signal is gone."""
    return math.exp(-0.5 * float(schedule.log_snr(torch.tensor(t, dtype=torch.float64))))


def starts_at_noise(schedule: Schedule) -> bool:
    """Whether nothing of the data is left at t = 1."""
    return math.isinf(noise_level(schedule, 1.0))


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


def _falling(ramp: Tensor, low: float, high: float) -> Tensor:
    """Levels from high to low whose logarithms fall along a ramp from 0 to 1."""
    return (math.log(high) + ramp * math.log(low / high)).exp()


def karras(
    schedule: Schedule,
    steps: int,
    rho: float | None = None,
    sigma_min: float | None = None,
    sigma_max: float | None = None,
) -> Tensor:
    """Uniform in (sigma / alpha)^(1 / rho), after Karras et al. 2022, eq. 5.

    They take rho = 7, lay `steps` nodes down to sigma_min and add a step from there to 0; see the module for
    the ends. What is not given follows `_usual`, which was measured: see benchmarks/README.md.

    >>> from polydiff.engine.schedules import EDM
    >>> [round(80 * t, 3) for t in karras(EDM(), 3).tolist()]  # sigma
    [80.0, 5.075, 0.403, 0.0]
    """
    rho, low, high = (
        usual if given is None else given
        for given, usual in zip((rho, sigma_min, sigma_max), _usual(schedule, _count(steps)), strict=True)
    )
    low, high = _bounds(schedule, low, high)
    ramp = torch.linspace(high ** (1 / rho), low ** (1 / rho), steps + 1, dtype=torch.float64)
    return _from_levels(schedule, ramp**rho)


def _usual(schedule: Schedule, steps: int) -> tuple[float, float, float]:
    """rho, sigma_min and sigma_max of `karras`. Few steps lie all but evenly in log sigma."""
    if steps < FEW_STEPS:
        return 100.0, 0.03, SIGMA_MAX if starts_at_noise(schedule) else 60.0
    if steps == FEW_STEPS:
        return 20.0, 0.01, SIGMA_MAX
    return min(max(2 * steps / 3, 8.0), 12.0), SIGMA_MIN, SIGMA_MAX


def uniform_log_snr(
    schedule: Schedule, steps: int, sigma_min: float = SIGMA_MIN, sigma_max: float | None = None
) -> Tensor:
    """Uniform in log_snr (Lu et al. 2022, section 3.4); see the module for the ends."""
    ramp = torch.linspace(0, 1, _count(steps) + 1, dtype=torch.float64)
    return _from_levels(schedule, _falling(ramp, *_bounds(schedule, sigma_min, sigma_max)))


def exponential(
    schedule: Schedule, steps: int, sigma_min: float = SIGMA_MIN, sigma_max: float | None = None
) -> Tensor:
    """Uniform in log sigma, as `uniform_log_snr`, with the customary ends: `steps` nodes down to sigma_min, a
    call there, and a step from it to 0 (k-diffusion's get_sigmas_exponential)."""
    ramp = torch.linspace(0, 1, max(_count(steps), 2), dtype=torch.float64)[[*range(steps), -1]]
    return _from_levels(schedule, _falling(ramp, *_bounds(schedule, sigma_min, sigma_max)))


def sigmoid(
    schedule: Schedule,
    steps: int,
    spread: float = 3.0,
    sigma_min: float = SIGMA_MIN,
    sigma_max: float | None = None,
) -> Tensor:
    """log sigma along a sigmoid of the step: fine at both ends, after the schedule of Jabri et al. 2023.
    spread: how much of the sigmoid, its argument runs from -spread to spread."""
    if not spread > 0:
        raise UsageError(f"spread must be above 0, got {spread!r}")
    ramp = torch.sigmoid(torch.linspace(-spread, spread, _count(steps) + 1, dtype=torch.float64))
    ramp = (ramp - ramp[0]) / (ramp[-1] - ramp[0])
    return _from_levels(schedule, _falling(ramp, *_bounds(schedule, sigma_min, sigma_max)))


#: noise levels found by Align Your Steps (Sabour et al. 2024, table 3), for `listed`
ALIGN_YOUR_STEPS = {
    "stable_diffusion_15": (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029),
    "stable_diffusion_xl": (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029),
    "stable_video": (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002),
}


def listed(schedule: Schedule, steps: int, levels: str | Sequence[float] = "stable_video") -> Tensor:
    """Through a list of falling noise levels, brought to any number of steps by interpolation in log sigma.

    levels: sigma / alpha, or a name in ALIGN_YOUR_STEPS. The first and last stand for the ends.
    """
    if isinstance(levels, str) and levels not in ALIGN_YOUR_STEPS:
        hint = did_you_mean(levels, ALIGN_YOUR_STEPS)
        raise UsageError(
            f"no list of levels is called {levels!r}; there are {', '.join(ALIGN_YOUR_STEPS)}.{hint}"
        )
    values = ALIGN_YOUR_STEPS[levels] if isinstance(levels, str) else levels
    given = torch.as_tensor(values, dtype=torch.float64)
    if given.dim() != 1 or len(given) < 2 or bool((given <= 0).any() or (given.diff() >= 0).any()):
        raise UsageError("levels must be at least two numbers above 0, each below the one before")
    first = given[:1].clamp(max=noise_level(schedule, 1.0))
    given = torch.cat([first, given[given < first]])  # this schedule may have no such high levels
    place = np.linspace(0, len(given) - 1, _count(steps) + 1)
    found = np.exp(np.interp(place, np.arange(len(given)), given.log().numpy()))
    return _from_levels(schedule, torch.from_numpy(found))


def restart(
    schedule: Schedule, steps: int, low: float = 0.1, high: float = 2.0, rounds: int = 2, share: float = 0.5
) -> Tensor:
    """Restart (Xu et al. 2023, algorithm 1): the karras grid, and the stretch between noise levels `high` and
    `low` is sampled again `rounds` times, each after a rise that adds noise: more than `steps` network calls.

    share: calls of a repetition over the calls that the plain grid makes between the levels.
    """
    highest = noise_level(schedule, 1.0)
    if not 0 < low < high < highest:
        raise UsageError(f"restart needs 0 < low < high < {highest:g}, got low {low:g} and high {high:g}")
    if rounds < 0 or not share > 0:
        raise UsageError("restart takes rounds of 0 or more and a share above 0")
    plain = karras(schedule, steps)
    top, bottom = _times_of(schedule, [high, low])
    above, below = plain[plain > bottom], plain[plain < bottom]
    calls = max(round(share * int((plain[plain > bottom] <= top).sum())), 1)
    inner = _falling(torch.linspace(0, 1, calls + 1, dtype=torch.float64), low, high)[:-1]
    again = torch.cat([_times_of(schedule, inner.tolist()), bottom[None]])
    return torch.cat([above, bottom[None], *[again] * rounds, below])


def repaint(schedule: Schedule, steps: int, jump: int = 2, rounds: int = 4) -> Tensor:
    """RePaint (Lugmayr et al. 2022, algorithm 1): the karras grid; after every `jump` steps the sample is
    noised back by as many and they are sampled again, `rounds` times in all: about `steps` × `rounds` calls.
    With a jump of 1 a row that rises ends where it began: categories and geodesics do not change there."""
    if jump < 1 or rounds < 1:
        raise UsageError("repaint takes a jump and rounds of at least 1")
    plain = karras(schedule, steps).tolist()
    times = plain[:1]
    for start in range(0, steps, jump):
        piece = plain[start : start + jump + 1]
        last = start + jump >= steps
        for number in range(1 if last else rounds):
            times += piece[1:] if number == 0 else piece
    return torch.tensor(times, dtype=torch.float64)


def _times_of(schedule: Schedule, levels: Sequence[float]) -> Tensor:
    return schedule.t_of_log_snr(-2 * torch.tensor(levels, dtype=torch.float64).log())


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
    # asked this way round, since a NaN is neither too small nor too large
    if not bool(((grid >= 0) & (grid <= 1)).all()) or grid[-1] != 0:
        raise UsageError("custom times must lie between 0 and 1 and end at 0")
    return grid


def _count(steps: int) -> int:
    if isinstance(steps, bool) or not isinstance(steps, SupportsIndex) or index(steps) < 1:
        raise UsageError(f"steps must be a whole number of at least 1, got {steps!r}")
    if index(steps) > MOST_STEPS:
        raise UsageError(f"steps must be at most {MOST_STEPS}, got {steps!r}")
    return index(steps)


GRIDS: dict[str, Callable[..., Tensor]] = {
    "karras": karras,
    "uniform_log_snr": uniform_log_snr,
    "exponential": exponential,
    "sigmoid": sigmoid,
    "listed": listed,
    "restart": restart,
    "repaint": repaint,
    "uniform_t": uniform_t,
    "quadratic": quadratic,
    "custom": custom,
}
