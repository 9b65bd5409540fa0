r"""Solvers: functions that fill a table.

With rho = sigma / alpha, lambda = log(alpha / sigma) and x̂0, ε̂ the read-outs at time t, the
probability-flow ODE from t to s < t has two exact forms (Lu et al. 2022, prop. 3.1; Lu et al. 2023, eq. 8)

    x_s = (alpha_s / alpha_t) x_t - alpha_s ∫ e^{-lambda} ε̂ d lambda          over (lambda_t, lambda_s)
    x_s = (sigma_s / sigma_t) x_t + sigma_s ∫ e^{+lambda} x̂0 d lambda

and a multistep solver replaces the unknown read-out by a polynomial through the newest ones. With the
polynomial constant both are DDIM. Two ends need care. Where alpha = 0 lambda is minus infinity: the step
away from there is DDIM in the form alpha_s x̂0 + (sigma_s / sigma_t) x_t, which divides by no alpha, and
the node never enters a polynomial. Where sigma = 0 lambda is infinite, and the order drops to one: the
answer is x̂0. (The first integral would exist for any polynomial, but extrapolating ε̂ = (x - alpha x̂0) /
sigma towards sigma = 0 multiplies a network's rounding: a perfect bfloat16 network then ends 100 times
further off.)

The read-out of ε̂ is stored as x̂0 - x / alpha = -(sigma / alpha) ε̂: one tensor operation, and the
factor goes into the weights. Nodes that are nearly all noise count as infinite ones.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from polydiff.engine.grids import FEW_STEPS, GRIDS, custom, starts_at_noise
from polydiff.engine.nodes import with_levels
from polydiff.engine.schedules import EDM, Schedule
from polydiff.engine.solvers.correctors import sa, unipc
from polydiff.engine.solvers.er_sde import er_sde
from polydiff.engine.solvers.first_order import ddim, ddpm
from polydiff.engine.solvers.multistep import adams, deis, dpmpp, ipndm, lms
from polydiff.engine.solvers.singlestep import dpm2, dpmpp_singlestep, heun
from polydiff.engine.table import Table
from polydiff.errors import UsageError, did_you_mean

__all__ = ["DEFAULT_GRID", "DEFAULT_SOLVER", "SOLVERS", "make_table"]

SOLVERS: dict[str, Callable[..., Table]] = {
    "adams": adams,
    "ddim": ddim,
    "ddpm": ddpm,
    "deis": deis,
    "dpm2": dpm2,
    "dpmpp": dpmpp,
    "dpmpp_singlestep": dpmpp_singlestep,
    "er_sde": er_sde,
    "heun": heun,
    "ipndm": ipndm,
    "lms": lms,
    "sa": sa,
    "unipc": unipc,
}

#: chosen by measurement, see benchmarks/README.md
DEFAULT_SOLVER = "adams"
DEFAULT_GRID = "karras"
#: for 5-6 steps from pure noise the v form with deviation 4 had the lowest error (benchmarks/README.md)
V_STEPS, V_DEVIATION = (5, 6), 4.0


def make_table(
    solver: str | Callable[..., Table] = DEFAULT_SOLVER,
    schedule: Schedule | None = None,
    steps: int = 20,
    grid: str | Callable[..., Tensor] | Sequence[float] | Tensor | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    grid_options: Mapping[str, Any] | None = None,
) -> Table:
    """A solver's table on a grid of a schedule.

    "adams" with no option but `order` is what was measured nearest for the number of steps (`few_steps`).

    Args:
        solver: a name from SOLVERS, or a function like those.
        schedule: the noise schedule, EDM() where None.
        steps: steps of the grid; the table's `nfe` says how many network calls they are.
        grid: a name from GRIDS, a function like those, or the falling times themselves (steps + 1 of them).
        options: the solver's own, such as {"order": 2}.
        grid_options: the grid's own, such as {"rho": 5}.

    Errors: UsageError for an unknown name or option (with a suggestion) or a value out of range.

    >>> make_table("adams", EDM(), steps=10).nfe
    10
    """
    schedule = EDM() if schedule is None else schedule
    grid = DEFAULT_GRID if grid is None else grid
    if not isinstance(grid, str) and not callable(grid):
        times, grid_name = custom(schedule, steps, grid), "custom"
    else:
        make_grid = _choose("grid", grid, GRIDS)
        times = _with_options("grid", make_grid, grid_options, schedule, steps)
        grid_name = make_grid.__name__
    fill, options = few_steps(_choose("solver", solver, SOLVERS), schedule, times, options or {})
    table = _with_options("solver", fill, options, schedule, times)
    return replace(with_levels(table, schedule), grid=grid_name)


def few_steps(
    solver: Callable[..., Table],
    schedule: Schedule,
    times: Tensor | Sequence[float],
    options: Mapping[str, Any],
) -> tuple[Callable[..., Table], Mapping[str, Any]]:
    """The solver and its options; in place of `adams` without a `readout` or `deviation`, what is nearer for
    few steps: the v form for 5 and 6 steps from pure noise, else `ipndm` up to FEW_STEPS."""
    count = len(times) - 1
    if solver is not adams or options.keys() - {"order"} or count > FEW_STEPS:
        return solver, options
    if count in V_STEPS and times[0] == 1 and starts_at_noise(schedule):
        return adams, {"readout": "v", "deviation": V_DEVIATION, **options}
    return ipndm, options


def _choose(kind: str, name: str | Callable[..., Any], known: Mapping[str, Callable[..., Any]]) -> Any:
    if not isinstance(name, str):
        return name
    if name not in known:
        raise UsageError(f"unknown {kind} {name!r}; there are {', '.join(known)}.{did_you_mean(name, known)}")
    return known[name]


def _with_options(
    kind: str, function: Callable[..., Any], options: Mapping[str, Any] | None, *args: Any
) -> Any:
    allowed = list(inspect.signature(function).parameters)[len(args) :]
    for name in options or {}:
        if name not in allowed:
            known = f"it takes {', '.join(allowed)}." if allowed else "it takes none."
            raise UsageError(
                f"{kind} {function.__name__!r} has no option {name!r}; {known}{did_you_mean(name, allowed)}"
            )
    return function(*args, **(options or {}))
