"""Figures of a set of generated shapes beside a set of real ones, from their distances: pure functions.

`across` holds distances (samples, references), `samples` and `references` those within each set.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.floating]
CELLS = 28  # along each axis, for the divergence of occupancy


def minimum_matching_distance(across: Matrix) -> float:
    """The mean distance from a reference to the nearest sample (Achlioptas et al. 2018): low is good."""
    return float(across.min(0).mean())


def coverage(across: Matrix) -> float:
    """The share of references that are the nearest one of some sample (Achlioptas et al. 2018): high is good.

    >>> coverage(np.array([[0.0, 1.0], [0.1, 1.0]]))
    0.5
    """
    result: float = len(np.unique(across.argmin(1))) / across.shape[1]
    return result


def nearest_neighbour_accuracy(across: Matrix, samples: Matrix, references: Matrix) -> float:
    """How often the nearest neighbour of a shape, in both sets together, is of its own set: .5 where they
    cannot be told apart (Lopez-Paz and Oquab 2017; Yang et al. 2019).

    >>> near, far = np.array([[0.0, 1], [1, 0]]), np.full((2, 2), 9.0)
    >>> nearest_neighbour_accuracy(far, near, near)
    1.0
    """
    both = np.block([[samples, across], [across.T, references]]).astype(np.float64)
    np.fill_diagonal(both, np.inf)
    of_samples = np.arange(len(both)) < len(across)
    return float((of_samples[both.argmin(1)] == of_samples).mean())


def occupancy_divergence(a: Sequence[Matrix], b: Sequence[Matrix]) -> float:
    """Jensen-Shannon divergence, in nats, of where the points of two sets of clouds (points, 3) in the cube
    from -1 to 1 lie, in cells of a grid (Achlioptas et al. 2018): from 0 to ln 2.

    >>> occupancy_divergence([np.zeros((5, 3))], [np.ones((5, 3))]).__round__(3)
    0.693
    """
    p, q = _occupancy(a), _occupancy(b)
    middle = (p + q) / 2
    return float((_divergence(p, middle) + _divergence(q, middle)) / 2)


def _occupancy(clouds: Sequence[Matrix]) -> Matrix:
    points = np.clip(np.concatenate(list(clouds)), -1, 1)
    counts = np.histogramdd(points, CELLS, [(-1, 1)] * 3)[0].ravel()
    return np.asarray(counts / counts.sum())


def _divergence(p: Matrix, q: Matrix) -> float:
    seen = p > 0
    return float((p[seen] * np.log(p[seen] / q[seen])).sum())
