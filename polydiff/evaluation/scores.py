"""Figures that any domain's judge can give for sets of examples: pure functions of features and answers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Array",
    "am_score",
    "conditional_entropy",
    "frechet_distance",
    "inception_score",
    "marginal_entropy",
    "modified_inception_score",
    "nearest_distances",
]

Array = NDArray[Any]
_BLOCK = 512  # rows at a time, so that distances between large sets fit into memory


def frechet_distance(a: Array, b: Array) -> float:
    """Distance of two sets of features (n, d), each taken as a Gaussian (Heusel et al. 2017):
    |mean_a - mean_b|^2 + trace(cov_a + cov_b - 2 (cov_a cov_b)^(1/2)).

    It falls with the size of the sets: state beside it the distance of two real sets of the same sizes. A
    single example has no covariance: nan.

    >>> x = np.random.default_rng(0).normal(size=(500, 3))
    >>> round(frechet_distance(x, x), 6), round(frechet_distance(x, x + 2), 6)
    (0.0, 12.0)
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if min(len(a), len(b)) < 2:
        return float("nan")
    root = _root(np.cov(a, rowvar=False))
    cross = np.linalg.eigvalsh(root @ np.atleast_2d(np.cov(b, rowvar=False)) @ root)
    spread = a.var(0, ddof=1).sum() + b.var(0, ddof=1).sum() - 2 * np.sqrt(np.clip(cross, 0, None)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + max(spread, 0.0))


def _root(covariance: Array) -> Array:
    values, vectors = np.linalg.eigh(np.atleast_2d(covariance))
    result: Array = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    return result


def inception_score(p: Array) -> float:
    """exp E KL(p(y|x) || p(y)) for probabilities (n, choices) (Salimans et al. 2016): from 1 to the number
    of choices, high when examples are clear and of all kinds.

    >>> inception_score(np.eye(10)[np.arange(100) % 10]).__round__(3)
    10.0
    """
    return float(np.exp(marginal_entropy(p) - conditional_entropy(p)))


def conditional_entropy(p: Array) -> float:
    """E H(p(y|x)) in nats: 0 where every example is clear."""
    p = _safe(p)
    return float(-(p * np.log(p)).sum(1).mean())


def marginal_entropy(p: Array) -> float:
    """H(E p(y|x)) in nats: log(choices) where all kinds occur equally often.

    >>> round(marginal_entropy(np.eye(9)), 3)
    2.197
    """
    mean = _safe(p).mean(0)
    return float(-(mean * np.log(mean)).sum())


def modified_inception_score(p: Array) -> float:
    """exp E KL(p(y|x) || p(y|x')) over pairs of examples (Gurumurthy et al. 2017)."""
    p = _safe(p)
    return float(np.exp((p * np.log(p)).sum(1).mean() - (p.mean(0) * np.log(p).mean(0)).sum()))


def am_score(p: Array, reference: Array) -> float:
    """KL(p_real(y) || p(y)) + E H(p(y|x)) (Zhou et al. 2018): 0 is best. reference: probabilities of real
    examples."""
    mean, real = _safe(p).mean(0), _safe(reference).mean(0)
    return float((real * (np.log(real) - np.log(mean))).sum() + conditional_entropy(p))


def _safe(p: Array) -> Array:
    p = np.clip(np.asarray(p, np.float64), 1e-10, None)
    result: Array = p / p.sum(1, keepdims=True)
    return result


def nearest_distances(a: Array, b: Array, same: bool = False) -> Array:
    """Root mean square distance from each row of `a` (n, d) to the nearest of `b`; with `same` the two are
    one set and a row is not its own neighbour.

    >>> nearest_distances(np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[0.0, 0.0]])).round(3).tolist()
    [0.0, 3.536]
    """
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    found = []
    for start in range(0, len(x), _BLOCK):
        part = x[start : start + _BLOCK]
        squares = (part**2).sum(1)[:, None] + (y**2).sum(1) - 2 * part @ y.T
        if same:
            squares[np.arange(len(part)), np.arange(start, start + len(part))] = np.inf
        found.append(squares.min(1))
    result: Array = np.sqrt(np.maximum(np.concatenate(found), 0) / x.shape[1])
    return result
