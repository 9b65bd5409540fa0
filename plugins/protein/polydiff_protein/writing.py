"""The text of PDB and mmCIF files, from the same rows of digits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from Bio.Data.PDBData import protein_letters_1to3

from polydiff.errors import UsageError
from polydiff_protein.structure import ATOMS, UNKNOWN, Atom, Backbone

GLYCINE = "GLY"
MARK = "polydiff"
"""Heads the remarks that are ours."""

UNDESIGNED = "GLY stands for an undesigned residue"
_BUT = ", but for "
_REMARK = 99
_MORE_CHAINS, _MORE_ATOMS = 62, 99_999


class AtomLine(NamedTuple):
    """An atom as files write it. `place`: where its residue stands in its chain, from 1."""

    name: str
    element: str
    residue: str
    chain: str
    number: int
    insertion: str
    place: int
    xyz: tuple[str, str, str]
    score: str


def rows(backbone: Backbone) -> Iterator[AtomLine]:
    """The atoms, chain by chain."""
    for chain in backbone.chain_ids:
        members = [i for i, name in enumerate(backbone.chains) if name == chain]
        for place, i in enumerate(members, start=1):
            main = zip(ATOMS, backbone.coords[i].tolist(), strict=True)
            atoms = [Atom(name, name[0], tuple(xyz)) for name, xyz in main]
            for atom in (*atoms, *backbone.side_chains.get(i, ())):
                x, y, z = (_digits(value) for value in atom.xyz)
                yield AtomLine(
                    atom.name, atom.element, _residue(backbone.sequence[i]), chain,
                    int(backbone.numbers[i]), backbone.insertions[i], place, (x, y, z),
                    f"{float(backbone.scores[i]):.2f}",
                )  # fmt: skip


def remarks(backbone: Backbone) -> list[str]:
    """The provenance, headed by our mark, and which GLY stand for unknown residues."""
    lines = [MARK, *backbone.provenance]
    if UNKNOWN in backbone.sequence:
        known = [x for x, letter in zip(backbone.labels(), backbone.sequence, strict=True) if letter == "G"]
        lines.append(UNDESIGNED + (_BUT + " ".join(known) if known else "") + ".")
    return lines


def parse_remarks(lines: Sequence[str]) -> tuple[tuple[str, ...], frozenset[str] | None] | None:
    """Provenance, and the residues that are glycines indeed where the others are unknown (None where all
    are). None for remarks that are not ours."""
    if MARK not in lines:
        return None
    ours = lines[lines.index(MARK) + 1 :]
    said = [line for line in ours if line.startswith(UNDESIGNED)]
    provenance = tuple(line for line in ours if line not in said)
    if not said:
        return provenance, None
    return provenance, frozenset(said[0].removesuffix(".").partition(_BUT)[2].split())


def _digits(value: float) -> str:
    text = f"{value:.3f}"
    return "0.000" if text == "-0.000" else text


def _residue(letter: str) -> str:
    return GLYCINE if letter == UNKNOWN else protein_letters_1to3[letter].strip().upper()


# --- PDB ------------------------------------------------------------------------------------------------


def pdb_text(backbone: Backbone) -> str:
    """A PDB file. Raises UsageError where the structure does not fit its columns."""
    _check_room(backbone)
    lines = ["HEADER    DE NOVO PROTEIN                         01-JAN-00"]
    first, *more = [backbone.name[:70], *_cut(backbone.name[70:], 69)]
    lines += [f"TITLE     {first}"] if first else []
    lines += [f"TITLE   {number:2d} {part}" for number, part in enumerate(more, start=2)]
    for line in remarks(backbone):
        lines += [f"REMARK {_REMARK:3d} {'+' if k else ' '}{part}" for k, part in enumerate(_cut(line, 68))]
    lines.append("CRYST1    1.000    1.000    1.000  90.00  90.00  90.00 P 1           1")
    serial, last = 0, None
    for row in rows(backbone):
        if last and last.chain != row.chain:
            serial += 1
            lines.append(_ter(serial, last))
        serial, last = serial + 1, row
        x, y, z = row.xyz
        name = row.name if len(row.element) > 1 or len(row.name) > 3 else f" {row.name}"
        lines.append(
            f"ATOM  {serial:5d} {name:<4} {row.residue:>3} {row.chain}{row.number:4d}{row.insertion:1}   "
            f"{x:>8}{y:>8}{z:>8}  1.00{row.score:>6}          {row.element.upper():>2}"
        )
    assert last is not None
    lines += [_ter(serial + 1, last), "END"]
    return "".join(f"{line.rstrip():<80}\n" for line in lines)


def pdb_words(text: str) -> tuple[str, str, list[str]]:
    """The id, the title and our remarks of a PDB file."""
    identity, title = "", ""
    found: list[str] = []
    for line in text.splitlines():
        line = line.ljust(80)
        if line.startswith("HEADER"):
            identity = line[62:66].strip()
        elif line.startswith("TITLE "):
            title += line[11:80] if title else line[10:80]
        elif line.startswith(f"REMARK {_REMARK:3d} "):
            if line[11] == "+" and found:
                found[-1] += line[12:80]
            else:
                found.append(line[12:80])
        elif line.startswith("ATOM"):
            break
    return identity, " ".join(title.split()), [" ".join(line.split()) for line in found]


def _ter(serial: int, row: AtomLine) -> str:
    return f"TER   {serial:5d}      {row.residue:>3} {row.chain}{row.number:4d}{row.insertion:1}"


def _cut(text: str, width: int) -> list[str]:
    """Pieces of `width` characters; spaces at their ends count, so that they can be put together again."""
    return [text[start : start + width] for start in range(0, len(text), width)]


def _check_room(backbone: Backbone) -> None:
    chains, way_out = backbone.chain_ids, "Write .cif instead."
    long = [name for name in chains if len(name) > 1]
    if long:
        raise UsageError(f"a PDB file has one character for a chain, and there is {long[0]}. {way_out}")
    if len(chains) > _MORE_CHAINS:
        raise UsageError(f"a PDB file holds {_MORE_CHAINS} chains, and there are {len(chains)}. {way_out}")
    low, high = int(backbone.numbers.min()), int(backbone.numbers.max())
    if low < -999 or high > 9999:
        worst = high if high > 9999 else low
        raise UsageError(f"a PDB file numbers residues from -999 to 9999, and there is {worst}. {way_out}")
    count = len(ATOMS) * len(backbone) + sum(map(len, backbone.side_chains.values())) + len(chains)
    if count > _MORE_ATOMS:
        raise UsageError(f"a PDB file holds {_MORE_ATOMS:,} atoms, and there are {count:,}. {way_out}")
    wide = [value for row in rows(backbone) for value in row.xyz if len(value) > 8]
    if wide:
        raise UsageError(
            f"a PDB file holds coordinates from -999.999 to 9999.999 Å, and there is {wide[0]}. {way_out}"
        )


# --- mmCIF ----------------------------------------------------------------------------------------------

_ATOM_SITE = (
    "group_PDB", "id", "type_symbol", "label_atom_id", "label_alt_id", "label_comp_id", "label_asym_id",
    "label_entity_id", "label_seq_id", "pdbx_PDB_ins_code", "Cartn_x", "Cartn_y", "Cartn_z", "occupancy",
    "B_iso_or_equiv", "auth_seq_id", "auth_comp_id", "auth_asym_id", "auth_atom_id", "pdbx_PDB_model_num",
)  # fmt: skip
_SCHEME = (
    "asym_id", "entity_id", "seq_id", "mon_id", "ndb_seq_num", "pdb_seq_num", "auth_seq_num", "pdb_mon_id",
    "auth_mon_id", "pdb_strand_id", "pdb_ins_code", "hetero",
)  # fmt: skip


def mmcif_text(backbone: Backbone) -> str:
    """An mmCIF file; chains and numbers are the author's, and `label_seq_id` counts from 1."""
    entry = re.sub(r"[^\w.-]+", "_", backbone.name, flags=re.ASCII).strip("_") or "design"
    entities = {chain: str(k) for k, chain in enumerate(backbone.chain_ids, start=1)}
    atoms = list(rows(backbone))
    first = {(row.chain, row.place): row for row in reversed(atoms)}
    residues = sorted(first.values(), key=lambda row: (int(entities[row.chain]), row.place))
    said = "".join(f"\n {line}" for line in remarks(backbone))  # the space keeps a semicolon from the margin
    parts = [
        f"data_{entry}\n#\n_entry.id {_quoted(entry)}\n#\n",
        f"_struct.entry_id {_quoted(entry)}\n_struct.title {_quoted(backbone.name)}\n#\n",
        f"_database_PDB_remark.id {_REMARK}\n_database_PDB_remark.text\n;{said}\n;\n#\n",
        _loop("entity", ("id", "type"), ((number, "polymer") for number in entities.values())),
        _loop(
            "entity_poly",
            ("entity_id", "type", "pdbx_strand_id"),
            ((number, "polypeptide(L)", chain) for chain, number in entities.items()),
        ),
        _loop(
            "entity_poly_seq",
            ("entity_id", "num", "mon_id", "hetero"),
            ((entities[row.chain], str(row.place), row.residue, "n") for row in residues),
        ),
        _loop("struct_asym", ("id", "entity_id"), entities.items()),
        _loop("pdbx_poly_seq_scheme", _SCHEME, (_scheme(row, entities[row.chain]) for row in residues)),
        _loop("atom_site", _ATOM_SITE, (_site(k, x, entities[x.chain]) for k, x in enumerate(atoms, 1))),
    ]
    return "".join(parts)


