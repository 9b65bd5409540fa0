"""Singlestep solvers: several network calls a step, no memory of the step before.

A step from alpha = 0 or to sigma = 0 is a DDIM step with one call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from polydiff.engine.nodes import Node, churned, fill_table, nodes_at
from polydiff.engine.schedules import Schedule
from polydiff.engine.solvers.rows import check_order, ddim_row, eps_row, remaining, x0_weights
from polydiff.engine.table import Row, Table, renoise, trimmed
from polydiff.errors import UsageError

__all__ = ["Step", "dpm2", "dpmpp_singlestep", "heun"]

Step = Callable[[Node, Node], list[Row]]


def heun(schedule: Schedule, times: Tensor | Sequence[float], eta: float = 0.0, churn: float = 0.0) -> Table:
    """Heun's second-order method in sigma / alpha (Karras et al. 2022, algorithms 1 and 2): two calls a step.

    Args:
        eta: 0 follows the ODE, 1 is ancestral: a step goes further down and noise is added.
        churn: noise that is added before each step, S_churn of algorithm 2 with S_tmin = 0, S_tmax = ∞.
    """

    def step(node: Node, target: Node) -> list[Row]:
        half = (target.sigma / target.alpha - node.sigma / node.alpha) / 2
        first = replace(eps_row([node], target, [2 * half]), anchor=True)
        corrector = eps_row([target, node], target, [half, half])
        return [first, replace(corrector, a=0.0, base=target.alpha / node.alpha)]

    return _singlestep("heun", schedule, churned(schedule, times, churn), step, eta, {"churn": churn})


def dpm2(schedule: Schedule, times: Tensor | Sequence[float], eta: float = 0.0) -> Table:
    """DPM-Solver-2 (Lu et al. 2022, algorithm 4): the slope in the middle of a step in lambda, two calls.

    Args:
        eta: 0 follows the ODE, 1 is ancestral.
    """

    def step(node: Node, target: Node) -> list[Row]:
        [middle] = _between(schedule, node, target, [0.5])
        levels = [n.sigma / n.alpha for n in (node, middle, target)]
        first = replace(eps_row([node], middle, [levels[1] - levels[0]]), anchor=True)
        second = eps_row([middle], target, [levels[2] - levels[0]])
        return [first, replace(second, a=0.0, base=target.alpha / node.alpha)]

    return _singlestep("dpm2", schedule, times, step, eta)


def dpmpp_singlestep(
    schedule: Schedule, times: Tensor | Sequence[float], order: int = 2, eta: float = 0.0
) -> Table:
    """DPM-Solver++ singlestep, 2S (Lu et al. 2023, algorithm 1) and 3S: `order` calls a step.

    Args:
        order: 2 or 3.
        eta: 0 follows the ODE, 1 is ancestral.
    """
    check_order(order, 3, 2)

    def step(node: Node, target: Node) -> list[Row]:
        inner = _between(schedule, node, target, [k / order for k in range(1, order)])
        rows = [replace(ddim_row(node, inner[0]), anchor=True)]
        for k, here in enumerate(inner):
            goal = inner[k + 1] if k + 1 < len(inner) else target
            total = ddim_row(node, goal)
            if order == 2:
                weights = [total.b[0]]  # the slope through the middle, as algorithm 1 has it
            else:  # ∫ of the line through x̂0 at the step's beginning and here
                first, newest = x0_weights([node, here], goal)
                weights = [newest, *[0.0] * k, first]
            rows.append(Row(t=here.t, a=0.0, b=trimmed(weights), base=total.a))
        return rows

    return _singlestep("dpmpp_singlestep", schedule, times, step, eta, {"order": order})


def _between(schedule: Schedule, node: Node, target: Node, shares: Sequence[float]) -> list[Node]:
    """Nodes at these shares of a step in lambda."""
    lams = [node.lam + share * (target.lam - node.lam) for share in shares]
    return _at(schedule, lams)


def _at(schedule: Schedule, lams: Sequence[float]) -> list[Node]:
    return nodes_at(schedule, schedule.t_of_log_snr(2 * torch.tensor(lams, dtype=torch.float64)).tolist())


def _singlestep(
    name: str,
    schedule: Schedule,
    times: Tensor | Sequence[float],
    step: Step,
    eta: float,
    options: dict[str, float] | None = None,
) -> Table:
    if not 0 <= eta <= 1:
        raise UsageError(f"eta must lie between 0 and 1, got {eta!r}")

    def fill(nodes: list[Node]) -> list[Row]:
        rows: list[Row] = []
        for node, target in pairwise(nodes):
            fresh = eta * math.sqrt(1 - remaining(node, target) ** 2)
            down = target.sigma * math.sqrt(1 - fresh**2)
            if not (node.finite and target.finite) or down == 0:
                rows.append(ddim_row(node, target, down, target.sigma * fresh))
                continue
            aim = target if eta == 0 else _at(schedule, [math.log(target.alpha / down)])[0]
            done = step(node, aim)
            rows += done[:-1]
            rows.append(
                renoise(done[-1], target.alpha / aim.alpha, target.sigma * fresh) if eta else done[-1]
            )
        return rows

    shown = {**(options or {}), "eta": eta}
    inside = ", ".join(f"{key}={value:g}" for key, value in shown.items() if value)
    return fill_table(f"{name}({inside})" if inside else name, schedule, times, fill)
