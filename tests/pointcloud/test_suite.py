"""The conformance suite, on real shapes."""

from __future__ import annotations

import pytest

from polydiff.dataset import Dataset
from polydiff.testing import DomainSuite
from polydiff_pointcloud.domain import PointClouds

from .conftest import DATA, SMALL


@pytest.mark.slow
class TestPointClouds(DomainSuite):
    domain = "pointcloud"
    region = "x>0.1"
    config = {  # noqa: RUF012
        **SMALL,
        "network": {"points": 32, "latents": 64, "count": 8, "rounds": 2, "depth": 1, "heads": 2},
    }
    overfit_steps = 150  # points of a surface are told apart slowly

    def dataset(self) -> Dataset:
        return PointClouds.dataset(DATA)
