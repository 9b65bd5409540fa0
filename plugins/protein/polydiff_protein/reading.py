"""What a protein backbone is made of in the atoms of a PDB or mmCIF file, as biopython finds them."""

from __future__ import annotations

import io
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from Bio.Data.PDBData import nucleic_letters_3to1_extended, protein_letters_3to1_extended
from Bio.PDB.ic_data import residue_atom_bond_state
from Bio.PDB.MMCIF2Dict import MMCIF2Dict
from Bio.PDB.MMCIFParser import MMCIFParser
from Bio.PDB.PDBParser import PDBParser

from polydiff.errors import UsageError
from polydiff_protein.geometry import bonded, ideal_o
from polydiff_protein.structure import ATOMS, UNKNOWN, Atom, Backbone
from polydiff_protein.writing import GLYCINE, MARK, parse_remarks, pdb_words

_NUCLEIC = {name.strip() for name in nucleic_letters_3to1_extended}
_LETTERS = {name.strip(): letter for name, letter in protein_letters_3to1_extended.items()}
# states of protonation and of bonds, as CHARMM and Amber name them; elsewhere HSE is homoserine
_LETTERS |= dict.fromkeys(("HSD", "HSE", "HSP", "HID", "HIE", "HIP"), "H")
_LETTERS |= {"GLH": "E", "ASH": "D", "CYX": "C", "CYM": "C", "LYN": "K", "ARN": "R"}
_WATERS = {"HOH", "WAT", "DOD", "TIP", "TIP3", "SOL"}
_OPTIONAL = {"B_iso_or_equiv": "0.00", "occupancy": "1.00", "pdbx_PDB_ins_code": "?", "label_alt_id": "."}
_STANDARD = {
    "ALA", "ARG", "ASN", "ASP", "CYS", "GLN", "GLU", "GLY", "HIS", "ILE", "LEU", "LYS", "MET", "PHE", "PRO",
    "SER", "THR", "TRP", "TYR", "VAL",
}  # fmt: skip
_NEEDED = ATOMS[:3]
_REMARKS = "_database_PDB_remark.text"


def from_pdb(text: str, path: Path) -> Backbone:
    """The protein in the text of a PDB file. Raises UsageError without the path."""
    structure, faults = _parsed(PDBParser(PERMISSIVE=True), _without_odd_waters(text), "PDB")
    return _backbone(structure, faults, pdb_words(text), path)


def from_mmcif(text: str, path: Path) -> Backbone:
    """The protein in the text of an mmCIF file. Raises UsageError without the path."""
    structure, faults = _parsed(_Parser(), text, "mmCIF")
    header = structure.header
    said = MMCIF2Dict(io.StringIO(text)) if _REMARKS in text and MARK in text else {}
    lines = [" ".join(line.split()) for remark in said.get(_REMARKS, []) for line in remark.splitlines()]
    lines = [line for line in lines if line]
    return _backbone(structure, faults, (header["idcode"], header["name"], lines), path)


class _Parser(MMCIFParser):
    """biopython's, with the columns that the format leaves to the writer."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def _build_structure(self, structure_id: str) -> None:
        atoms = self._mmcif_dict.get("_atom_site.id", [])
        for name, value in _OPTIONAL.items():
            self._mmcif_dict.setdefault(f"_atom_site.{name}", [value] * len(atoms))
        super()._build_structure(structure_id)  # type: ignore[no-untyped-call]


def _without_odd_waters(text: str) -> str:
    """Waters beyond 9999 have numbers in letters or stars, which biopython does not take."""
    return "\n".join(line for line in text.split("\n") if not _odd_water(line))


def _odd_water(line: str) -> bool:
    if not line.startswith(("HETATM", "ATOM  ", "ANISOU")) or line[17:21].strip() not in _WATERS:
        return False
    return not line[22:26].strip().lstrip("-").isdigit()


def _parsed(parser: Any, text: str, title: str) -> tuple[Any, list[str]]:
    """The structure, and what biopython had to leave out of it."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            structure = parser.get_structure("structure", io.StringIO(text))
    except IndexError as error:
        raise UsageError(
            f"this {title} file is cut short: the last atoms lack values; copy it again."
        ) from error
    except KeyError as error:
        missing = str(error).strip("'\"")
        raise UsageError(
            f"this {title} file has no {missing}: it is cut short or holds no structure; copy it again."
        ) from error
    except Exception as error:  # the parsers raise whatever a broken file leads to
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UsageError(f"is no readable {title} file ({lines[0].strip(' .')[:120]}).") from error
    messages = (str(warning.message) for warning in caught)
    faults = [x.splitlines()[0].partition(": ")[2] for x in messages if "Exception ignored" in x]
    return structure, faults


