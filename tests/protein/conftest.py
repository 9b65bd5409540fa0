"""Real backbones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from polydiff.dataset import Dataset
from polydiff.domain import SampleRequest
from polydiff.model import Model
from polydiff_protein.config import ProteinOptions
from polydiff_protein.domain import Proteins
from polydiff_protein.files import read
from polydiff_protein.structure import Backbone

DATA = Path(__file__).parent / "data"
FILES = ("1shg.pdb", "1ig5.cif", "1igd.pdb", "1orc.cif", "1ten.cif.gz")
REAL = {name[:4]: DATA / name for name in FILES}
"""Files of real domains by their entries; see data/README.md."""
ARRAYS = DATA / "domains.npz"
SMALL = {"network": {"width": 32, "vectors": 8, "depth": 2, "heads": 2, "pairs": 8}, "length": 20}


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    return Proteins.dataset(ARRAYS)


@pytest.fixture(scope="session")
def domain(dataset) -> Proteins:
    return Proteins(Proteins.configure(dataset, SMALL))


@pytest.fixture(scope="session")
def model(domain) -> Model:
    """A small network of random weights."""
    torch.manual_seed(0)
    network = domain.network()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return Model.create(domain, network)


def request_of(**fields) -> SampleRequest:
    """A request; the options are given by name among the fields."""
    options = {name: fields.pop(name) for name in list(fields) if name in ProteinOptions.model_fields}
    return SampleRequest(options=ProteinOptions(**options), **fields)


@pytest.fixture(scope="session")
def real() -> dict[str, Backbone]:
    return {name: read(path) for name, path in REAL.items()}


@pytest.fixture(scope="session")
def igd(real) -> Backbone:
    """Protein G's domain: a helix on four strands."""
    return real["1igd"]
