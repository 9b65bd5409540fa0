"""Structures as programs write them: names of force fields, absent columns, numbers in letters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from polydiff_protein import files
from polydiff_protein.structure import Backbone


@pytest.fixture
def lines(tmp_path: Path) -> list[str]:
    """Six alanines of a helix, as atom lines of a PDB file."""
    turn = np.deg2rad(100) * np.arange(6)[:, None] + np.deg2rad([-28.0, 0.0, 26.0, 30.0])
    radius, rise = np.array([1.55, 2.29, 1.69, 2.0]), np.array([-0.9, 0.0, 1.1, 2.3])
    height = 1.5 * np.arange(6)[:, None] + rise
    coords = np.stack([radius * np.cos(turn), radius * np.sin(turn), height], -1).astype(np.float32)
    files.write(Backbone(coords, "A" * 6, ("A",) * 6), tmp_path / "helix.pdb")
    return [x for x in (tmp_path / "helix.pdb").read_text().splitlines() if x.startswith("ATOM")]


def _read(path: Path, lines: list[str]) -> Backbone:
    path.write_text("\n".join([*lines, "END", ""]))
    return files.read(path)


@pytest.mark.parametrize(
    ("name", "letter"),
    [("HSD", "H"), ("HSE", "H"), ("HSP", "H"), ("HID", "H"), ("HIE", "H"), ("HIP", "H"), ("GLH", "E"),
     ("ASH", "D"), ("CYX", "C"), ("CYM", "C"), ("LYN", "K")],
)  # fmt: skip
def test_names_of_force_fields(tmp_path: Path, lines: list[str], name: str, letter: str) -> None:
    changed = [x[:17] + name + x[20:] if int(x[22:26]) == 3 else x for x in lines]
    assert _read(tmp_path / "in.pdb", changed).sequence == f"AA{letter}AAA"


@pytest.mark.parametrize("number", ["A000", "****"])
def test_waters_with_numbers_in_letters(tmp_path: Path, lines: list[str], number: str) -> None:
    water = "HETATM 9000  O   HOH W" + number + "      50.000   0.000   0.000  1.00  0.00           O"
    assert _read(tmp_path / "in.pdb", [*lines, water]).sequence == "A" * 6


def test_one_conformer_a_residue(tmp_path: Path, lines: list[str]) -> None:
    mixed = []
    for x in lines:
        if int(x[22:26]) != 3:
            mixed.append(x)
            continue
        first = 0.6 if x[12:16].strip() in ("N", "C", "O") else 0.45
        mixed.append(f"{x[:16]}A{x[17:54]}{first:6.2f}{x[60:]}")
        mixed.append(f"{x[:16]}B{x[17:30]}{float(x[30:38]) + 1.5:8.3f}{x[38:54]}{1 - first:6.2f}{x[60:]}")
    got, whole = _read(tmp_path / "in.pdb", mixed), _read(tmp_path / "whole.pdb", lines)
    np.testing.assert_allclose(got.coords, whole.coords, atol=1e-3)


def test_an_unnamed_chain_beside_a_is_another(tmp_path: Path, lines: list[str]) -> None:
    unnamed = [x[:21] + " " + x[22:30] + f"{float(x[30:38]) + 40:8.3f}" + x[38:] for x in lines]
    assert sorted(set(_read(tmp_path / "in.pdb", unnamed + lines).chains)) == ["A", "B"]


def test_byte_order_marks_and_carriage_returns(tmp_path: Path, lines: list[str]) -> None:
    (tmp_path / "in.pdb").write_bytes(b"\xef\xbb\xbf" + "\r".join([*lines, "END"]).encode())
    assert files.read(tmp_path / "in.pdb").sequence == "A" * 6


def test_mmcif_without_the_columns_that_are_optional(tmp_path: Path, lines: list[str]) -> None:
    columns = [
        "group_PDB",
        "id",
        "type_symbol",
        "label_atom_id",
        "label_comp_id",
        "label_asym_id",
        "label_seq_id",
        "Cartn_x",
        "Cartn_y",
        "Cartn_z",
        "auth_seq_id",
        "auth_asym_id",
        "pdbx_PDB_model_num",
    ]
    rows = [
        f"ATOM {i} {x[76:78].strip()} {x[12:16].strip()} ALA A {int(x[22:26])} {x[30:54]} {int(x[22:26])} A 1"
        for i, x in enumerate(lines, 1)
    ]
    head = ["data_x", "#", "loop_", *(f"_atom_site.{name}" for name in columns)]
    (tmp_path / "in.cif").write_text("\n".join([*head, *rows, "#", ""]))
    assert files.read(tmp_path / "in.cif").sequence == "A" * 6
