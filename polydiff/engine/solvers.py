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
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from torch import Tensor

from polydiff.engine.grids import GRIDS, custom
from polydiff.engine.nodes import Node, fill_table, steps_of
from polydiff.engine.quadrature import UNIFORM_WEIGHTS, exponential_weights
from polydiff.engine.schedules import EDM, Schedule
from polydiff.engine.table import Row, Table, trimmed
from polydiff.errors import UsageError, did_you_mean


def _remaining(node: Node, target: Node) -> float:
    """e^{lambda_t - lambda_s}: how much of the noise at `node` an ancestral step keeps, 0 to 1."""
    return min(node.alpha * target.sigma / (target.alpha * node.sigma), 1.0)


def _check_order(order: int, highest: int) -> None:
    if order not in range(1, highest + 1):
        raise UsageError(f"order must be a whole number from 1 to {highest}, got {order!r}")


def _ddim_row(node: Node, target: Node, kept: float | None = None, added: float = 0.0) -> Row:
    """x⁺ = alpha_s x̂0 + kept ε̂ + added ξ, with ε̂ = (x - alpha x̂0) / sigma."""
    a = (target.sigma if kept is None else kept) / node.sigma
    return Row(t=node.t, a=a, b=(target.alpha - a * node.alpha,), c=added)


def ddim(schedule: Schedule, times: Tensor | Sequence[float], eta: float = 0.0) -> Table:
    """DDIM (Song et al. 2021, eq. 12 and 16): exact where x̂0 does not change along a step.

    Args:
        eta: 0 follows the ODE, 1 is ancestral sampling; in between a share of the noise is fresh.
    """
    if not 0 <= eta <= 1:
        raise UsageError(f"eta must lie between 0 and 1, got {eta!r}")

    def fill(nodes: list[Node]) -> list[Row]:
        rows = []
        for node, target in pairwise(nodes):
            fresh = 1 - _remaining(node, target) ** 2
            kept = target.sigma * math.sqrt(1 - eta**2 * fresh)
            rows.append(_ddim_row(node, target, kept, eta * target.sigma * math.sqrt(fresh)))
        return rows

    return fill_table(f"ddim(eta={eta:g})" if eta else "ddim", schedule, times, fill)


def ddpm(schedule: Schedule, times: Tensor | Sequence[float]) -> Table:
    """Ancestral sampling: x_s drawn from q(x_s | x_t, x̂0) (Ho et al. 2020, eq. 6-7)."""

    def fill(nodes: list[Node]) -> list[Row]:
        rows = []
        for node, target in pairwise(nodes):
            shrink = node.alpha / target.alpha
            between = max(node.sigma**2 - (shrink * target.sigma) ** 2, 0.0)
            share = between / node.sigma**2
            rows.append(
                Row(
                    t=node.t,
                    a=shrink * (target.sigma / node.sigma) ** 2,
                    b=(target.alpha * share,),
                    c=target.sigma * math.sqrt(share),
                )
            )
        return rows

    return fill_table("ddpm", schedule, times, fill)


def _eps_row(used: list[Node], target: Node, weights: Sequence[float]) -> Row:
    """x⁺ = (alpha_s / alpha_t) x + alpha_s Σ_k weights_k ε̂_k, ε̂ being stored as x̂0 - x / alpha."""
    b = [-target.alpha * w * node.alpha / node.sigma for w, node in zip(weights, used, strict=True)]
    return Row(t=used[0].t, a=target.alpha / used[0].alpha, b=trimmed(b), p=-1 / used[0].alpha)


def adams(
    schedule: Schedule,
    times: Tensor | Sequence[float],
    order: int = 3,
    readout: str = "eps",
    weights: str = "exponential",
) -> Table:
    """Adams-Bashforth: a polynomial through the newest `order` read-outs, one network call a step.

    Args:
        order: 1 (DDIM) to 4. The first steps use what there is.
        readout: "eps" or "x0", which of the two exact forms is discretised.
        weights: "exponential" integrates a polynomial in lambda exactly, for steps of any length (Zhang
            and Chen 2023, section 3.2); "uniform" takes the classical weights of equal steps on top of the
            DDIM step, which is iPNDM (Zhang and Chen 2023, section 3.3; Liu et al. 2022).
    """
    _check_order(order, 4)
    if readout not in ("eps", "x0") or weights not in ("exponential", "uniform"):
        raise UsageError(
            f"adams takes readout 'eps' or 'x0' and weights 'exponential' or 'uniform', "
            f"got {readout!r} and {weights!r}"
        )

    def eps_row(used: list[Node], target: Node) -> Row:
        node = used[0]
        rho, rho_target = node.sigma / node.alpha, target.sigma / target.alpha
        if weights == "uniform":
            return _eps_row(used, target, [(rho_target - rho) * w for w in UNIFORM_WEIGHTS[len(used) - 1]])
        lams = [node.lam for node in used]
        return _eps_row(
            used, target, [-rho * w for w in exponential_weights(lams, node.lam, target.lam, -1.0)]
        )

    def x0_row(used: list[Node], target: Node) -> Row:
        first = _ddim_row(used[0], target)
        if weights == "uniform":
            return replace(first, b=trimmed([first.b[0] * w for w in UNIFORM_WEIGHTS[len(used) - 1]]))
        lams = [node.lam for node in used]
        exact = exponential_weights(lams, used[0].lam, target.lam, 1.0)
        return replace(first, b=trimmed([target.alpha * w for w in exact]))

    def fill(nodes: list[Node]) -> list[Row]:
        row = eps_row if readout == "eps" else x0_row
        return [
            row(used, target) if used[0].finite and target.finite else _ddim_row(used[0], target)
            for used, target in steps_of(nodes, order)
        ]

    return fill_table(f"adams(order={order}, readout={readout}, weights={weights})", schedule, times, fill)


