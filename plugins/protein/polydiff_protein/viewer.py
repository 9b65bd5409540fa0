"""A page that shows backbones and lets them be turned, in one file that needs nothing from anywhere.

It holds 3Dmol.js (Rego and Koes 2015, Bioinformatics 31, 1322), whose licence lies beside it in `3dmol/`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files

from polydiff.errors import UsageError
from polydiff_protein.structure import Backbone
from polydiff_protein.writing import mmcif_text, pdb_text


def page(backbones: Sequence[Backbone], titles: Sequence[str]) -> str:
    """An HTML page of backbones under their titles; side chains are sticks, and colours tell position, score
    or chain."""
    ours = files("polydiff_protein")
    structures = [_entry(x, title) for x, title in zip(backbones, titles, strict=True)]
    parts = {
        "structures": json.dumps(structures).replace("<", "\\u003c"),
        "library": (ours / "3dmol" / "3Dmol-min.js").read_text(encoding="utf-8"),
    }
    text = (ours / "viewer.html").read_text(encoding="utf-8")
    for name, part in parts.items():
        text = text.replace(f"<!-- {name} -->", part)
    return text


def _entry(backbone: Backbone, title: str) -> dict[str, str]:
    try:
        form, text = "pdb", pdb_text(backbone)
    except UsageError:  # too large for that
        form, text = "cif", mmcif_text(backbone)
    about = f"{len(backbone)} residues, chain {', '.join(backbone.chain_ids)}"
    return {"title": title, "about": about, "format": form, "text": text}