def _scheme(row: AtomLine, entity: str) -> tuple[str, ...]:
    number = str(row.number)
    return (
        row.chain, entity, str(row.place), row.residue, str(row.place), number, number, row.residue,
        row.residue, row.chain, row.insertion or ".", "n",
    )  # fmt: skip


def _site(serial: int, row: AtomLine, entity: str) -> tuple[str, ...]:
    return (
        "ATOM", str(serial), row.element.upper(), row.name, ".", row.residue, row.chain, entity,
        str(row.place), row.insertion or "?", *row.xyz, "1.00", row.score, str(row.number), row.residue,
        row.chain, row.name, "1",
    )  # fmt: skip


def _loop(category: str, names: Sequence[str], table: Iterable[Sequence[str]]) -> str:
    head = "".join(f"_{category}.{name}\n" for name in names)
    body = "".join(" ".join(map(_quoted, line)) + "\n" for line in table)
    return f"loop_\n{head}{body}#\n"


_PLAIN = re.compile(r"""[^\s_#$'"\[\];][^\s]*""")
_RESERVED = re.compile(r"(data_|save_|loop_|stop_|global_).*", re.IGNORECASE)


def _quoted(value: str) -> str:
    """A value as the syntax of CIF 1.1 wants it."""
    if not value:
        return "?"
    if _PLAIN.fullmatch(value) and not _RESERVED.fullmatch(value):
        return value
    for quote in "'\"":
        if not re.search(rf"{quote}\s|{quote}$", value):
            return f"{quote}{value}{quote}"
    return f"\n;{value}\n;\n"
