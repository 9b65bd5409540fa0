"""Backbone: where N, CA, C and O of every residue lie, and what is known of the residues."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polydiff.errors import UsageError
from polydiff.file_domain import FileExample
from polydiff_protein.geometry import bonded

Floats = NDArray[np.float32]

ATOMS = ("N", "CA", "C", "O")
LETTERS = "ACDEFGHIKLMNPQRSTVWY"
UNKNOWN = "X"


class Atom(NamedTuple):
    """A heavy atom of a side chain; xyz in Å."""

    name: str
    element: str
    xyz: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Backbone(FileExample):
    """The backbone of one or more protein chains. Immutable; equal when every residue is equal.

    coords: float32 (residues, 4, 3) in Å, the atoms N, CA, C and O. sequence: a letter a residue, X where it
    is unknown [all X]. chains: the chain of each residue [all "A"]. numbers: its number there [1, 2, ... in
    each chain]. insertions: its insertion code [""]. scores: float32 (residues,), 0 to 100, what goes into
    the B-factor: confidence, or a mark of the region that was made [0]. side_chains: further heavy atoms of
    some residues by their index. name: a title. notes: what was converted on the way in. provenance: lines
    that files carry as remarks. Name, notes and provenance do not count when two are compared.

    Raises UsageError for fields that do not fit each other, for no residues, for NaN or infinite coordinates
    and for two residues of one chain with the same number and insertion code.

    >>> backbone = Backbone(np.zeros((3, 4, 3)), chains="AAB")
    >>> len(backbone), backbone.sequence, backbone.numbers.tolist()
    (3, 'XXX', [1, 2, 1])
    """

    domain: ClassVar[str] = "polydiff_protein.domain:Proteins"
    coords: Floats
    sequence: str = ""
    chains: tuple[str, ...] = ()
    numbers: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    insertions: tuple[str, ...] = ()
    scores: Floats = field(default_factory=lambda: np.zeros(0, np.float32))
    side_chains: Mapping[int, tuple[Atom, ...]] = field(default_factory=dict)
    name: str = ""
    notes: tuple[str, ...] = ()
    provenance: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        coords = _fixed(self.coords, np.float32)
        if coords.ndim != 3 or coords.shape[1:] != (len(ATOMS), 3):
            raise UsageError(f"A backbone needs coordinates of shape (residues, 4, 3), not {coords.shape}.")
        count = len(coords)
        if not count:
            raise UsageError("A backbone needs at least one residue; there is none.")
        bad = int((~np.isfinite(coords).all((1, 2))).sum())
        if bad:
            raise UsageError(f"{bad} of {count} residues have NaN or infinite coordinates.")
        chains = tuple(self.chains) or ("A",) * count
        given: dict[str, Any] = {
            "sequence": "".join(self.sequence) or UNKNOWN * count,
            "chains": chains,
            "numbers": _fixed(self.numbers if len(self.numbers) else _counted(chains), np.int64),
            "insertions": tuple(self.insertions) or ("",) * count,
            "scores": _fixed(self.scores if len(self.scores) else np.zeros(count), np.float32),
        }
        for name, value in given.items():
            if len(value) != count:
                raise UsageError(f"There are {len(value)} {name} for {count} residues.")
        self._check(**given)
        sides = {int(i): tuple(Atom(*atom) for atom in atoms) for i, atoms in self.side_chains.items()}
        _check_side_chains(sides, count)
        lines = {name: tuple(_one_line(x) for x in getattr(self, name)) for name in ("notes", "provenance")}
        values = {"coords": coords, **given, "side_chains": sides, "name": _one_line(self.name), **lines}
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @staticmethod
    def _check(
        sequence: str, chains: Sequence[str], numbers: Any, insertions: Sequence[str], scores: Floats
    ) -> None:
        unknown = sorted(set(sequence) - set(LETTERS + UNKNOWN))
        if unknown:
            raise UsageError(f"The sequence has {unknown[0]!r}; residues are {LETTERS}, and X for unknown.")
        if not all(name and name.isprintable() and " " not in name for name in chains):
            raise UsageError("A chain's id needs at least one character, none of them a space.")
        if not all(len(code) <= 1 for code in insertions):
            raise UsageError("An insertion code is one letter, or nothing.")
        if not ((scores >= 0) & (scores <= 100)).all():
            raise UsageError("Scores of residues lie between 0 and 100.")
        seen: set[tuple[str, int, str]] = set()
        for place in zip(chains, numbers.tolist(), insertions, strict=True):
            if place in seen:
                raise UsageError(f"Residue {place[0]}{place[1]}{place[2]} is there twice.")
            seen.add(place)

    def __len__(self) -> int:
        return len(self.coords)

    @property
    def ca(self) -> Floats:
        """(residues, 3): the places of the Cα atoms."""
        return self.coords[:, 1]

    @property
    def chain_ids(self) -> tuple[str, ...]:
        """The chains, in the order in which they begin."""
        return tuple(dict.fromkeys(self.chains))

    @property
    def linked(self) -> NDArray[np.bool_]:
        """(residues - 1,): whether a residue and the next are of one chain and C is bonded to N."""
        same = np.array([a == b for a, b in pairwise(self.chains)], bool)
        return same & bonded(self.coords)

    @property
    def chain_breaks(self) -> tuple[int, ...]:
        """The residues after which the chain goes on without a bond."""
        linked = self.linked
        return tuple(i for i, (a, b) in enumerate(pairwise(self.chains)) if a == b and not linked[i])

    @property
    def pieces(self) -> tuple[slice, ...]:
        """The stretches of residues that hang together, in order."""
        ends = [*(np.flatnonzero(~self.linked) + 1).tolist(), len(self)]
        return tuple(slice(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True))

    def labels(self) -> Iterator[str]:
        """The residues as contigs name them: A52, A52A."""
        for chain, number, code in zip(self.chains, self.numbers, self.insertions, strict=True):
            yield f"{chain}{number}{code}"

    def select(self, which: Any) -> Backbone:
        """The residues chosen as numpy chooses rows, with all that is known of them."""
        rows = np.arange(len(self))[which].reshape(-1).tolist()
        return replace(
            self,
            coords=self.coords[rows],
            sequence="".join(self.sequence[i] for i in rows),
            chains=tuple(self.chains[i] for i in rows),
            numbers=self.numbers[rows],
            insertions=tuple(self.insertions[i] for i in rows),
            scores=self.scores[rows],
            side_chains={k: self.side_chains[i] for k, i in enumerate(rows) if i in self.side_chains},
        )

    def __getitem__(self, which: Any) -> Backbone:
        return self.select(which)

    def moved(self, rotation: Any, translation: Any = (0.0, 0.0, 0.0)) -> Backbone:
        """Every atom x at rotation @ x + translation (3, 3), (3,); side chains go along."""
        turn, shift = np.asarray(rotation, np.float64), np.asarray(translation, np.float64)

        def at(points: Any) -> NDArray[np.float64]:
            return np.asarray(points, np.float64) @ turn.T + shift

        sides = {
            i: tuple(atom._replace(xyz=tuple(at(atom.xyz).tolist())) for atom in atoms)
            for i, atoms in self.side_chains.items()
        }
        return replace(self, coords=at(self.coords).astype(np.float32), side_chains=sides)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Backbone):
            return NotImplemented
        return (
            self._words() == other._words()
            and np.array_equal(self.coords, other.coords)
            and np.array_equal(self.numbers, other.numbers)
            and np.array_equal(self.scores, other.scores)
        )

    def __hash__(self) -> int:
        return hash(self.coords.tobytes())

    def __repr__(self) -> str:
        return f"Backbone({len(self)} residues, chains {' '.join(self.chain_ids)})"

    def _words(self) -> tuple[Any, ...]:
        return self.sequence, self.chains, self.insertions, self.side_chains


def _counted(chains: Sequence[str]) -> list[int]:
    """1, 2, ... in each chain."""
    counts: dict[str, int] = {}
    numbers = []
    for chain in chains:
        counts[chain] = counts.get(chain, 0) + 1
        numbers.append(counts[chain])
    return numbers


def _check_side_chains(sides: Mapping[int, tuple[Atom, ...]], count: int) -> None:
    for index, atoms in sides.items():
        if not 0 <= index < count:
            raise UsageError(f"There is a side chain for residue {index} of {count} residues.")
        if not all(len(atom.xyz) == 3 and np.isfinite(atom.xyz).all() for atom in atoms):
            raise UsageError(f"The side chain of residue {index} has NaN or infinite coordinates.")


def _one_line(text: str) -> str:
    return " ".join(str(text).split())


def _fixed(array: Any, kind: type) -> NDArray[Any]:
    """A copy that cannot be written to; a tensor of torch is taken without importing torch here."""
    if hasattr(array, "detach"):
        array = array.detach().cpu().numpy()
    fixed: NDArray[Any] = np.array(array, dtype=kind)
    fixed.setflags(write=False)
    return fixed
