"""Real backbones."""

from __future__ import annotations

from pathlib import Path

import pytest

from polydiff_protein.files import read
from polydiff_protein.structure import Backbone

DATA = Path(__file__).parent / "data"
FILES = ("1shg.pdb", "1ig5.cif", "1igd.pdb", "1orc.cif", "1ten.cif.gz")
REAL = {name[:4]: DATA / name for name in FILES}
"""Files of real domains by their entries; see data/README.md."""


@pytest.fixture(scope="session")
def real() -> dict[str, Backbone]:
    return {name: read(path) for name, path in REAL.items()}


@pytest.fixture(scope="session")
def igd(real) -> Backbone:
    """Protein G's domain: a helix on four strands."""
    return real["1igd"]
