"""The conformance suite, on real backbones."""

from __future__ import annotations

import pytest

from polydiff.dataset import Dataset
from polydiff.testing import DomainSuite
from polydiff_protein.domain import Proteins

from .conftest import ARRAYS, SMALL


@pytest.mark.slow
class TestProteins(DomainSuite):
    domain = "protein"
    region = "A10-25"
    config = SMALL
    overfit_steps = 60

    def dataset(self) -> Dataset:
        return Proteins.dataset(ARRAYS)