def dpmpp(schedule: Schedule, times: Tensor | Sequence[float], order: int = 2, eta: float = 0.0) -> Table:
    """DPM-Solver++ multistep (Lu et al. 2023, algorithm 2 and appendix A), ODE and SDE.

    Order 3 integrates the polynomial through three x̂0 exactly; the second difference there has the
    weight that makes it third order.

    Args:
        order: 1 (DDIM), 2 or 3.
        eta: 0 follows the ODE, 1 the reverse SDE; the x̂0 integral then runs at rate 1 + eta.
    """
    _check_order(order, 3)
    if not eta >= 0:
        raise UsageError(f"eta must not be negative, got {eta!r}")
    rate = 1 + eta

    def fill(nodes: list[Node]) -> list[Row]:
        rows = []
        for used, target in steps_of(nodes, order):
            node = used[0]
            remaining = _remaining(node, target)
            kept = target.sigma * remaining**eta
            added = target.sigma * math.sqrt(1 - remaining ** (2 * eta))
            row = _ddim_row(node, target, kept, added)
            if len(used) > 1 and target.finite:
                row = replace(row, b=trimmed(_weights(used, target, row.b[0], rate)))
            rows.append(row)
        return rows

    name = f"dpmpp(order={order}" + (f", eta={eta:g})" if eta else ")")
    return fill_table(name, schedule, times, fill)


def _weights(used: list[Node], target: Node, total: float, rate: float) -> Sequence[float]:
    """Weights of x̂0 at the used nodes for DPM-Solver++ of order 2 or 3; they add up to `total`."""
    if len(used) == 2:
        slope = (target.lam - used[0].lam) / (used[0].lam - used[1].lam) / 2
        return [total * (1 + slope), -total * slope]
    lams = [node.lam for node in used]
    return [target.alpha * w for w in exponential_weights(lams, used[0].lam, target.lam, rate)]


def heun(schedule: Schedule, times: Tensor | Sequence[float]) -> Table:
    """Heun's second-order method in rho (Karras et al. 2022, algorithm 1): two network calls a step.

    A step from alpha = 0 or to sigma = 0 is a DDIM step with one call.
    """

    def fill(nodes: list[Node]) -> list[Row]:
        rows = []
        for node, target in pairwise(nodes):
            if not (node.finite and target.finite):
                rows.append(_ddim_row(node, target))
                continue
            half = (target.sigma / target.alpha - node.sigma / node.alpha) / 2
            rows.append(replace(_eps_row([node], target, [2 * half]), anchor=True))
            corrector = _eps_row([target, node], target, [half, half])
            rows.append(replace(corrector, a=0.0, base=target.alpha / node.alpha))
        return rows

    return fill_table("heun", schedule, times, fill)


SOLVERS: dict[str, Callable[..., Table]] = {
    "adams": adams,
    "ddim": ddim,
    "ddpm": ddpm,
    "dpmpp": dpmpp,
    "heun": heun,
}

#: chosen by measurement, see benchmarks/README.md
DEFAULT_SOLVER = "adams"
DEFAULT_GRID = "karras"


def make_table(
    solver: str | Callable[..., Table] = DEFAULT_SOLVER,
    schedule: Schedule | None = None,
    steps: int = 20,
    grid: str | Callable[..., Tensor] | Sequence[float] | Tensor | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    grid_options: Mapping[str, Any] | None = None,
    strength: float = 1.0,
) -> Table:
    """A solver's table on a grid of a schedule.

    Args:
        solver: a name from SOLVERS, or a function like those.
        schedule: the noise schedule, EDM() where None.
        steps: steps of the grid; the table's `nfe` says how many network calls they are.
        grid: a name from GRIDS, a function like those, or the falling times themselves (steps + 1 of them).
        options: the solver's own, such as {"order": 2}.
        grid_options: the grid's own, such as {"rho": 5}.
        strength: the share of the way from data to noise at which sampling starts, for variations of an
            example: the last `steps` steps of a grid of steps / strength.

    Errors: UsageError for an unknown name or option (with a suggestion) or a value out of range.

    >>> make_table("adams", EDM(), steps=10).nfe
    10
    """
    schedule = EDM() if schedule is None else schedule
    if not 0 < strength <= 1:
        raise UsageError(f"strength must lie above 0 and at most at 1, got {strength!r}")
    if grid is None:
        grid = DEFAULT_GRID
    if not isinstance(grid, str) and not callable(grid):
        times, grid_name = custom(schedule, steps, grid), "custom"
    else:
        make_grid = _choose("grid", grid, GRIDS)
        whole = steps if strength == 1 else max(round(steps / strength), steps)
        times = _with_options("grid", make_grid, grid_options, schedule, whole)[whole - steps :]
        grid_name = make_grid.__name__
    table = _with_options("solver", _choose("solver", solver, SOLVERS), options, schedule, times)
    return replace(table, grid=grid_name)


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
