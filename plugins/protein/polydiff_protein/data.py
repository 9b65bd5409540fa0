"""Backbones to learn from: folders of structures, and the arrays of a .npz file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from polydiff.dataset import DataReport, Dataset, Item, checked, labelled_files
from polydiff.errors import UsageError, did_you_mean
from polydiff.support.archives import read_npz
from polydiff_protein import files
from polydiff_protein.secondary import fractions, secondary_structure
from polydiff_protein.structure import Backbone

SPLITS = {"train": (0,), "validation": (1,), "test": (2,), "all": (0, 1, 2)}
_NEEDED = ("coords", "offsets")
_PIECE = "piece"  # in an entry's `how`: a window that was cut out of a longer chain
_AUTOMATIC = "auto"  # and here by a program, where a domain ends


def read_dataset(
    folder: str | Path,
    pattern: str | None = None,
    *,
    split: str = "train",
    shortest: int = 4,
    longest: int = 1024,
    whole: bool = False,
) -> Dataset:
    """Backbones with the fractions of their secondary structure.

    Args:
        folder: a folder of .pdb and .cif files (each chain is an example), or a .npz file with `coords`
            (residues, 4, 3) of floats in Å, or of integers in hundredths, and `offsets` (entries + 1);
            optionally `aa` with `alphabet`, `ids`, `how` with `how_names`, and `split` (0 train, 1
            validation, 2 test).
        pattern: names of files, such as "{family}_{number}".
        split: "train", "validation", "test" or "all", of a .npz file that has a split.
        shortest, longest: residues; what is outside is left out.
        whole: only whole chains and domains that experts have cut, of a .npz file that says so.

    What cannot be read is skipped and named in the report. Raises UsageError where nothing is left.
    """
    path = Path(folder)
    if split not in SPLITS:
        raise UsageError(
            f"There is no split {split!r}.{did_you_mean(split, SPLITS)} Give {', '.join(SPLITS)}."
        )
    if path.suffix == ".npz":
        found = _read_arrays(path, split, whole)
    else:
        found = _single_chains(
            checked(labelled_files(path, (*files.SUFFIXES, files.COMPRESSED), None, pattern), files.read)
        )
    kept = [item for item in found if shortest <= len(item.load()) <= longest]
    if not kept:
        raise UsageError(f"{path}: none of {len(found)} backbones has {shortest} to {longest} residues.")
    lengths = sorted(len(item.load()) for item in kept)
    middle = lengths[len(lengths) // 2]
    details = {"residues": f"{lengths[0]} to {lengths[-1]}, half of them {middle} or more"}
    return Dataset(kept, DataReport(len(kept), found.report.skipped, details))


def labels_of(backbone: Backbone) -> dict[str, Any]:
    """Shares of helix, strand and loop."""
    return {k: round(v, 4) for k, v in fractions(secondary_structure(backbone))._asdict().items()}


def _single_chains(found: Dataset) -> Dataset:
    """Each chain of each file by itself."""
    items = []
    for item in found:
        backbone = item.load()
        for chain in backbone.chain_ids:
            rows = [i for i, name in enumerate(backbone.chains) if name == chain]
            alone = backbone.select(rows)
            labels = {**item.conditions, **labels_of(alone)}
            source = item.source if len(backbone.chain_ids) == 1 else f"{item.source} chain {chain}"
            items.append(Item(partial(_same, alone), labels, source, item.record))
    return Dataset(items, found.report)


def _read_arrays(path: Path, split: str, whole: bool) -> Dataset:
    arrays = read_npz(path)
    missing = [name for name in _NEEDED if name not in arrays]
    if missing or arrays["coords"].shape[1:] != (4, 3):
        raise UsageError(f"{path}: needs arrays `coords` (residues, 4, 3) and `offsets` (entries + 1).")
    unit = 0.01 if arrays["coords"].dtype.kind == "i" else 1.0
    chosen = list(range(len(arrays["offsets"]) - 1))
    if "split" in arrays:
        chosen = np.flatnonzero(np.isin(arrays["split"], SPLITS[split])).tolist()
    items, skipped = [], []
    for i in chosen:
        if whole and not _is_whole(arrays, i):
            continue
        source = f"{path}[{i}] {arrays['ids'][i] if 'ids' in arrays else ''}".strip()
        try:
            backbone = _entry(arrays, i, unit)
            labels = labels_of(backbone)
        except UsageError as error:
            skipped.append((source, str(error)))
            continue
        record = {"held_out": True} if "split" in arrays and arrays["split"][i] != 0 else {}
        items.append(Item(partial(_same, backbone), labels, source, record))
    if not items:
        raise UsageError(f"{path}: no usable backbone of the split {split!r} in it.")
    return Dataset(items, DataReport(len(items), tuple(skipped)))


def _entry(arrays: dict[str, Any], i: int, unit: float) -> Backbone:
    rows = slice(int(arrays["offsets"][i]), int(arrays["offsets"][i + 1]))
    sequence = ""
    if "aa" in arrays and "alphabet" in arrays:
        letters = arrays["alphabet"]
        sequence = "".join(str(letters[k]) if k < len(letters) else "X" for k in arrays["aa"][rows])
    name = str(arrays["ids"][i]) if "ids" in arrays else ""
    return Backbone(arrays["coords"][rows].astype(np.float32) * np.float32(unit), sequence, name=name)


def _is_whole(arrays: dict[str, Any], i: int) -> bool:
    how = str(arrays["how_names"][arrays["how"][i]]) if "how" in arrays else ""
    return _PIECE not in how and _AUTOMATIC not in how


def _same(backbone: Backbone) -> Backbone:
    return backbone
