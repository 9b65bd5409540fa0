"""The columns of the component "context": what the network is shown of each residue."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

ATOMS = 3  # N, CA, C
STRUCTURE = 4  # one-hot of loop, helix, strand, and whether it is given
CONTEXT = 2 + STRUCTURE + 1 + 3 * ATOMS
"""How many columns there are."""


class Context(NamedTuple):
    """What is shown of residues (...): of one design (N,), of a batch (B, N).

    place: (...) along the chain, one more than the residue before where the two are bonded. chain: (...)
    which one, from 0. structure: (..., STRUCTURE). motif: (...) 1 where the residue belongs to a motif, else
    0. atoms: (..., ATOMS, 3) where the motif's atoms lie, anywhere and turned in any way; 0 outside it.

    >>> shown = Context.unpack(torch.arange(2.0 * CONTEXT).reshape(2, CONTEXT))
    >>> shown.place.tolist(), shown.motif.tolist(), shown.atoms.shape
    ([0.0, 16.0], [6.0, 22.0], torch.Size([2, 3, 3]))
    >>> bool((shown.pack() == torch.arange(2.0 * CONTEXT).reshape(2, CONTEXT)).all())
    True
    """

    place: Tensor
    chain: Tensor
    structure: Tensor
    motif: Tensor
    atoms: Tensor

    def pack(self) -> Tensor:
        """(..., CONTEXT) float32."""
        place, chain, motif = (x[..., None] for x in (self.place, self.chain, self.motif))
        columns = (place, chain, self.structure, motif, self.atoms.flatten(-2))
        return torch.cat([column.float() for column in columns], dim=-1)

    @classmethod
    def unpack(cls, packed: Tensor) -> Context:
        """The columns of (..., CONTEXT), as views where that is possible."""
        place, chain, structure, motif, atoms = packed.split([1, 1, STRUCTURE, 1, 3 * ATOMS], dim=-1)
        return cls(place[..., 0], chain[..., 0], structure, motif[..., 0], atoms.unflatten(-1, (ATOMS, 3)))
