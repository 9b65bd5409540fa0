"""Scores of sets, against closed forms."""

import numpy as np
import pytest

from polydiff.evaluation import scores


def test_frechet_distance_of_known_gaussians():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 4))
    assert scores.frechet_distance(x, 3 * x + 1) == pytest.approx(4 + 4 * (3 - 1) ** 2, rel=0.05)
    assert scores.frechet_distance(x[:2000], x[2000:]) < 0.02


def test_a_single_example_has_no_frechet_distance():
    x = np.random.default_rng(0).normal(size=(5, 4))
    assert np.isnan([scores.frechet_distance(x[:1], x), scores.frechet_distance(x, x[:1])]).all()
    assert np.isfinite(scores.frechet_distance(x[:2], x))


def test_scores_of_known_answers():
    sure = np.eye(10)[np.arange(200) % 10]
    unsure = np.full((200, 10), 0.1)
    one = np.eye(10)[np.zeros(200, int)]
    assert scores.inception_score(sure) == pytest.approx(10)
    assert scores.inception_score(unsure) == pytest.approx(1)
    assert scores.inception_score(one) == pytest.approx(1)
    assert scores.modified_inception_score(sure) > 1e6 > scores.modified_inception_score(unsure)
    assert scores.am_score(sure, sure) == pytest.approx(0, abs=1e-6)
    assert scores.am_score(unsure, sure) == pytest.approx(np.log(10))
    assert scores.am_score(one, sure) > 1


def test_entropies_and_their_score():
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])
    kl = (p * np.log(p / p.mean(0))).sum(1).mean()
    assert scores.inception_score(p) == pytest.approx(np.exp(kl))
    assert scores.conditional_entropy(np.eye(4)) == pytest.approx(0, abs=1e-6)
    assert scores.marginal_entropy(np.eye(4)) == pytest.approx(np.log(4), abs=1e-6)


def test_nearest_distances_agree_with_all_pairs():
    x = np.random.default_rng(0).normal(size=(1100, 5))  # more than one block of rows
    pairs = np.sqrt(((x[:, None] - x[None]) ** 2).mean(-1))
    assert np.allclose(scores.nearest_distances(x, x[:40]), pairs[:, :40].min(1), atol=1e-6)
    np.fill_diagonal(pairs, np.inf)
    assert np.allclose(scores.nearest_distances(x, x, same=True), pairs.min(1))
