"""Rows that solvers are built from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from polydiff.engine.nodes import Node
from polydiff.engine.quadrature import exponential_weights, polynomial_weights
from polydiff.engine.table import Row, trimmed
from polydiff.errors import UsageError

__all__ = [
    "check_order",
    "ddim_row",
    "eps_row",
    "noise_split",
    "remaining",
    "v_row",
    "v_weights",
    "x0_weights",
]


def check_order(order: int, highest: int, lowest: int = 1) -> None:
    if order not in range(lowest, highest + 1):
        raise UsageError(f"order must be a whole number from {lowest} to {highest}, got {order!r}")


def remaining(node: Node, target: Node) -> float:
    """e^{lambda_t - lambda_s}: how much of the noise at `node` an ancestral step keeps, 0 to 1."""
    return min(node.alpha * target.sigma / (target.alpha * node.sigma), 1.0)


def ddim_row(node: Node, target: Node, kept: float | None = None, added: float = 0.0) -> Row:
    """x⁺ = alpha_s x̂0 + kept ε̂ + added ξ, with ε̂ = (x - alpha x̂0) / sigma."""
    a = (target.sigma if kept is None else kept) / node.sigma
    return Row(t=node.t, a=a, b=(target.alpha - a * node.alpha,), c=added)


def eps_row(used: list[Node], target: Node, weights: Sequence[float]) -> Row:
    """x⁺ = (alpha_s / alpha_t) x + alpha_s Σ_k weights_k ε̂_k, ε̂ being stored as x̂0 - x / alpha."""
    b = [-target.alpha * w * node.alpha / node.sigma for w, node in zip(weights, used, strict=True)]
    return Row(t=used[0].t, a=target.alpha / used[0].alpha, b=trimmed(b), p=-1 / used[0].alpha)


def v_row(used: list[Node], target: Node, weights: Sequence[float], deviation: float = 1.0) -> Row:
    """x⁺ / r_s = x / r_t - Σ_k weights_k v̂_k with r = √(alpha² d² + sigma²), d the deviation, and
    v̂ = (d² alpha ε̂ - sigma x̂0) / r, stored as x̂0 - (alpha d² / r²) x = -(sigma / r) v̂."""
    r = math.hypot(deviation * target.alpha, target.sigma)
    norms = [math.hypot(deviation * node.alpha, node.sigma) for node in used]
    b = [r * w * norm / node.sigma for w, norm, node in zip(weights, norms, used, strict=True)]
    return Row(t=used[0].t, a=r / norms[0], b=trimmed(b), p=-used[0].alpha * (deviation / norms[0]) ** 2)


def v_weights(used: list[Node], target: Node, deviation: float = 1.0) -> list[float]:
    """Weights of v̂ at the used nodes, newest first: ∫ v̂ d phi / d over the step, with the deviation d,
    phi = arctan(sigma / (alpha d)) falling, and v̂ the polynomial in lambda through them."""
    lams, width = [node.lam for node in used], math.log(deviation)
    return polynomial_weights(
        lams, used[0].lam, target.lam, lambda lam: 0.5 / deviation / np.cosh(lam + width)
    )


def x0_weights(used: list[Node], target: Node, rate: float = 1.0) -> list[float]:
    """Weights of x̂0 at the used nodes, newest first: alpha_s ∫ rate e^{rate (lambda - lambda_s)} x̂0 d lambda
    over the step, with x̂0 the polynomial through them."""
    exact = exponential_weights([node.lam for node in used], used[0].lam, target.lam, rate)
    return [target.alpha * w for w in exact]


def noise_split(node: Node, target: Node, eta: float) -> tuple[float, float]:
    """What a step of the reverse SDE keeps of ε̂ and what it adds of ξ, both in units of x: eta 0 is the ODE,
    1 the SDE whose noise ancestral sampling has (Lu et al. 2023, appendix A)."""
    share = remaining(node, target)
    return target.sigma * share**eta, target.sigma * math.sqrt(1 - share ** (2 * eta))
