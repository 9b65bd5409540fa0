"""Helices, strands and loops of backbones, by the hydrogen bonds of DSSP (Kabsch and Sander 1983)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from polydiff_protein.structure import Backbone

LOOP, HELIX, STRAND = "-", "H", "E"
_SHORTEST = 6  # residues: in fewer, no two turns follow each other


class Fractions(NamedTuple):
    """Shares of the residues; their sum is 1."""

    helix: float
    strand: float
    loop: float


def secondary_structure(backbone: Backbone) -> str:
    """A letter a residue: H helix (3-10, alpha or pi), E strand, - loop, as pydssp assigns them to each
    stretch of bonded residues by itself; strands that pair with another chain do not count as strands."""
    from pydssp.pydssp_numpy import assign

    found = [LOOP] * len(backbone)
    for piece in backbone.pieces:
        if piece.stop - piece.start >= _SHORTEST:
            onehot = assign(backbone.coords[piece].astype(np.float64))
            found[piece] = [(LOOP, HELIX, STRAND)[k] for k in onehot.argmax(-1)]
    return "".join(found)


def fractions(structure: str) -> Fractions:
    """How much of a string of secondary structure is helix, strand and loop.

    >>> fractions("HHHEE-----")
    Fractions(helix=0.3, strand=0.2, loop=0.5)
    """
    count = max(len(structure), 1)
    helix, strand = structure.count(HELIX) / count, structure.count(STRAND) / count
    return Fractions(helix, strand, round(1 - helix - strand, 12))
