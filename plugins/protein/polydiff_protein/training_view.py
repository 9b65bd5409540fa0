"""What the network is shown of a backbone besides its noisy atoms: numbering, secondary structure, a motif.

In most views nothing is shown but the numbering. In some the secondary structure is, of all residues or of
stretches; in some a motif is, one to three stretches whose shape is given and whose place is not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from polydiff_protein.structure import Backbone

LETTERS = "LHE"  # loop, helix, strand, in the order of their columns in the network's context
UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class TrainingView:
    """A backbone and what is shown of it. structure: int (residues,), an index into LETTERS or UNKNOWN.
    motif: bool (residues,), whose shape is shown."""

    backbone: Backbone
    structure: NDArray[np.int_]
    motif: NDArray[np.bool_]

    @classmethod
    def free(cls, backbone: Backbone) -> TrainingView:
        """Nothing is shown."""
        n = len(backbone)
        return cls(backbone, np.full(n, UNKNOWN), np.zeros(n, bool))


def draw_view(
    backbone: Backbone,
    structure: NDArray[np.int_],
    rng: np.random.Generator,
    shown_structure: float,
    shown_motif: float,
) -> TrainingView:
    """A view of a backbone whose secondary structure is known; at least a fifth is never in a motif."""
    view = TrainingView.free(backbone)
    if rng.random() < shown_structure:
        shown = structure.copy()
        if rng.random() < 0.5:
            shown[~stretches(len(backbone), rng, 1 + len(backbone) // 16)] = UNKNOWN
        view = replace(view, structure=shown)
    if rng.random() < shown_motif:
        motif = stretches(len(backbone), rng, int(rng.integers(1, 4)))
        if motif.mean() <= 0.8:
            view = replace(view, motif=motif)
    return view


def stretches(length: int, rng: np.random.Generator, count: int) -> NDArray[np.bool_]:
    """Up to so many runs of 4 residues to a third of the chain."""
    chosen = np.zeros(length, bool)
    for _ in range(count):
        run = int(rng.integers(4, max(length // 3, 5)))
        start = int(rng.integers(0, max(length - run, 0) + 1))
        chosen[start : start + run] = True
    return chosen
