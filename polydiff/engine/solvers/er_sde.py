"""ER-SDE-Solver: a reverse SDE whose noise follows a function of the noise level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from polydiff.engine.nodes import Node, fill_table, steps_of
from polydiff.engine.quadrature import gauss_points, lagrange
from polydiff.engine.schedules import Schedule
from polydiff.engine.solvers.rows import check_order, ddim_row
from polydiff.engine.table import Row, Table, trimmed

__all__ = ["er_sde"]


def er_sde(schedule: Schedule, times: Tensor | Sequence[float], order: int = 3) -> Table:
    """Extended reverse-time SDE (Cui et al. 2023) with phi(rho) = rho (e^(rho^0.3) + 10) of the noise level
    rho = sigma / alpha: little noise where rho is large.

    With y = x / alpha a step is y_s = r y_t + phi_s ∫ phi' / phi^2 x̂0 d rho + √(rho_s² - r² rho_t²) ξ,
    r = phi_s / phi_t, and x̂0 the polynomial in rho through the newest read-outs.

    Args:
        order: 1 to 3. The first steps use what there is.
    """
    check_order(order, 3)

    def fill(nodes: list[Node]) -> list[Row]:
        return [_row(used, target) for used, target in steps_of(nodes, order)]

    return fill_table(f"er_sde(order={order})", schedule, times, fill)


def _row(used: list[Node], target: Node) -> Row:
    node = used[0]
    if not (node.finite and target.finite):  # noise alone at one end: all that is kept is fresh
        return ddim_row(node, target, 0.0, target.sigma)
    here, there = node.sigma / node.alpha, target.sigma / target.alpha
    shrink = _phi(there) / _phi(here)
    points, weights = gauss_points(math.log(there), math.log(here))
    rho = np.exp(points)
    kernel = _phi(there) * _slope(rho) / _phi(rho) ** 2 * rho * weights
    b = lagrange([one.sigma / one.alpha for one in used], rho) @ kernel
    added = math.sqrt(max(there**2 - (shrink * here) ** 2, 0.0))
    return Row(
        t=node.t,
        a=shrink * target.alpha / node.alpha,
        b=trimmed((target.alpha * b).tolist()),
        c=target.alpha * added,
    )


def _phi(rho: Any) -> Any:
    return rho * (np.exp(rho**0.3) + 10)


def _slope(rho: np.ndarray) -> np.ndarray:
    grown = np.exp(rho**0.3)
    return grown + 10 + 0.3 * rho**0.3 * grown
