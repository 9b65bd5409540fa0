"""Multistep solvers: a polynomial through the newest read-outs, one network call a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from polydiff.engine.nodes import Node, fill_table, steps_of
from polydiff.engine.quadrature import UNIFORM_WEIGHTS, exponential_weights
from polydiff.engine.schedules import Schedule
from polydiff.engine.solvers.rows import (
    check_order,
    ddim_row,
    eps_row,
    noise_split,
    v_row,
    v_weights,
    x0_weights,
)
from polydiff.engine.table import Row, Table, trimmed
from polydiff.errors import UsageError

__all__ = ["adams", "deis", "dpmpp", "dpmpp_weights", "ipndm", "lms"]


def adams(
    schedule: Schedule,
    times: Tensor | Sequence[float],
    order: int = 3,
    readout: str = "eps",
    deviation: float = 1.0,
) -> Table:
    """Exponential Adams-Bashforth: the polynomial in lambda through the newest `order` read-outs, integrated
    exactly, so that steps may have any length (Zhang and Chen 2023, section 3.2). One network call a step.

    `make_table("adams")` takes what was measured nearest for few steps; see there.

    Args:
        order: 1 (DDIM on eps and x0) to 4. The first steps use what there is.
        readout: "eps", "x0" or "v", which of the three exact forms is discretised. That of v has no linear
            term: with r = √(alpha² + sigma²) and phi = arctan(sigma / alpha), d(x / r) / d phi = v (Salimans
            and Ho 2022, appendix D); it is exact where data is N(0, 1), and not where data is one point.
        deviation: of the Gaussian data for which v is exact: with d alpha in the place of alpha the same form
            holds for N(0, d²), and eps is its limit for large d.
    """
    check_order(order, 4)
    if readout not in ("eps", "x0", "v"):
        raise UsageError(f"adams takes the readout 'eps', 'x0' or 'v', got {readout!r}")
    if not deviation > 0 or (deviation != 1 and readout != "v"):
        raise UsageError(f"adams has a deviation above 0 for the readout 'v' only, got {deviation!r}")

    def step(used: list[Node], target: Node) -> Row:
        if readout == "v":
            return v_row(used, target, v_weights(used, target, deviation), deviation)
        if readout == "x0":
            return replace(ddim_row(used[0], target), b=trimmed(x0_weights(used, target)))
        return _exact_eps_row(used, target, [node.lam for node in used])

    kind = readout if deviation == 1 else f"{readout}, deviation={deviation:g}"
    return _multistep(f"adams(order={order}, readout={kind})", schedule, times, order, step)


def ipndm(schedule: Schedule, times: Tensor | Sequence[float], order: int = 3) -> Table:
    """iPNDM (Zhang and Chen 2023, section 3.3; Liu et al. 2022): the classical Adams-Bashforth weights of
    equal steps on ε̂, on top of the DDIM step. Of second order at most, and nearer than `adams` for few steps.

    Args:
        order: 1 (DDIM) to 4. The first steps use what there is.
    """
    check_order(order, 4)

    def step(used: list[Node], target: Node) -> Row:
        length = target.sigma / target.alpha - used[0].sigma / used[0].alpha
        return eps_row(used, target, [length * w for w in UNIFORM_WEIGHTS[len(used) - 1]])

    return _multistep(f"ipndm(order={order})", schedule, times, order, step)


def dpmpp(schedule: Schedule, times: Tensor | Sequence[float], order: int = 2, eta: float = 0.0) -> Table:
    """DPM-Solver++ multistep (Lu et al. 2023, algorithm 2 and appendix A), ODE and SDE.

    Order 3 integrates the polynomial through three x̂0 exactly; the second difference there has the
    weight that makes it third order.

    Args:
        order: 1 (DDIM), 2 or 3.
        eta: 0 follows the ODE, 1 the reverse SDE; the x̂0 integral then runs at rate 1 + eta.
    """
    check_order(order, 3)
    if not eta >= 0:
        raise UsageError(f"eta must not be negative, got {eta!r}")
    rate = 1 + eta

    def fill(nodes: list[Node]) -> list[Row]:
        rows = []
        for used, target in steps_of(nodes, order):
            row = ddim_row(used[0], target, *noise_split(used[0], target, eta))
            if len(used) > 1 and target.finite:
                row = replace(row, b=trimmed(dpmpp_weights(used, target, row.b[0], rate)))
            rows.append(row)
        return rows

    name = f"dpmpp(order={order}" + (f", eta={eta:g})" if eta else ")")
    return fill_table(name, schedule, times, fill)


def dpmpp_weights(used: list[Node], target: Node, total: float, rate: float) -> Sequence[float]:
    """Weights of x̂0 at the used nodes for DPM-Solver++ of order 2 or 3; they add up to `total`."""
    if len(used) == 2:
        slope = (target.lam - used[0].lam) / (used[0].lam - used[1].lam) / 2
        return [total * (1 + slope), -total * slope]
    return x0_weights(used, target, rate)


def deis(schedule: Schedule, times: Tensor | Sequence[float], order: int = 3) -> Table:
    """DEIS, t-AB variant (Zhang and Chen 2023, eq. 15): ε̂ as a polynomial in t, integrated exactly.

    Args:
        order: 1 (DDIM) to 4.
    """

    def t_of(lam: np.ndarray) -> np.ndarray:
        return schedule.t_of_log_snr(2 * torch.from_numpy(lam)).numpy()

    return _eps_in("deis", schedule, times, order, lambda node: node.t, t_of)


def lms(schedule: Schedule, times: Tensor | Sequence[float], order: int = 4) -> Table:
    """Linear multistep in the noise level: ε̂ as a polynomial in sigma / alpha, integrated exactly (the
    rho-AB variant of DEIS; known from k-diffusion's sample_lms).

    Args:
        order: 1 (DDIM) to 4.
    """
    return _eps_in(
        "lms", schedule, times, order, lambda node: node.sigma / node.alpha, lambda lam: np.exp(-lam)
    )


def _eps_in(
    name: str,
    schedule: Schedule,
    times: Tensor | Sequence[float],
    order: int,
    place: Callable[[Node], float],
    place_of: Callable[[np.ndarray], np.ndarray],
) -> Table:
    """Adams-Bashforth on ε̂ as a polynomial in some coordinate of the noise level."""
    check_order(order, 4)

    def step(used: list[Node], target: Node) -> Row:
        return _exact_eps_row(used, target, [place(node) for node in used], place_of)

    return _multistep(f"{name}(order={order})", schedule, times, order, step)


def _multistep(
    name: str,
    schedule: Schedule,
    times: Tensor | Sequence[float],
    order: int,
    step: Callable[[list[Node], Node], Row],
) -> Table:
    """`step` through the newest `order` read-outs, and DDIM at the two ends that no polynomial reaches."""

    def fill(nodes: list[Node]) -> list[Row]:
        return [
            step(used, target) if used[0].finite and target.finite else ddim_row(used[0], target)
            for used, target in steps_of(nodes, order)
        ]

    return fill_table(name, schedule, times, fill)


def _exact_eps_row(
    used: list[Node],
    target: Node,
    places: Sequence[float],
    place_of: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Row:
    """A step with ε̂ the polynomial through the used nodes at these places: lambda, or `place_of` it."""
    node = used[0]
    weights = exponential_weights(places, node.lam, target.lam, -1.0, place_of)
    return eps_row(used, target, [-(node.sigma / node.alpha) * w for w in weights])
