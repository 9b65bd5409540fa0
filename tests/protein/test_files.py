"""Structures in files: exact round trips, what real files bring along, and one line for what is broken."""

from __future__ import annotations

import contextlib
import gzip
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from Bio.PDB import MMCIFParser, PDBParser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polydiff.errors import UsageError
from polydiff_protein import files
from polydiff_protein.structure import LETTERS, Atom, Backbone

from .conftest import REAL

ENDINGS = (*files.SUFFIXES, *(f"{suffix}.gz" for suffix in files.SUFFIXES))


@st.composite
def backbones(draw) -> Backbone:
    chains = draw(st.lists(st.sampled_from("ABz0"), min_size=1, max_size=3, unique=True))
    sizes = [draw(st.integers(1, 4)) for _ in chains]
    n = sum(sizes)
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    numbers = np.concatenate([draw(st.integers(-900, 9000)) + np.arange(size) for size in sizes])
    sequence = "".join(draw(st.sampled_from(LETTERS + "XG")) for _ in range(n))
    sides = {
        i: (Atom("CB", "C", tuple(np.round(rng.normal(size=3) * 20, 3).astype(np.float32).tolist())),)
        for i in range(n)
        if sequence[i] not in "GX"
    }
    word = st.text("abcXYZ 0123é'\"#;_-", max_size=150)
    return Backbone(
        np.round(rng.uniform(-900, 900) + rng.normal(size=(n, 4, 3)) * 30, 3),
        sequence,
        tuple(chain for chain, size in zip(chains, sizes, strict=True) for _ in range(size)),
        numbers,
        tuple(draw(st.sampled_from(["", "A"])) for _ in range(n)),
        np.round(rng.uniform(0, 100, n), 2),
        sides,
        draw(word),
        provenance=tuple(x for x in draw(st.lists(word, max_size=3)) if x.split()),
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(backbones(), st.sampled_from(ENDINGS))
def test_every_digit_and_word_survives(tmp_path, backbone, ending):
    path = tmp_path / f"design{ending}"
    files.write(backbone, path)
    found = files.read(path)
    assert found == backbone
    assert (found.name, found.provenance) == (backbone.name, backbone.provenance)
    text = path.read_bytes()
    files.write(found, path)
    assert path.read_bytes() == text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
@given(backbones())
def test_pdb_and_mmcif_agree_to_the_last_digit(tmp_path, backbone):
    files.write(backbone, tmp_path / "x.pdb")
    files.write(backbone, tmp_path / "x.cif")
    a, b = (
        [
            (*x.get_full_id()[2:], x.get_parent().resname, x.coord.tolist(), x.bfactor, x.element)
            for x in parser.get_structure("x", tmp_path / name).get_atoms()
        ]
        for parser, name in ((PDBParser(QUIET=True), "x.pdb"), (MMCIFParser(QUIET=True), "x.cif"))
    )
    assert a == b
    lines = (tmp_path / "x.pdb").read_text().splitlines()
    digits = [[line[k : k + 8].strip() for k in (30, 38, 46)] for line in lines if line[:4] == "ATOM"]
    rows = [line.split() for line in (tmp_path / "x.cif").read_text().splitlines() if line[:5] == "ATOM "]
    assert digits == [row[10:13] for row in rows]


def test_a_pdb_file_is_what_its_readers_want(real, tmp_path):
    two = replace(real["1shg"], chains="A" * 30 + "B" * 27, numbers=(), provenance=("seed 7",), name="")
    files.write(two, tmp_path / "two.pdb")
    lines = (tmp_path / "two.pdb").read_text().splitlines()
    assert {len(line) for line in lines} == {80}
    kinds = [line[:6].strip() for line in lines]
    assert (kinds[0], kinds[-1], kinds.count("TER"), kinds.count("CRYST1")) == ("HEADER", "END", 2, 1)
    assert "REMARK  99  seed 7" in {line.rstrip() for line in lines}
    serials = [int(line[6:11]) for line in lines if line[:4].strip() in ("ATOM", "TER")]
    assert serials == list(range(1, 231))


def test_unknown_residues_are_glycines_that_are_told_apart(real, tmp_path):
    mixed = replace(real["1shg"], sequence="XXG" + real["1shg"].sequence[3:])
    for name in ("x.pdb", "x.cif"):
        assert files.write(mixed, tmp_path / name) == ["2 residues of unknown type written as GLY"]
        assert "GLY stands for an undesigned residue, but for A3" in (tmp_path / name).read_text()
        assert files.read(tmp_path / name) == mixed
    assert files.write(real["1shg"], tmp_path / "x.pdb") == []
    assert "GLY stands" not in (tmp_path / "x.pdb").read_text()


def test_compressed_files_are_the_same_every_time(igd, tmp_path):
    files.write(igd, tmp_path / "a.pdb.gz")
    first = (tmp_path / "a.pdb.gz").read_bytes()
    files.write(igd, tmp_path / "a.pdb.gz")
    assert (tmp_path / "a.pdb.gz").read_bytes() == first
    assert first[4:8] == b"\0\0\0\0"  # no time
    files.write(igd, tmp_path / "a.pdb")
    assert gzip.decompress(first) == (tmp_path / "a.pdb").read_bytes()


# --- what real files bring along ------------------------------------------------------------------------


class Writer:
    """Atoms of chains along straight lines, 3.8 Å a residue, as PDB or mmCIF text."""

    def __init__(self) -> None:
        self.atoms: list[tuple] = []

    def residue(
        self, name, number, names="N CA C O", het=False, chain="A", code="", alt="", occ=1.0, at=None
    ):
        place = number if at is None else at
        for k, atom in enumerate(names.split()):
            xyz = (3.8 * place + 1.25 * k, 0.1 * k, {"A": 0.0, "B": 30.0}[chain] + (1.0 if alt == "B" else 0))
            self.atoms.append((het, atom, alt, name, chain, number, code, xyz, occ))
        return self

    def pdb(self, models: int = 1) -> str:
        serial, body = count(1), []
        for model in range(models):
            body.append(f"MODEL     {model + 1:4d}\n" if models > 1 else "")
            for het, atom, alt, name, chain, number, code, (x, y, z), occ in self.atoms:
                body.append(
                    f"{'HETATM' if het else 'ATOM':6}{next(serial):5d}  {atom:<3}{alt:1}{name:>3} "
                    f"{chain}{number:4d}{code:1}   {x + model:8.3f}{y:8.3f}{z:8.3f}"
                    f"{occ:6.2f}{20:6.2f}          {atom[0]:>2}\n"
                )
            body.append("ENDMDL\n" if models > 1 else "")
        return "".join(body)

    def cif(self) -> str:
        names = (
            "group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id label_seq_id",
            "pdbx_PDB_ins_code Cartn_x Cartn_y Cartn_z occupancy B_iso_or_equiv auth_seq_id auth_asym_id",
            "pdbx_PDB_model_num",
        )
        rows = [
            f"{'HETATM' if het else 'ATOM'} {k} {atom[0]} {atom} {alt or '.'} {name} Z {k} {code or '?'} "
            f"{x:.3f} {y:.3f} {z:.3f} {occ} 20.0 {number} {chain} 1"
            for k, (het, atom, alt, name, chain, number, code, (x, y, z), occ) in enumerate(self.atoms, 1)
        ]
        head = "".join(f"_atom_site.{name}\n" for name in " ".join(names).split())
        return "data_1ABC\n_struct.entry_id 1ABC\nloop_\n" + head + "\n".join(rows) + "\n#\n"


def _read(tmp_path: Path, text: str, suffix: str) -> Backbone:
    path = tmp_path / f"1abc{suffix}"
    path.write_text(text)
    return files.read(path)


@pytest.fixture(params=[".pdb", ".cif"])
def read(request, tmp_path):
    def reader(writer: Writer) -> Backbone:
        return _read(tmp_path, writer.pdb() if request.param == ".pdb" else writer.cif(), request.param)

    return reader


def test_chains_numbers_and_insertion_codes_are_the_author_s(read):
    source = Writer()
    for k, (number, code) in enumerate([(52, ""), (52, "A"), (52, "B"), (53, "")]):
        source.residue("ALA", number, "N CA C O CB", code=code, at=k)
    source.residue("SER", 7, "N CA C O CB OG OXT HA", chain="B")
    found = read(source)
    assert list(found.labels()) == ["A52", "A52A", "A52B", "A53", "B7"]
    assert found.sequence == "AAAAS"
    assert [atom.name for atom in found.side_chains[4]] == ["CB", "OG"]
    assert found.scores.tolist() == [20.0] * 5
    assert found.notes == ()


def test_the_most_occupied_of_alternate_locations_is_taken(read):
    source = Writer().residue("ALA", 1)
    for alt, occ in (("A", 0.4), ("B", 0.6)):
        source.residue("SER", 2, alt=alt, occ=occ)
    found = read(source.residue("GLY", 3))
    assert found.coords[1, 0, 2] == 1.0  # B
    assert found.notes == ("the most occupied of alternate locations taken in A2",)


def test_of_two_residues_in_one_place_the_most_occupied_is_taken(read):
    source = Writer().residue("ALA", 1)
    for alt, name, occ in (("A", "SER", 0.7), ("B", "THR", 0.3)):
        source.residue(name, 2, alt=alt, occ=occ)
    found = read(source)
    assert found.sequence == "AS"
    assert "alternate locations taken in A2" in found.notes[0]


def test_modified_residues_become_their_parents(read):
    source = Writer().residue("ALA", 1).residue("MSE", 2, "N CA C O CB CG SE CE", het=True)
    source.residue("SEP", 3, "N CA C O CB OG P O1P", het=True).residue("UNK", 4)
    found = read(source)
    assert found.sequence == "AMSX"
    assert [atom[:2] for atom in found.side_chains[1]] == [("CB", "C"), ("CG", "C"), ("SD", "S"), ("CE", "C")]
    assert [atom.name for atom in found.side_chains[2]] == ["CB", "OG"]
    assert found.notes == ("non-standard residues: A2 MSE as M, A3 SEP as S, A4 UNK as X",)


def test_what_is_no_protein_is_passed_over(read):
    source = Writer().residue("ALA", 1).residue("GLY", 2)
    source.residue("HOH", 201, "O", het=True).residue("HEM", 202, "FE NA", het=True)
    source.residue("GLY", 203, het=True)  # free glycine: a ligand with all atoms of a residue
    source.residue("DA", 301, "P C1 N9", chain="B")
    found = read(source)
    assert (len(found), found.chain_ids) == (2, ("A",))
    assert found.notes == ("1 nucleotides left out", "ligands left out: HEM, GLY")


def test_missing_atoms_are_said(read):
    source = Writer().residue("ALA", 1).residue("ALA", 2, "N CA C").residue("ALA", 3, "N CA")
    source.residue("ALA", 4)
    found = read(source)
    assert found.numbers.tolist() == [1, 2, 4]
    assert found.notes == ("left out for missing N, CA or C: A3", "O placed where it was missing: A2")
    assert np.linalg.norm(found.coords[1, 3] - found.coords[1, 2]) == pytest.approx(1.231, abs=1e-3)
    assert found.chain_breaks == (1,)


def test_the_first_of_several_models_is_taken(tmp_path):
    found = _read(tmp_path, Writer().residue("ALA", 1).pdb(models=3), ".pdb")
    assert found.notes == ("the first of 3 models taken",)
    assert found.coords[0, 0, 0] == np.float32(3.8)


def test_a_chain_without_a_name_is_called_a(tmp_path):
    text = Writer().residue("ALA", 1).pdb()
    assert _read(tmp_path, text.replace(" ALA A", " ALA  "), ".pdb").chains == ("A",)


def test_names_come_from_the_entry_or_the_file(tmp_path):
    head = f"{'HEADER    TOXIN':62}1ABC\n"
    text = Writer().residue("ALA", 1).pdb()
    assert _read(tmp_path, head + "TITLE     A TOXIN\n" + text, ".pdb").name == "1ABC"
    assert _read(tmp_path, text, ".pdb").name == "1abc"
    assert _read(tmp_path, Writer().residue("ALA", 1).cif(), ".cif").name == "1ABC"


# --- what is broken -------------------------------------------------------------------------------------

_PDB = REAL["1shg"].read_text()
_CIF = REAL["1ig5"].read_text()
_DNA = Writer().residue("DA", 1, "P C1 N9").residue("DC", 2, "P C1 N1")
_WATER = Writer().residue("HOH", 1, "O", het=True)
_CA = Writer().residue("ALA", 1, "CA").residue("ALA", 2, "CA")


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("empty.pdb", b"", "is empty"),
        ("blank.cif", b"\n \n", "is empty"),
        ("remarks.pdb", b"REMARK nothing\nEND\n", "holds no atoms"),
        ("junk.pdb", bytes(range(256)), "is binary data"),
        ("junk.cif.gz", b"no gzip", "no gzip file"),
        ("cut.cif.gz", gzip.compress(_CIF.encode())[:900], "no gzip file, or not a whole one"),
        ("text.pdb", b"hello there\n" * 9, "holds no atoms"),
        ("text.cif", b"hello there\n" * 9, "no readable mmCIF file"),
        ("dna.pdb", _DNA.pdb().encode(), "holds nucleic acid (2 residues) and no protein"),
        ("dna.cif", _DNA.cif().encode(), "holds nucleic acid (2 residues) and no protein"),
        ("ca.pdb", _CA.pdb().encode(), "its 2 residues have no N and C (Cα atoms only)"),
        ("ca.cif", _CA.cif().encode(), "its 2 residues have no N and C (Cα atoms only)"),
        ("water.pdb", _WATER.pdb().encode(), "holds no protein, only water."),
        ("nan.pdb", _PDB.replace("   6.420", "     nan", 1).encode(), "residue A1 has NaN coordinates"),
        ("nan.cif", _CIF.replace(" -12.700 ", " nan ", 1).encode(), "residue A1 has NaN coordinates"),
        ("word.pdb", _PDB.replace("   6.420", "   6.x20", 1).encode(), "no readable PDB file"),
        ("cut.pdb", _PDB[: _PDB.index("ATOM     33") + 36].encode(), "no readable PDB file"),
        ("cut.cif", _CIF[: _CIF.index("ATOM 90 ") + 40].encode(), "cut short"),
        ("headless.cif", _CIF[: _CIF.index("_atom_site")].encode(), "has no _atom_site"),
        ("rowless.cif", _CIF[: _CIF.index("ATOM 1 ")].encode(), "holds no atoms"),
        ("structure.pdbx", b"x", "structures are .pdb"),
        ("cloud.ply.gz", b"x", "structures are .pdb"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, name: str, content: bytes, line: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        files.read(path)
    assert line in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_wherever_a_file_is_cut_nothing_but_a_usage_error_comes(tmp_path):
    for suffix, text in ((".pdb", _PDB), (".cif", _CIF)):
        for end in range(1, len(text), len(text) // 60):
            with contextlib.suppress(UsageError):
                assert 0 < len(_read(tmp_path, text[:end], suffix)) < 76


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        files.read(tmp_path / "no.pdb")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"chains": ("AA",) * 57}, "one character for a chain, and there is AA"),
        ({"numbers": np.arange(57) + 9990}, "from -999 to 9999, and there is 10046"),
        ({"numbers": np.arange(57) - 1500}, "from -999 to 9999, and there is -1500"),
        ({"coords": np.full((57, 4, 3), 10000.0)}, "and there is 10000.000"),
        ({"coords": np.full((57, 4, 3), -1000.0)}, "and there is -1000.000"),
    ],
)
def test_what_a_pdb_file_has_no_room_for_goes_into_mmcif(real, tmp_path, change, line):
    big = replace(real["1shg"], **change)
    with pytest.raises(UsageError) as caught:
        files.write(big, tmp_path / "big.pdb")
    assert line in str(caught.value)
    assert str(caught.value).endswith("Write .cif instead.")
    assert not list(tmp_path.iterdir())
    files.write(big, tmp_path / "big.cif")
    assert files.read(tmp_path / "big.cif") == big


def test_a_pdb_file_counts_its_atoms_and_chains(tmp_path):
    many = Backbone(np.zeros((25000, 4, 3)), chains=tuple("ABC"[i // 9000] for i in range(25000)))
    with pytest.raises(UsageError, match="99,999 atoms, and there are 100,003"):
        files.write(many, tmp_path / "x.pdb")
    ids = tuple(chr(i) for i in range(0x100, 0x100 + 70))
    with pytest.raises(UsageError, match="62 chains, and there are 70"):
        files.write(Backbone(np.zeros((70, 4, 3)), chains=ids), tmp_path / "x.pdb")
