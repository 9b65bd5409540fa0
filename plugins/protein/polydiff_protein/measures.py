"""What can be measured on one backbone, and the figures of one or many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from polydiff_protein import geometry as g
from polydiff_protein.ramachandran import allowed
from polydiff_protein.secondary import HELIX, fractions, secondary_structure
from polydiff_protein.structure import Backbone

Array = NDArray[np.floating]

CLASH, CONTACT = 3.6, 8.0
"""Å between Cα atoms: nearer than the first, only neighbours are; within the second, two touch."""

APART = 4
"""Two residues of a chain touch only when they are so many apart along it."""

STEP = (3.6, 4.0)
"""Å from one Cα to the next across a trans peptide bond (3.80) and no other."""

COMPACT = (0.93, 1.2)
"""A chain is as compact as proteins are where its radius of gyration is so many times `expected_gyration`."""


def expected_gyration(residues: float) -> float:
    """Å, the radius of gyration of a globular chain: 2.2 N^0.38 (Skolnick et al. 1997).

    >>> round(expected_gyration(100), 1)
    12.7
    """
    return float(2.2 * residues**0.38)


@dataclass(frozen=True)
class Measures:
    """What a backbone is like.

    bonds, angles: every bond length (Å) and angle (degrees), as arrays by name. steps: Å from each Cα to the
    next of its chain. omega: degrees, of every peptide bond. phi, psi: degrees, of residues that have both.
    helix_turns: degrees, the dihedrals of four Cα atoms in a row in a helix. chains: residues of each chain,
    and its radius of gyration in Å. contacts: of each residue, how many others it touches. clashes: pairs of
    Cα atoms too near. breaks: bonds between neighbours that are not there. structure: as
    `secondary_structure` has it.
    """

    bonds: dict[str, Array]
    angles: dict[str, Array]
    steps: Array
    omega: Array
    phi: Array
    psi: Array
    helix_turns: Array
    chains: tuple[tuple[int, float], ...]
    contacts: NDArray[np.int_]
    clashes: int
    breaks: int
    structure: str


def measure(backbone: Backbone) -> Measures:
    """Measure a backbone. Neighbours are residues of one chain whose numbers follow each other, whether they
    are bonded or not, so that what is broken shows."""
    x = backbone.coords.astype(np.float64)
    n, ca, c, o = (x[:, k] for k in range(4))
    joined = neighbours(backbone)
    here, there = np.flatnonzero(joined), np.flatnonzero(joined) + 1
    phi, psi, omega = g.torsions(x, joined)
    both = np.isfinite(phi) & np.isfinite(psi)
    structure = secondary_structure(backbone)
    ids = np.array(backbone.chains)
    members = [ids == name for name in backbone.chain_ids]
    contacts, clashes = _near(backbone)
    bonds = {
        "n_ca": g.distance(n, ca),
        "ca_c": g.distance(ca, c),
        "c_n": g.distance(c[here], n[there]),
        "c_o": g.distance(c, o),
    }
    angles = {
        "n_ca_c": g.angle(n, ca, c),
        "ca_c_n": g.angle(ca[here], c[here], n[there]),
        "c_n_ca": g.angle(c[here], n[there], ca[there]),
    }
    return Measures(
        bonds,
        angles,
        steps=g.distance(ca[here], ca[there]),
        omega=omega[there],
        phi=phi[both],
        psi=psi[both],
        helix_turns=_helix_turns(ca, joined, structure),
        chains=tuple((int(rows.sum()), g.radius_of_gyration(ca[rows])) for rows in members),
        contacts=contacts,
        clashes=clashes,
        breaks=int((bonds["c_n"] >= g.BOND).sum()),
        structure=structure,
    )


def neighbours(backbone: Backbone) -> NDArray[np.bool_]:
    """(residues - 1,): whether a residue and the next follow each other in a chain, by their numbers."""
    same = np.array([a == b for a, b in pairwise(backbone.chains)], bool)
    return same & (np.diff(backbone.numbers) <= 1)


def _near(backbone: Backbone) -> tuple[NDArray[np.int_], int]:
    """How many residues each touches, and how many pairs clash."""
    ids = {name: k for k, name in enumerate(backbone.chain_ids)}
    chain = np.array([ids[name] for name in backbone.chains])
    pairs = cKDTree(backbone.ca).query_pairs(CONTACT, output_type="ndarray")
    far = np.where(chain[pairs[:, 0]] == chain[pairs[:, 1]], np.abs(pairs[:, 0] - pairs[:, 1]), len(backbone))
    touching = pairs[far >= APART]
    apart = g.distance(backbone.ca[pairs[:, 0]], backbone.ca[pairs[:, 1]])
    return np.bincount(touching.ravel(), minlength=len(backbone)), int(((apart < CLASH) & (far > 1)).sum())


def _helix_turns(ca: Array, joined: NDArray[np.bool_], structure: str) -> Array:
    helix = np.array([kind == HELIX for kind in structure])
    if len(ca) < 4:
        return np.zeros(0)
    inside = helix[:-3] & helix[1:-2] & helix[2:-1] & helix[3:] & joined[:-2] & joined[1:-1] & joined[2:]
    result: Array = g.dihedral(ca[:-3], ca[1:-2], ca[2:-1], ca[3:])[inside]
    return result


def figures(measured: Sequence[Measures]) -> dict[str, float]:
    """The figures of a set of backbones, or of one: all residues together, except that gyration, contacts,
    clashes and secondary structure are means over the backbones. What there is nothing of is nan."""
    found = {name: _mean([m.bonds[name] for m in measured]) for name in ("n_ca", "ca_c", "c_n", "c_o")}
    found |= {f"angle_{k}": _mean([m.angles[k] for m in measured]) for k in ("n_ca_c", "ca_c_n", "c_n_ca")}
    steps, omega = _all([m.steps for m in measured]), _all([m.omega for m in measured])
    trans = np.abs(omega) > 90
    phi, psi = _all([m.phi for m in measured]), _all([m.psi for m in measured])
    turns = _all([m.helix_turns for m in measured])
    chains = [chain for m in measured for chain in m.chains]
    ratios = np.array([radius / expected_gyration(residues) for residues, radius in chains])
    shares = np.array([fractions(m.structure) for m in measured])
    return found | {
        "ca_step": _mean([steps[trans]]),
        "ca_step_share": _mean([(steps > STEP[0]) & (steps < STEP[1])]),
        "omega_trans": _mean([trans]),
        "phi_psi_allowed": _mean([allowed(phi, psi)]),
        "phi_positive": _mean([phi > 0]),
        "helix_turn": _mean([turns]),
        "right_handed": _mean([turns > 0]),
        "gyration": _mean([ratios]),
        "gyration_share": _mean([(ratios > COMPACT[0]) & (ratios < COMPACT[1])]),
        "contacts": _mean([np.array([m.contacts.mean() for m in measured])]),
        "clashes": _mean([np.array([100 * m.clashes / len(m.structure) for m in measured])]),
        "clash_free": _mean([np.array([m.clashes == 0 for m in measured])]),
        "breaks": _mean([np.array([m.breaks for m in measured])]),
        **dict(zip(("helix", "strand", "loop"), shares.mean(0).tolist(), strict=True)),
    }


def _all(parts: Sequence[Array]) -> Array:
    return np.concatenate([np.zeros(0), *parts])


def _mean(parts: Sequence[NDArray[np.generic]]) -> float:
    values = np.concatenate([np.zeros(0), *parts])
    return float(values.mean()) if len(values) else float("nan")
