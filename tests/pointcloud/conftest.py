"""Real shapes, and a small domain of theirs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from polydiff.dataset import Dataset
from polydiff.domain import SampleRequest
from polydiff.model import Model
from polydiff_pointcloud.cloud import PointCloud
from polydiff_pointcloud.config import PointCloudOptions
from polydiff_pointcloud.domain import PointClouds

DATA = Path(__file__).parent / "data" / "shapes.npz"
SMALL = {
    "network": {"points": 16, "latents": 32, "count": 8, "rounds": 1, "depth": 1, "heads": 2},
    "points": 256,
    "lesson_points": 256,
}


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    return PointClouds.dataset(DATA)


@pytest.fixture(scope="session")
def shapes(dataset) -> list[PointCloud]:
    return dataset.examples()


@pytest.fixture(scope="session")
def domain(dataset) -> PointClouds:
    return PointClouds(PointClouds.configure(dataset, SMALL))


@pytest.fixture(scope="session")
def model(domain) -> Model:
    """A small network of random weights that still gives points within the cube."""
    torch.manual_seed(0)
    network = domain.network()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return Model.create(domain, network)


@pytest.fixture
def coloured() -> PointCloud:
    """Fifty points far from the origin with normals and colours of their own."""
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(50, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    points = rng.normal(size=(50, 3)) * 1e-3 + 5
    return PointCloud(points, normals, rng.integers(0, 256, (50, 3)), "m", "chair")


def request_of(**fields) -> SampleRequest:
    """A request; the options are given by name among the fields."""
    options = {name: fields.pop(name) for name in list(fields) if name in PointCloudOptions.model_fields}
    return SampleRequest(options=PointCloudOptions(**options), **fields)
