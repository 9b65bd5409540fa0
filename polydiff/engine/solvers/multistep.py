"""Multistep solvers: a polynomial through the newest read-outs, one network call a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from polydiff.engine.grids import FEW_STEPS, starts_at_noise
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

__all__ = ["adams", "deis", "dpmpp", "dpmpp_weights", "lms"]

#: so few steps from noise alone are nearest on v for data of this deviation (benchmarks/README.md)
V_STEPS, V_DEVIATION = (5, 6), 4.0


def adams(
    schedule: Schedule,
    times: Tensor | Sequence[float],
    order: int = 3,
    readout: str | None = None,
    weights: str | None = None,
    deviation: float = 1.0,
) -> Table:
    """Adams-Bashforth: a polynomial through the newest `order` read-outs, one network call a step.

    Args:
        order: 1 (DDIM on eps and x0) to 4. The first steps use what there is.
        readout: "eps", "x0" or "v", which of the three exact forms is discretised. That of v has no linear
            term: with r = √(alpha² + sigma²) and phi = arctan(sigma / alpha), d(x / r) / d phi = v (Salimans
            and Ho 2022, appendix D); it is exact where data is N(0, 1), and not where data is one point. By
            default v of `V_DEVIATION` where five or six steps begin at noise alone, otherwise eps.
        weights: "exponential" integrates a polynomial in lambda exactly, for steps of any length (Zhang
            and Chen 2023, section 3.2); "uniform" takes the classical weights of equal steps on top of the
            DDIM step, which is iPNDM (Zhang and Chen 2023, section 3.3; Liu et al. 2022). By default
            exponential, and uniform on eps up to FEW_STEPS, where that is nearer.
        deviation: of the Gaussian data for which v is exact: with d alpha in the place of alpha the same form
            holds for N(0, d²), and eps is its limit for large d.
    """
    check_order(order, 4)
    if readout is None:
        few = len(times) - 1 in V_STEPS and times[0] == 1 and starts_at_noise(schedule)
        on_v = few and weights is None and deviation == 1
        readout, deviation = ("v", V_DEVIATION) if on_v else ("eps", deviation)
    if readout not in ("eps", "x0", "v") or weights not in (None, "exponential", "uniform"):
        raise UsageError(
            f"adams takes readout 'eps', 'x0' or 'v' and weights 'exponential' or 'uniform', "
            f"got {readout!r} and {weights!r}"
        )
    if not deviation > 0 or (deviation != 1 and readout != "v"):
        raise UsageError(f"adams has a deviation above 0 for the readout 'v' only, got {deviation!r}")
    if weights is None:
        weights = "uniform" if readout == "eps" and len(times) - 1 <= FEW_STEPS else "exponential"
    elif weights == "uniform" and readout != "eps":
        raise UsageError(f"adams has uniform weights for the readout 'eps' only, got {readout!r}")

    def step(used: list[Node], target: Node) -> Row:
        if readout == "v":
            return v_row(used, target, v_weights(used, target, deviation), deviation)
        if readout == "x0":
            return replace(ddim_row(used[0], target), b=trimmed(x0_weights(used, target)))
        if weights == "exponential":
            return _exact_eps_row(used, target, [node.lam for node in used])
        length = target.sigma / target.alpha - used[0].sigma / used[0].alpha
        return eps_row(used, target, [length * w for w in UNIFORM_WEIGHTS[len(used) - 1]])

    kind = readout if deviation == 1 else f"{readout}, deviation={deviation:g}"
    name = f"adams(order={order}, readout={kind}, weights={weights})"
    return _multistep(name, schedule, times, order, step)


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
