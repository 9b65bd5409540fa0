"""Lengths, angles and turns of backbones, and the atoms that follow from others: pure functions of numpy.

Coordinates are (..., 3) in Å, angles in degrees. A backbone is (residues, 4, 3): N, CA, C, O.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

BOND = 2.0
"""C and the N of the next residue are bonded when nearer than this, in Å; a peptide bond has 1.33."""

C_O, CA_C_O, N_CA_CB, CA_CB = 1.231, 120.1, 110.5, 1.530
"""Lengths and angles of Engh and Huber (1991, International Tables for Crystallography F, 18.3)."""

C_N_CA_CB = -122.6  # what the turn of C seen along N-CA is before that of CB, in L-amino acids


class Torsions(NamedTuple):
    """phi, psi and omega of each residue, degrees from -180 to 180; nan where a neighbour is missing. omega
    is that of the bond to the residue before."""

    phi: Array
    psi: Array
    omega: Array


def distance(a: Any, b: Any) -> Array:
    """Å between points.

    >>> float(distance([0, 0, 0], [3, 4, 0]))
    5.0
    """
    return np.asarray(np.linalg.norm(np.asarray(b, np.float64) - np.asarray(a, np.float64), axis=-1))


def angle(a: Any, b: Any, c: Any) -> Array:
    """Degrees at b.

    >>> round(float(angle([1, 0, 0], [0, 0, 0], [0, 2, 0])), 6)
    90.0
    """
    u, v = _unit(np.asarray(a, np.float64) - b), _unit(np.asarray(c, np.float64) - b)
    apart, together = np.linalg.norm(u - v, axis=-1), np.linalg.norm(u + v, axis=-1)
    return np.asarray(2 * np.degrees(np.arctan2(apart, together)))


def dihedral(a: Any, b: Any, c: Any, d: Any) -> Array:
    """Degrees from -180 to 180 that d is turned from a when seen along b to c; clockwise is positive (IUPAC).

    >>> round(float(dihedral([1, 0, 0], [0, 0, 0], [0, 0, 1], [0, 1, 1])), 6)
    90.0
    """
    a, b, c, d = (np.asarray(x, np.float64) for x in (a, b, c, d))
    axis = _unit(c - b)
    u, v = a - b, d - c
    u = u - (u * axis).sum(-1, keepdims=True) * axis
    v = v - (v * axis).sum(-1, keepdims=True) * axis
    return np.asarray(np.degrees(np.arctan2((np.cross(axis, u) * v).sum(-1), (u * v).sum(-1))))


def place(a: Any, b: Any, c: Any, length: Any, bend: Any, turn: Any) -> Array:
    """The point d with |cd| = length Å, angle bcd = bend and dihedral abcd = turn in degrees (Parsons et al.
    2005, "NeRF").

    >>> d = place([1.0, 0, 0], [0.0, 0, 0], [0.0, 0, 1], 2.0, 90.0, 90.0)
    >>> d.round(6).tolist()
    [0.0, 2.0, 1.0]
    """
    a, b, c = (np.asarray(x, np.float64) for x in (a, b, c))
    bend, turn = np.radians(np.asarray(bend, np.float64)), np.radians(np.asarray(turn, np.float64))
    along = _unit(c - b)
    across = _unit(np.cross(b - a, along))
    inward = np.cross(across, along)
    parts = [-np.cos(bend), np.sin(bend) * np.cos(turn), np.sin(bend) * np.sin(turn)]
    offset = sum(np.asarray(p)[..., None] * e for p, e in zip(parts, (along, inward, across), strict=True))
    return np.asarray(c + np.asarray(length, np.float64)[..., None] * offset)


def bonded(coords: Any) -> NDArray[np.bool_]:
    """(residues - 1,): whether C of a residue is near enough to N of the next."""
    return np.asarray(distance(coords[:-1, 2], coords[1:, 0]) < BOND)


def torsions(coords: Any, linked: Any = None) -> Torsions:
    """The torsions of each residue. linked: bool (residues - 1,), which residues are joined to the next;
    without it, those that `bonded` finds."""
    linked = bonded(coords) if linked is None else np.asarray(linked, bool)
    n, ca, c = coords[:, 0], coords[:, 1], coords[:, 2]
    phi, psi, omega = (np.full(len(coords), np.nan) for _ in range(3))
    phi[1:] = np.where(linked, dihedral(c[:-1], n[1:], ca[1:], c[1:]), np.nan)
    psi[:-1] = np.where(linked, dihedral(n[:-1], ca[:-1], c[:-1], n[1:]), np.nan)
    omega[1:] = np.where(linked, dihedral(ca[:-1], c[:-1], n[1:], ca[1:]), np.nan)
    return Torsions(phi, psi, omega)


def ideal_cb(coords: Any) -> Array:
    """(residues, 3): Cβ of L-amino acids with ideal lengths and angles, from N, CA and C.

    >>> n, ca, c = [1.458, 0, 0], [0.0, 0, 0], [-0.55, 1.42, 0]
    >>> cb = ideal_cb(np.array([[n, ca, c]]))[0]
    >>> [round(float(x), 1) for x in (distance(ca, cb), angle(n, ca, cb), angle(c, ca, cb))]
    [1.5, 110.5, 110.1]
    """
    n, ca, c = (np.asarray(coords)[..., k, :] for k in range(3))
    return place(c, n, ca, CA_CB, N_CA_CB, C_N_CA_CB)


def ideal_o(coords: Any, linked: Any = None) -> Array:
    """(residues, 3): O in the plane of the peptide, from N, CA and C of a residue and N of the next. Where no
    next residue is joined, as if psi were 140 degrees. coords (residues, 3 or more atoms, 3), linked as in
    `torsions`."""
    coords = np.asarray(coords, np.float64)
    linked = bonded(coords) if linked is None else np.asarray(linked, bool)
    n, ca, c = (coords[:, k] for k in range(3))
    psi = np.full(len(coords), 140.0)
    psi[:-1] = np.where(linked, dihedral(n[:-1], ca[:-1], c[:-1], n[1:]), psi[:-1])
    return place(n, ca, c, C_O, CA_C_O, psi + 180)


def superpose(mobile: Any, target: Any) -> tuple[Array, Array]:
    """The rotation (3, 3) and translation (3,) that bring points (n, 3) nearest to as many others, in the
    least squares (Kabsch 1976): `mobile @ rotation.T + translation` lies on target.

    >>> x = np.eye(3) * [1, 2, 3]
    >>> rotation, translation = superpose(x, x[:, [1, 2, 0]] + 5)
    >>> np.allclose(x @ rotation.T + translation, x[:, [1, 2, 0]] + 5)
    True
    """
    a, b = np.asarray(mobile, np.float64), np.asarray(target, np.float64)
    u, _, v = np.linalg.svd((b - b.mean(0)).T @ (a - a.mean(0)))
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ v)) or 1.0])
    rotation = u @ flip @ v
    return rotation, b.mean(0) - rotation @ a.mean(0)


def rmsd(a: Any, b: Any) -> float:
    """Å, root mean square distance of points (n, 3) after superposition.

    >>> x = np.random.default_rng(0).normal(size=(9, 3))
    >>> round(rmsd(x, x[:, [2, 0, 1]] + 7), 6)
    0.0
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    rotation, translation = superpose(a, b)
    return float(np.sqrt(((a @ rotation.T + translation - b) ** 2).sum(-1).mean()))


def radius_of_gyration(points: Any) -> float:
    """Å, root mean square distance of points (n, 3) from their middle.

    >>> radius_of_gyration([[-1, 0, 0], [1, 0, 0]])
    1.0
    """
    points = np.asarray(points, np.float64)
    return float(np.sqrt(((points - points.mean(0)) ** 2).sum(-1).mean()))


def _unit(x: Array) -> Array:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12))
