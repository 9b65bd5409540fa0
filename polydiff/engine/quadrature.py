"""The weights of multistep methods: integrals of polynomials through a few nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

__all__ = [
    "UNIFORM_WEIGHTS",
    "Curve",
    "exponential_weights",
    "gauss_points",
    "lagrange",
    "polynomial_weights",
]

# Adams-Bashforth weights of order 1 to 4 for equal steps
UNIFORM_WEIGHTS = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)
Curve = Callable[[np.ndarray], np.ndarray]
_LEGENDRE = np.polynomial.legendre.leggauss(32)


def gauss_points(start: float, end: float) -> tuple[np.ndarray, np.ndarray]:
    """Where to evaluate an integrand over (start, end), and the weights of the values."""
    return start + (end - start) * (_LEGENDRE[0] + 1) / 2, _LEGENDRE[1] * (end - start) / 2


def lagrange(nodes: Sequence[float], at: np.ndarray) -> np.ndarray:
    """Values (len(nodes), len(at)) of the basis polynomials that are one at a node and zero at the rest."""
    basis = np.ones((len(nodes), len(at)))
    for k, here in enumerate(nodes):
        for other in (*nodes[:k], *nodes[k + 1 :]):
            basis[k] *= (at - other) / (here - other)
    return basis


def polynomial_weights(
    nodes: Sequence[float], start: float, end: float, density: Curve, place: Curve | None = None
) -> list[float]:
    """∫ density(λ) L_k(λ) dλ over (start, end) for the basis polynomial L_k of each node.

    The polynomials are in λ, or in `place(λ)`, in which the nodes are then given too. By Gauss quadrature,
    which loses no digits however short the step: closed forms in powers of 1 / h do.
    """
    points, weights = gauss_points(start, end)
    basis = lagrange(nodes, points if place is None else place(points))
    result: list[float] = (basis @ (weights * density(points))).tolist()
    return result


def exponential_weights(
    nodes: Sequence[float], start: float, end: float, rate: float, place: Curve | None = None
) -> list[float]:
    """`polynomial_weights` for the density |rate| e^{rate (λ - λ*)}, λ* being the end where it is largest:
    `end` for rate > 0 and `start` for rate < 0."""
    origin = end if rate > 0 else start
    return polynomial_weights(nodes, start, end, lambda lam: abs(rate) * np.exp(rate * (lam - origin)), place)
