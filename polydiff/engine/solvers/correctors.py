"""Predictor-corrector solvers: each read-out also corrects the step that led to it, at no further call.

The state that the network sees at a node is the prediction x̃ = A y + Σ_k p_k x̂0_k + c ξ, y being the state
before. With the read-out at the node the corrector has x = A y + Σ_k c_k x̂0_k + c ξ with the same A and ξ, so
x = x̃ + Σ_k (c_k - p_k) x̂0_k, and the move from x is again linear in x̃ and the read-outs. After the last
call nothing is left to correct.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest

from torch import Tensor

from polydiff.engine.nodes import Node, fill_table, steps_of
from polydiff.engine.schedules import Schedule
from polydiff.engine.solvers.multistep import dpmpp_weights
from polydiff.engine.solvers.rows import check_order, ddim_row, noise_split, x0_weights
from polydiff.engine.table import Row, Table, trimmed
from polydiff.errors import UsageError

Weights = Callable[[list[Node], Node, float], Sequence[float]]


def unipc(
    schedule: Schedule, times: Tensor | Sequence[float], order: int = 3, corrector: bool = True
) -> Table:
    """UniPC (Zhao et al. 2023, algorithms 5 to 8, B2(h) = e^h - 1): predictor of order `order` and corrector
    of one more, on x̂0.

    Args:
        order: 1 to 3. The first steps use what there is.
        corrector: False leaves UniP.
    """
    check_order(order, 3)

    def weights(used: list[Node], target: Node, total: float) -> Sequence[float]:
        if len(used) == 1:
            return [total]
        return dpmpp_weights(used, target, total, 1.0) if len(used) == 2 else x0_weights(used, target)

    def corrected(used: list[Node], start: Node, target: Node, total: float) -> Sequence[float]:
        if len(used) == 2:  # the paper's a = 1/2 of order one
            return [total / 2, total / 2]
        return _through(used, start, target, 1.0)

    name = f"unipc(order={order}" + ("" if corrector else ", corrector=False") + ")"
    return _predict_correct(name, schedule, times, order, order if corrector else 0, 0.0, weights, corrected)


def sa(
    schedule: Schedule, times: Tensor | Sequence[float], order: int = 3, tau: float = 1.0, corrector: int = 3
) -> Table:
    """SA-Solver (Xue et al. 2023, algorithm 1): stochastic Adams-Bashforth predictor, Adams-Moulton
    corrector.

    Args:
        order: of the predictor, 1 to 3.
        tau: how much noise: 0 is the ODE, 1 the reverse SDE.
        corrector: how many read-outs before the newest it uses, 0 (none) to 3.
    """
    check_order(order, 3)
    if corrector not in range(4):
        raise UsageError(f"corrector must be a whole number from 0 to 3, got {corrector!r}")
    if not tau >= 0:
        raise UsageError(f"tau must not be negative, got {tau!r}")
    rate = 1 + tau**2

    def weights(used: list[Node], target: Node, total: float) -> Sequence[float]:
        return [total] if len(used) == 1 else x0_weights(used, target, rate)

    def corrected(used: list[Node], start: Node, target: Node, total: float) -> Sequence[float]:
        return _through(used, start, target, rate)

    name = f"sa(order={order}, tau={tau:g}, corrector={corrector})"
    return _predict_correct(name, schedule, times, order, corrector, tau**2, weights, corrected)


def _through(used: list[Node], start: Node, target: Node, rate: float) -> list[float]:
    """As x0_weights, for a step from `start` to `target` with the read-out at `target` among the used."""
    others = [start, *[node for node in used if node is not start]]
    by_node = dict(zip(map(id, others), x0_weights(others, target, rate), strict=True))
    return [by_node[id(node)] for node in used]


def _predict_correct(
    name: str,
    schedule: Schedule,
    times: Tensor | Sequence[float],
    order: int,
    corrector: int,
    eta: float,
    predicted: Weights,
    corrected: Callable[[list[Node], Node, Node, float], Sequence[float]],
) -> Table:
    """Rows of a predictor through `order` read-outs, a corrector through the newest and `corrector` more."""

    def fill(nodes: list[Node]) -> list[Row]:
        rows: list[Row] = []
        correction: list[float] = []  # what the corrector adds for each read-out, newest first
        for used, target in steps_of(nodes, max(order, corrector)):
            node = used[0]
            row = ddim_row(node, target, *noise_split(node, target, eta))
            smooth = node.finite and target.finite
            ahead = list(predicted(used[:order], target, row.b[0])) if smooth else [row.b[0]]
            b = [w + row.a * m for w, m in zip_longest(ahead, correction, fillvalue=0.0)]
            rows.append(Row(t=row.t, a=row.a, b=trimmed(b), c=row.c))
            correction = []
            if corrector and smooth:
                after = corrected([target, *used[:corrector]], node, target, row.b[0])
                correction = [c - p for c, p in zip_longest(after, [0.0, *ahead], fillvalue=0.0)]
        return rows

    return fill_table(name, schedule, times, fill)
