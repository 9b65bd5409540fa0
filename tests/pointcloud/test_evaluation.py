"""Distances against closed forms and exhaustive search; figures that tell shapes from noise, and copies."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polydiff.dataset import Dataset, Item
from polydiff_pointcloud import distances, metrics
from polydiff_pointcloud.cloud import PointCloud
from polydiff_pointcloud.domain import PointClouds
from polydiff_pointcloud.evaluation import nearest_training
from polydiff_pointcloud.judge import KIND

from .conftest import DATA


def clouds(count: int, points: int, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).normal(size=(count, points, 3)))


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_chamfer_is_its_definition(n, m, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n, 3)), rng.normal(size=(m, 3))
    squares = ((a[:, None] - b[None]) ** 2).sum(-1)
    assert distances.chamfer(a, b) == pytest.approx(squares.min(1).mean() + squares.min(0).mean())
    assert distances.chamfer(a, a) == 0


@given(st.integers(1, 6), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_earth_mover_is_the_best_of_all_pairings(n, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n, 3)), rng.normal(size=(n, 3))
    best = min(
        np.linalg.norm(a - b[list(order)], axis=1).mean() for order in itertools.permutations(range(n))
    )
    assert distances.earth_mover(a, b) == pytest.approx(best)


def test_the_approximation_comes_near_from_above():
    for seed in range(3):
        a, b = (torch.tensor(x, dtype=torch.float32)[None] for x in clouds(2, 256, seed))
        exact = distances.earth_mover(a[0].numpy(), b[0].numpy())
        near = float(distances.approximate_earth_mover(a, b))
        assert exact * 0.995 < near < exact * 1.1
    with pytest.raises(ValueError, match="as many points"):
        distances.earth_mover(np.zeros((2, 3)), np.zeros((3, 3)))


def test_matrices_are_their_pairs_whatever_the_way_there():
    a, b = clouds(3, 40), clouds(2, 40, 1)
    found = distances.chamfer_matrix(a, b)
    assert np.allclose(found, [[distances.chamfer(x, y) for y in b] for x in a])
    assert np.allclose(found, distances.chamfer_matrix(a, b, device="cpu:0"), atol=1e-4)  # as on a GPU
    assert np.allclose(distances.within(a, distances.chamfer_matrix), distances.chamfer_matrix(a, a))
    assert distances.earth_mover_matrix(a, b)[2, 1] == pytest.approx(distances.earth_mover(a[2], b[1]))


def test_figures_of_sets_that_are_known():
    near = np.array([[0.1, 5.0], [5.0, 0.2]])
    within = np.array([[0.0, 4.0], [4.0, 0.0]])
    assert metrics.minimum_matching_distance(near) == pytest.approx(0.15)
    assert metrics.coverage(near) == 1
    assert metrics.coverage(np.array([[0.1, 5.0], [0.2, 5.0]])) == 0.5
    assert metrics.nearest_neighbour_accuracy(near, within, within) == 0  # each is nearest to the other set
    assert metrics.nearest_neighbour_accuracy(near + 9, within, within) == 1
    same = clouds(4, 500)
    assert metrics.occupancy_divergence(same, same) == 0


def whole() -> Dataset:
    return PointClouds.dataset(DATA, split="all")


def noisy(data: Dataset, amount: float) -> Dataset:
    rng = np.random.default_rng(0)
    made = [PointCloud(x.points + amount * rng.normal(size=x.points.shape)) for x in data.examples()]
    return Dataset.of(made, [item.conditions for item in data])


@pytest.fixture(scope="module")
def judged() -> PointClouds:
    return PointClouds(PointClouds.configure(whole(), {"judge": "objects"}))


@pytest.mark.slow
def test_evaluation_tells_good_from_bad_and_copies_from_new(judged):
    reference = whole()
    real = Dataset(item for item in reference if not item.record)
    copies, bad = (judged.evaluate(noisy(real, x), reference) for x in (1e-4, 0.4))
    assert copies["novelty"] < 0.05 < bad["novelty"]
    assert copies["mmd_cd"] < bad["mmd_cd"]
    assert copies["accuracy"] > bad["accuracy"]
    assert copies["cov_cd"] > bad["cov_cd"]
    for name in ("chair mmd_cd", "tree 1nna_emd_floor", "jsd_floor", "accuracy_real", "table cov_emd"):
        assert np.isfinite(copies[name])
    assert "lamp novelty" not in copies  # no lamp was held out


def test_a_completed_shape_is_compared_with_its_source(judged, tmp_path):
    from polydiff.support.files import sha256

    cloud = whole()[0].load()
    cloud.save(tmp_path / "whole.ply")
    record = {
        "source": {
            "path": str(tmp_path / "whole.ply"),
            "sha256": sha256(tmp_path / "whole.ply"),
            "redo": "x>0",
        }
    }
    perfect = Dataset([Item(lambda: cloud, {"category": "chair"}, "", record)])
    assert judged.evaluate(perfect, whole())["completion"] == 0
    kept = cloud[cloud.points[:, 0] <= 0]
    nothing = Dataset([Item(lambda: kept, {"category": "chair"}, "", record)])
    assert judged.evaluate(nothing, whole())["completion"] == pytest.approx(1)


def test_the_shipped_judge_says_how_good_it_is():
    judge = KIND.load("objects")
    assert len(judge.choices["category"]) == 19
    assert 0.6 < judge.card["held_out_accuracy"] < 1
    features, answers = judge.assess(whole().examples()[:3])
    assert features.shape[0] == answers["category"].shape[0] == 3
    assert torch.allclose(answers["category"].sum(1), torch.ones(3))


def test_the_nearest_training_shape_of_a_copy_is_its_original(shapes, dataset):
    found = nearest_training([shapes[3], shapes[10]], dataset)
    assert [item.source for item, _ in found] == [dataset[3].source, dataset[10].source]
    assert all(distance < 1e-6 for _, distance in found)