@dataclass
class _Residue:
    """A residue with at least N, CA and C, still on its way into a Backbone."""

    label: str
    chain: str
    number: int
    insertion: str
    name: str
    hetero: bool
    atoms: dict[str, Any]

    @property
    def letter(self) -> str:
        return _LETTERS.get(self.name, UNKNOWN)

    def coords(self) -> Any:
        """(4, 3): nan where there is no O."""
        nowhere = np.full(3, np.nan, np.float32)
        return np.stack([self.atoms[x].coord if x in self.atoms else nowhere for x in ATOMS])

    def side_chain(self) -> tuple[Atom, ...]:
        """The heavy atoms that its letter has; the selenium of selenomethionine is its sulphur."""
        own = {"CB", *residue_atom_bond_state.get(self.letter, {})} if self.letter not in "GX" else set()
        found = []
        for name, atom in self.atoms.items():
            renamed, element = ("SD", "S") if (self.name, name) == ("MSE", "SE") else (name, atom.element)
            if renamed in own:
                found.append(Atom(renamed, element, tuple(atom.coord.tolist())))
        return tuple(found)


@dataclass
class _Found:
    """What was come upon on the way through a model."""

    residues: list[_Residue] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)
    alternates: list[str] = field(default_factory=list)
    only_ca: int = 0
    nucleic: int = 0
    skipped: Counter[str] = field(default_factory=Counter)


def _backbone(structure: Any, faults: list[str], words: tuple[str, str, list[str]], path: Path) -> Backbone:
    models = list(structure)
    if not models:
        raise UsageError("holds no atoms.")
    found = _Found()
    taken = {chain.id.strip() for chain in models[0]}
    free = next((name for name in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if name not in taken), "_")
    for chain in models[0]:
        name = chain.id.strip() or free  # old files leave the only chain without a name
        residues = [kept for residue in chain if (kept := _residue(residue, name, found))]
        found.residues += _in_chain(residues, found)
    if not found.residues:
        raise UsageError(_why_nothing(found))
    residues = found.residues
    coords = np.stack([residue.coords() for residue in residues])
    sides = {i: side for i, residue in enumerate(residues) if (side := residue.side_chain())}
    for i, residue in enumerate(residues):
        if np.isnan(coords[i, :3]).any() or ("O" in residue.atoms and np.isnan(coords[i, 3]).any()):
            raise UsageError(f"residue {residue.label} has NaN coordinates.")
    without = [i for i, residue in enumerate(residues) if "O" not in residue.atoms]
    if without:
        same = np.array([a.chain == b.chain for a, b in pairwise(residues)], bool)
        coords[without] = _with_o(coords, same)[without]
    scores = np.array([residue.atoms["CA"].bfactor for residue in residues], np.float32)
    identity, title, lines = words
    ours = parse_remarks(lines)
    provenance, known = ours or ((), None)
    letters = [
        UNKNOWN if known is not None and r.name == GLYCINE and r.label not in known else r.letter
        for r in residues
    ]
    return Backbone(
        coords,
        "".join(letters),
        tuple(residue.chain for residue in residues),
        np.array([residue.number for residue in residues]),
        tuple(residue.insertion for residue in residues),
        np.clip(scores, 0, 100),
        sides,
        title if ours else identity or title or path.name.partition(".")[0],
        tuple(_notes(found, len(models), without, scores, faults)),
        provenance,
    )


def _with_o(coords: Any, same: Any) -> Any:
    placed = coords.copy()
    placed[:, 3] = ideal_o(coords[:, :3], same & bonded(coords))
    return placed


