"""Structures in and out: every failure is one line, every finished file is whole."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

from polydiff.errors import UsageError, did_you_mean
from polydiff.support.archives import gunzip
from polydiff.support.files import atomic_write
from polydiff_protein.reading import from_mmcif, from_pdb
from polydiff_protein.structure import Backbone
from polydiff_protein.writing import GLYCINE, mmcif_text, pdb_text

SUFFIXES = (".pdb", ".cif", ".ent", ".mmcif")
"""What is read and written; `.gz` may follow each."""

COMPRESSED = ".gz"
READ = (*SUFFIXES, COMPRESSED)
_PDB = (".pdb", ".ent")


def read(path: str | os.PathLike[str]) -> Backbone:
    """Read the protein in a PDB or mmCIF file, plain or gz.

    Of several models the first is taken, of alternate locations the most occupied; waters, ligands and
    nucleic acids are passed over; residues without N, CA or C are left out and a missing O is placed in its
    plane; modified residues become their parents. Author chains and numbers are kept, B-factors become
    scores, and each change is one of the notes. Raises UsageError, one line, for a missing, empty, broken or
    cut file, for one without a protein backbone, and for NaN coordinates.
    """
    path = Path(path)
    suffix = kind(path)
    text = _text(path)
    try:
        return from_pdb(text, path) if suffix in _PDB else from_mmcif(text, path)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def kind(path: str | os.PathLike[str]) -> str:
    """The suffix of a structure file, that of compression left out. Raises UsageError for any other file.

    >>> kind("1abc.cif.gz")
    '.cif'
    """
    path = Path(path)
    inner = Path(path.stem) if path.suffix.lower() == COMPRESSED else path
    suffix = inner.suffix.lower()
    if suffix not in SUFFIXES:
        hint = did_you_mean(suffix, SUFFIXES)
        raise UsageError(f"{path}: structures are {' '.join(SUFFIXES)}, each also with {COMPRESSED}.{hint}")
    return suffix


def _text(path: Path) -> str:
    if not path.is_file():
        raise UsageError(f"{path}: does not exist.")
    data = gunzip(path) if path.suffix.lower() == COMPRESSED else path.read_bytes()
    if not data.strip():
        raise UsageError(f"{path}: is empty ({len(data)} bytes of text); copy it again.")
    if b"\0" in data:
        raise UsageError(f"{path}: is binary data, not the text of a structure.")
    return data.decode("utf-8-sig", "replace").replace("\r\n", "\n").replace("\r", "\n")


def write(backbone: Backbone, path: str | os.PathLike[str]) -> list[str]:
    """Write a PDB or mmCIF file by its suffix, compressed where that is .gz; returns notes.

    Both hold the same digits: coordinates to 0.001 Å, scores to 0.01 as B-factors. Unknown residues are
    written as glycines and a remark says so, by which `read` knows them again. Raises UsageError where a PDB
    file has no room for the structure, and PolydiffError where the disk refuses.
    """
    path = Path(path)
    try:
        text = pdb_text(backbone) if kind(path) in _PDB else mmcif_text(backbone)
    except UsageError as error:
        line = str(error)
        raise UsageError(line if line.startswith(str(path)) else f"{path}: {line}") from None
    data = text.encode("utf-8")
    if path.suffix.lower() == COMPRESSED:
        data = gzip.compress(data, mtime=0)
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
    unknown = backbone.sequence.count("X")
    return [f"{unknown} residues of unknown type written as {GLYCINE}"] if unknown else []
