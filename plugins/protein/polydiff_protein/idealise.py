"""Ideal bonds: what a network draws to a tenth of an Ångström becomes a backbone that chemistry allows.

Bond lengths, bond angles and flat trans (or cis) peptides are distances between near atoms, so the nearest
backbone that has them is found by moving pairs of atoms to their distance, over and over (Ryckaert, Ciccotti
and Berendsen 1977, SHAKE). φ and ψ stay as they were drawn, but where residues overlap: those are moved apart
in the same rounds. The oxygen follows from the plane of its peptide.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from polydiff_protein.geometry import ideal_o

N, CA, C = 0, 1, 2
# Å; means of the domains from the Protein Data Bank that the shipped model learned from
_WITHIN = ((N, CA, 1.460), (CA, C, 1.524), (N, C, 2.460))
_ACROSS = ((C, N, 1.330), (CA, N, 2.430), (C, CA, 2.437))
TRANS, CIS = 3.805, 2.95
_EITHER = 3.3  # Cα closer than this in what was drawn: a cis peptide, 3 in 1,000 of real ones
NEAREST = 3.8  # Å: beyond what counts as a clash; further would bend more φ and ψ of the rest
APART = 3  # places along the chain from which on two residues are no neighbours
_REACH = 6.0  # Å: Cα further apart than this as drawn do not come to overlap
SWEEPS = 300
ENOUGH = 0.005  # Å
_SEPARATE = 1e-6  # Å: atoms drawn at one place have no direction to be moved apart in, and get one


def idealised(
    atoms: NDArray[np.floating], linked: NDArray[np.bool_], fixed: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """N, CA, C, O (residues, 4, 3) in Å out of N, CA, C (residues, 3, 3) as drawn.

    linked: bool (residues - 1,), where a residue is bonded to the next. fixed: bool (residues,), those whose
    atoms do not move, such as a motif.
    """
    x = np.array(atoms, np.float64)
    x = x[:, :3]
    free = np.ones(len(x)) if fixed is None else (~fixed).astype(float)
    x += _SEPARATE * np.sin(np.arange(x.size)).reshape(x.shape) * free[:, None, None]
    near = _near(x[:, CA], linked)
    for _ in range(SWEEPS):
        if max(_push_apart(x, near, free), _sweep(x, linked, free)) < ENOUGH:
            break
    full = np.concatenate([x, np.zeros_like(x[:, :1])], axis=1)
    full[:, 3] = ideal_o(full, linked)
    return full.astype(np.float32)


def _near(ca: NDArray[np.float64], linked: NDArray[np.bool_]) -> NDArray[np.int_]:
    """Pairs of residues (pairs, 2) that may come to overlap and are not close by along one chain."""
    pairs = KDTree(ca).query_pairs(_REACH, output_type="ndarray")
    chain = np.concatenate([[0], np.cumsum(~linked)])
    close_by = (chain[pairs[:, 0]] == chain[pairs[:, 1]]) & (pairs[:, 1] - pairs[:, 0] < APART)
    result: NDArray[np.int_] = pairs[~close_by]
    return result


def _push_apart(x: NDArray[np.float64], pairs: NDArray[np.int_], free: NDArray[np.float64]) -> float:
    """Move the residues of each pair whose Cα overlap apart, each that is free by its share; the largest
    overlap that was met."""
    i, j = pairs.T
    shares = free[i] + free[j]
    way = x[j, CA] - x[i, CA]
    length = np.linalg.norm(way, axis=1)
    lacking = np.where(shares > 0, (NEAREST - length).clip(min=0), 0.0)
    step = (way * (lacking / np.maximum(length, 1e-9) / np.maximum(shares, 1.0))[:, None])[:, None]
    np.subtract.at(x, i, step * free[i][:, None, None])
    np.add.at(x, j, step * free[j][:, None, None])
    return float(lacking.max(initial=0.0))


def _sweep(x: NDArray[np.float64], linked: NDArray[np.bool_], free: NDArray[np.float64]) -> float:
    """Every pair once, the even links before the odd; the largest error that was met."""
    here = np.arange(len(x))
    worst = max(_pull(x, here, a, here, b, goal, free) for a, b, goal in _WITHIN)
    for parity in (0, 1):
        left = np.flatnonzero(linked[parity::2]) * 2 + parity
        if not len(left):
            continue
        for a, b, goal in _ACROSS:
            worst = max(worst, _pull(x, left, a, left + 1, b, goal, free))
        apart = np.linalg.norm(x[left, CA] - x[left + 1, CA], axis=1)
        worst = max(worst, _pull(x, left, CA, left + 1, CA, np.where(apart < _EITHER, CIS, TRANS), free))
    return worst


def _pull(
    x: NDArray[np.float64],
    i: NDArray[np.int_],
    a: int,
    j: NDArray[np.int_],
    b: int,
    goal: float | NDArray[np.float64],
    free: NDArray[np.float64],
) -> float:
    """Move atoms a of residues i and b of residues j to their distance, each that is free by its share."""
    way = x[j, b] - x[i, a]
    length = np.linalg.norm(way, axis=1)
    shares = free[i] + free[j]
    wrong = np.where(shares > 0, length - goal, 0.0)
    step = way * (wrong / np.maximum(length, 1e-9) / np.maximum(shares, 1.0))[:, None]
    x[i, a] += step * free[i][:, None]
    x[j, b] -= step * free[j][:, None]
    return float(np.abs(wrong).max(initial=0.0))