def _residue(residue: Any, chain: str, found: _Found) -> _Residue | None:
    """The residue where it may be one of a protein; else what it was is counted."""
    hetero, number, code = residue.id
    if hetero == "W":
        found.skipped["water"] += 1
        return None
    label = f"{chain}{number}{code.strip()}"
    if residue.is_disordered() == 2:  # several residues share the place
        residue = max(residue.child_dict.values(), key=_occupancy)
        found.alternates.append(label)
    elif any(atom.is_disordered() for atom in residue):
        _select_conformer(residue)
        found.alternates.append(label)
    name = residue.get_resname().strip()
    atoms = {atom.get_id(): atom for atom in residue if atom.element not in ("H", "D")}
    missing = [atom for atom in _NEEDED if atom not in atoms]
    protein = name in _LETTERS or (not hetero.strip() and name not in _NUCLEIC)
    if not missing:
        return _Residue(label, chain, number, code.strip(), name, bool(hetero.strip()), atoms)
    if protein:
        found.incomplete.append(label)
        found.only_ca += missing == ["N", "C"]
    elif name in _NUCLEIC:
        found.nucleic += 1
    else:
        found.skipped[name] += 1
    return None


def _select_conformer(residue: Any) -> None:
    """One conformer for all atoms of a residue, the most occupied: a mixture of two is none."""
    split = [atom for atom in residue if atom.is_disordered() == 2]
    sums: defaultdict[str, float] = defaultdict(float)
    for atom in split:
        for name in atom.disordered_get_id_list():
            sums[name] += atom.disordered_get(name).get_occupancy() or 0.0
    if not sums:
        return
    best = min(sums, key=lambda name: (-round(sums[name], 6), name))
    for atom in split:
        if atom.disordered_has_id(best):
            atom.disordered_select(best)


def _occupancy(residue: Any) -> float:
    return max((atom.get_occupancy() or 0.0 for atom in residue), default=0.0)


def _in_chain(residues: list[_Residue], found: _Found) -> list[_Residue]:
    """Those that are of the chain: of HETATM records those that are bonded to a neighbour, since free amino
    acids, which are ligands, have the same atoms."""
    if not residues:
        return []
    joined = bonded(np.stack([residue.coords() for residue in residues]))
    before, after = np.append(False, joined), np.append(joined, False)
    kept = []
    for i, residue in enumerate(residues):
        if residue.hetero and not (before[i] or after[i]):
            found.skipped[residue.name] += 1
        else:
            kept.append(residue)
    return kept


def _why_nothing(found: _Found) -> str:
    if found.only_ca:
        return f"its {found.only_ca} residues have no N and C (Cα atoms only): the whole backbone is needed."
    if found.incomplete:
        return f"none of its {len(found.incomplete)} residues has all of N, CA and C."
    if found.nucleic:
        return f"holds nucleic acid ({found.nucleic} residues) and no protein."
    return "holds no protein" + (f", only {_listed(list(found.skipped))}." if found.skipped else ".")


def _notes(found: _Found, models: int, without: list[int], scores: Any, faults: list[str]) -> list[str]:
    notes = []
    if models > 1:
        notes.append(f"the first of {models} models taken")
    if found.alternates:
        notes.append(f"the most occupied of alternate locations taken in {_listed(found.alternates)}")
    if found.incomplete:
        notes.append(f"left out for missing N, CA or C: {_listed(found.incomplete)}")
    if without:
        notes.append(f"O placed where it was missing: {_listed([found.residues[i].label for i in without])}")
    changed = [r for r in found.residues if r.name not in _STANDARD]
    pairs = [f"{r.label} {r.name} as {r.letter}" for r in changed]
    if pairs:
        notes.append(f"non-standard residues: {_listed(pairs)}")
    if found.nucleic:
        notes.append(f"{found.nucleic} nucleotides left out")
    others = [name for name in found.skipped if name != "water"]
    if others:
        notes.append(f"ligands left out: {_listed(others)}")
    if (scores < 0).any() or (scores > 100).any():
        notes.append("B-factors beyond 0 to 100 brought into it")
    if faults:
        notes.append(f"faults of the file passed over: {_listed(faults, 1)}")
    return notes


def _listed(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
