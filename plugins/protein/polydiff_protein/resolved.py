"""What a request for a design comes to: which residues of which chains, and which are the source's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polydiff.domain import SampleRequest
from polydiff.errors import UsageError
from polydiff_protein import contigs
from polydiff_protein.config import FEWEST, MOST_RESIDUES, ProteinConfig, ProteinOptions, length_range
from polydiff_protein.structure import Backbone
from polydiff_protein.symmetry import rotations
from polydiff_protein.training_view import LETTERS, UNKNOWN

NEW = -1


@dataclass(frozen=True, eq=False)
class ResolvedRequest:
    """A design of n residues.

    places: int (n,), the residue of the source that stands there, or NEW. kept: bool (n,), whether its atoms
    stay as they are. chains: the chain of each residue. numbers: int (n,), its number there. along: int (n,),
    its place along the chain, one more than the residue before where the two are bonded. structure: int
    (n,), what is asked for: an index into LETTERS, or UNKNOWN. copies: (k, 3, 3), the rotations that make the
    assembly. contig: what was drawn, in the notation of contigs, where there were any.
    """

    places: NDArray[np.int_]
    kept: NDArray[np.bool_]
    chains: tuple[str, ...]
    numbers: NDArray[np.int_]
    along: NDArray[np.int_]
    structure: NDArray[np.int_]
    copies: NDArray[np.float32]
    contig: str = ""

    def __len__(self) -> int:
        return len(self.places)


def resolve(request: SampleRequest, config: ProteinConfig) -> ResolvedRequest:
    """Raises UsageError in one line for what does not go together or cannot be."""
    options: ProteinOptions = request.options
    copies = rotations(options.symmetry)
    if options.contigs is not None:
        places, kept, chains, numbers, contig = _by_contigs(request)
        along = numbers
    elif request.source is not None:
        places, kept, chains, numbers = _of_source(request)
        along, contig = along_chains(request.source), ""
    else:
        length = _drawn_length(options, config, request.seed)
        places, kept = np.full(length, NEW), np.zeros(length, bool)
        chains, numbers, contig = ("A",) * length, np.arange(1, length + 1), ""
        along = numbers
    total = len(places) * len(copies)
    if len(places) < FEWEST or total > MOST_RESIDUES:
        raise UsageError(
            f"The design has {total} residues; a chain has at least {FEWEST}, and all together "
            f"at most {MOST_RESIDUES}."
        )
    if len(copies) > 1 and request.source is not None:
        raise UsageError("symmetry makes new assemblies: leave the source out, or the symmetry.")
    structure = _structure(options.structure, len(places))
    return ResolvedRequest(places, kept, chains, numbers, along, structure, copies, contig)


def along_chains(backbone: Backbone) -> NDArray[np.int_]:
    """Places along the chains from 1: the next for a residue that is bonded to the one before, further on by
    what the numbering leaves out (two at least) after a gap."""
    along = np.ones(len(backbone), int)
    for i, linked in enumerate(backbone.linked):
        if linked:
            along[i + 1] = along[i] + 1
        elif backbone.chains[i] == backbone.chains[i + 1]:
            along[i + 1] = along[i] + max(int(backbone.numbers[i + 1] - backbone.numbers[i]), 2)
    return along


def _drawn_length(options: ProteinOptions, config: ProteinConfig, seed: int) -> int:
    if options.length is None:
        return len(options.structure) if options.structure else config.length
    low, high = length_range(options.length)
    return int(np.random.default_rng(seed).integers(low, high + 1))


def _by_contigs(
    request: SampleRequest,
) -> tuple[NDArray[np.int_], NDArray[np.bool_], tuple[str, ...], NDArray[np.int_], str]:
    if request.keep is not None or request.redo is not None:
        raise UsageError("Contigs say what is kept: leave keep and redo out.")
    if request.target is not None:
        raise UsageError("Contigs say nothing about an interpolation: leave them out.")
    options, source = request.options, request.source
    span = length_range(options.length) if options.length else None
    layout = contigs.resolve(options.contigs, source, span, request.seed)
    if source is not None and not layout.fixed.any():
        raise UsageError("The contigs take nothing from the source: leave it out, or name what is kept.")
    if layout.fixed.all():
        raise UsageError("The contigs leave nothing to be made: add new residues, such as /10-20.")
    return layout.source, layout.fixed, layout.chains, layout.numbers, layout.text


def _of_source(
    request: SampleRequest,
) -> tuple[NDArray[np.int_], NDArray[np.bool_], tuple[str, ...], NDArray[np.int_]]:
    source = request.source
    if request.options.length is not None:
        low, high = length_range(request.options.length)
        if not low <= len(source) <= high:
            raise UsageError(
                f"The source has {len(source)} residues and {request.options.length} are asked for: "
                "leave the length out, or say with contigs what comes between which parts."
            )
    kept = np.zeros(len(source), bool)
    if request.keep is not None or request.redo is not None:
        kept = contigs.region(request.keep or request.redo or "", source)
        kept = kept if request.keep is not None else ~kept
        if kept.all() or not kept.any():
            what = "Everything" if kept.all() else "Nothing"
            raise UsageError(f"{what} of the source's {len(source)} residues is kept: name some, not all.")
    return np.arange(len(source)), kept, source.chains, np.asarray(source.numbers)


def _structure(text: str | None, length: int) -> NDArray[np.int_]:
    if text is None:
        return np.full(length, UNKNOWN)
    if len(text) != length:
        raise UsageError(
            f"The secondary structure has {len(text)} letters and the design {length} residues: write one "
            "letter a residue, - for any."
        )
    return np.array([UNKNOWN if letter == "-" else LETTERS.index(letter) for letter in text])


def assembly_chains(chains: tuple[str, ...], copies: int) -> tuple[str, ...]:
    """The chain of each residue of an assembly; copies get the letters that follow.

    >>> assembly_chains(("A", "A"), 2)
    ('A', 'A', 'B', 'B')
    """
    names = list(dict.fromkeys(chains))
    if copies == 1:
        return chains
    order = [names.index(name) for name in chains]
    return tuple(contigs.chain_id(copy * len(names) + k) for copy in range(copies) for k in order)
