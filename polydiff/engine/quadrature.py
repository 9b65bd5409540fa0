"""The weights of multistep methods: integrals of polynomials through a few nodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Adams-Bashforth weights of order 1 to 4 for equal steps
UNIFORM_WEIGHTS = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)
_LEGENDRE = np.polynomial.legendre.leggauss(32)


def _lagrange(nodes: Sequence[float], at: np.ndarray) -> np.ndarray:
    """Values (len(nodes), len(at)) of the basis polynomials that are one at a node and zero at the rest."""
    basis = np.ones((len(nodes), len(at)))
    for k, here in enumerate(nodes):
        for other in (*nodes[:k], *nodes[k + 1 :]):
            basis[k] *= (at - other) / (here - other)
    return basis


def exponential_weights(nodes: Sequence[float], start: float, end: float, rate: float) -> list[float]:
    """∫ |rate| e^{rate (λ - λ*)} L_k(λ) dλ over (start, end), λ* being the end where the integrand is 1.

    λ* is `end` for rate > 0 and `start` for rate < 0. By Gauss quadrature, which loses no digits however
    short the step: closed forms in powers of 1 / h do.
    """
    points = start + (end - start) * (_LEGENDRE[0] + 1) / 2
    origin = end if rate > 0 else start
    weights = _LEGENDRE[1] * (end - start) / 2 * abs(rate) * np.exp(rate * (points - origin))
    return (_lagrange(nodes, points) @ weights).tolist()
