"""How far clouds are apart: Chamfer and earth mover's distances, without compiled extensions of our own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree
from torch import Tensor

EXACT_MOST = 2048
"""Up to so many points the earth mover's distance is exact."""

_ROUNDS = 120


def chamfer(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """The mean squared distance from each point of a (n, 3) to the nearest of b (m, 3), and the other way
    round, added (Yang et al. 2019, PointFlow, equation 15).

    >>> chamfer(np.zeros((1, 3)), np.array([[1.0, 0, 0], [0, 2, 0]]))
    3.5
    """
    return _mean_square(cKDTree(b), a) + _mean_square(cKDTree(a), b)


def earth_mover(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """The mean distance between partners when each point of a (n, 3) has one of b (n, 3), paired as near as
    can be (Yang et al. 2019, equation 16).

    Exact up to EXACT_MOST points; beyond, as `approximate_earth_mover` has it. Errors: ValueError for sets of
    different sizes.

    >>> earth_mover(np.eye(3), np.eye(3)[::-1])
    0.0
    """
    if len(a) != len(b):
        raise ValueError(f"the earth mover's distance needs as many points in both: {len(a)} and {len(b)}")
    if len(a) <= EXACT_MOST:
        return float(matched(a, b)[1])
    x, y = (torch.from_numpy(np.asarray(part, np.float32))[None] for part in (a, b))
    return float(approximate_earth_mover(x, y))


def matched(a: NDArray[np.floating], b: NDArray[np.floating]) -> tuple[NDArray[np.intp], float]:
    """Partners in b (n, 3) of the points of a (n, 3), such that the mean distance is least, and that mean."""
    costs = np.sqrt(((np.asarray(a)[:, None] - np.asarray(b)[None]) ** 2).sum(-1))
    rows, partners = linear_sum_assignment(costs)
    return partners, float(costs[rows, partners].mean())


def approximate_earth_mover(a: Tensor, b: Tensor, blur: float = 0.005) -> Tensor:
    """Distances (batch,) between clouds a and b (batch, n, 3) by entropic transport, on their device.

    Sinkhorn's iteration on logarithms (Cuturi 2013), the entropy lowered from the size of the clouds to
    `blur` of it, so that the plan is near a pairing; its mean cost is an upper bound that comes near.

    >>> x = torch.rand(2, 64, 3)
    >>> bool((approximate_earth_mover(x, x[:, torch.randperm(64)]) < 0.01).all())
    True
    """
    costs = torch.cdist(a, b)
    size = costs.amax((1, 2), keepdim=True).clamp(min=1e-12)
    count = a.shape[1]
    f, g = torch.zeros_like(costs[:, :, :1]), torch.zeros_like(costs[:, :1, :])
    share = -math.log(count)
    for k in range(_ROUNDS):
        epsilon = size * max(0.5 * 0.95**k, blur)
        f = epsilon * (share - torch.logsumexp((g - costs) / epsilon, 2, keepdim=True))
        g = epsilon * (share - torch.logsumexp((f - costs) / epsilon, 1, keepdim=True))
    plan = ((f + g - costs) / (size * blur)).exp()
    return (plan * costs).sum((1, 2)) / plan.sum((1, 2))


def chamfer_matrix(
    a: Sequence[NDArray[np.floating]], b: Sequence[NDArray[np.floating]], device: str = "cpu"
) -> NDArray[np.float64]:
    """Chamfer distances (len(a), len(b)) between two sets of clouds (points, 3).

    On a processor by trees, one pair at a time; on another device by all distances of one cloud to a set, of
    which every cloud must have as many points.
    """
    if device == "cpu":
        trees = [cKDTree(x) for x in a], [cKDTree(x) for x in b]
        return np.array([[_mean_square(s, y) + _mean_square(t, x) for y, t in zip(b, trees[1], strict=True)]
                         for x, s in zip(a, trees[0], strict=True)])  # fmt: skip
    others = torch.from_numpy(np.stack(b).astype(np.float32)).to(device)
    rows = []
    for x in a:
        squares = torch.cdist(torch.from_numpy(np.asarray(x, np.float32)).to(device), others) ** 2
        rows.append(squares.amin(2).mean(1) + squares.amin(1).mean(1))
    return torch.stack(rows).double().cpu().numpy()


def within(
    clouds: Sequence[NDArray[np.floating]], distance: Callable[[Any, Any], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Distances (n, n) of the clouds of one set to each other, each pair measured once."""
    found = np.zeros((len(clouds), len(clouds)))
    for i in range(len(clouds) - 1):
        found[i, i + 1 :] = distance(clouds[i : i + 1], clouds[i + 1 :])[0]
    return found + found.T


def _mean_square(tree: cKDTree, points: NDArray[np.floating]) -> float:
    return float((tree.query(points)[0] ** 2).mean())


def earth_mover_matrix(
    a: Sequence[NDArray[np.floating]], b: Sequence[NDArray[np.floating]]
) -> NDArray[np.float64]:
    """Earth mover's distances (len(a), len(b)) between two sets of clouds of one size."""
    return np.array([[earth_mover(x, y) for y in b] for x in a])
