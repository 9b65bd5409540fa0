"""TM-scores of what is known to be alike, clusters, and the ranking that finds what is worth aligning."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from polydiff_protein.similarity import Library, Pairs, clusters, tm_score, trace


@pytest.fixture(scope="module")
def traces(real) -> list[np.ndarray]:
    return [trace(x) for x in real.values()]


def test_a_backbone_is_itself_wherever_it_lies_and_not_another(traces):
    turn = Rotation.random(rng=np.random.default_rng(0)).as_matrix()
    for i, x in enumerate(traces):
        assert tm_score(x, x @ turn.T + [9, 8, 7]) == pytest.approx((1, 1), abs=1e-4)
        assert all(tm_score(x, y).mean < 0.6 for y in traces[i + 1 :])
        assert tm_score(x, x * [1, 1, -1]).mean < 0.8  # a mirror image is another fold


def test_scores_are_over_the_residues_of_each(traces):
    whole = traces[0]
    part = tm_score(whole, whole[:30])
    assert part.second == pytest.approx(1, abs=1e-4)
    assert part.first < 0.6
    assert part.mean == (part.first + part.second) / 2


def test_of_several_chains_the_longest_counts(igd):
    two = replace(igd, chains="A" * 20 + "B" * 41)
    assert np.array_equal(trace(two), igd.ca[20:])


def test_pairs_are_worked_out_once(traces, monkeypatch):
    calls = []

    def counted(a, b):
        calls.append(1)
        return tm_score(a, b)

    monkeypatch.setattr("polydiff_protein.similarity.tm_score", counted)
    pairs = Pairs(traces)
    assert pairs(0, 1) == pairs(1, 0)
    assert len(calls) == 1
    mean = pairs.mean()
    assert len(calls) == 10
    assert mean == np.mean([pairs(i, j) for i in range(5) for j in range(i)])
    assert len(calls) == 10
    assert np.isnan(Pairs(traces[:1]).mean())
    assert Pairs(traces).mean(most=3) == Pairs(traces).mean(most=3)


@given(st.lists(st.floats(0, 10), max_size=12), st.floats(0.1, 3))
def test_clusters_have_a_founder_that_all_are_like_and_founders_are_apart(places, reach):
    found = clusters(len(places), lambda i, j: -abs(places[i] - places[j]), -reach)
    founders = [found.index(k) for k in range(max(found, default=-1) + 1)]
    assert all(abs(places[i] - places[founders[k]]) <= reach for i, k in enumerate(found))
    assert all(abs(places[i] - places[j]) > reach for i in founders for j in founders if i != j)


def test_a_library_finds_the_copy_among_others(traces):
    rng = np.random.default_rng(0)
    walks = [np.cumsum(rng.normal(size=(rng.integers(40, 120), 3)) * 2.2, axis=0) for _ in range(60)]
    library = Library([*walks, *traces])
    for k, x in enumerate(traces):
        noisy = x + rng.normal(size=x.shape) * 0.3
        assert library.ranked(noisy)[0] == 60 + k
        found = library.nearest(noisy, looked_at=3)
        assert found.place == 60 + k
        assert found.tm > 0.9
        part = library.nearest(x[:-8], looked_at=10)  # a copy that lacks its end is found too
        assert (part.place, round(part.tm, 2)) == (60 + k, 1.0)
    assert sorted(library.ranked(traces[0]).tolist()) == list(range(65))


def test_looking_at_all_is_exact(traces):
    library = Library(traces[1:])
    best = max(tm_score(traces[0], x).first for x in traces[1:])
    assert library.nearest(traces[0]).tm == best
