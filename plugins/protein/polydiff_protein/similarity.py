"""How alike backbones are: TM-scores, clusters, and what of a library comes nearest.

TM-scores are those of TM-align (Zhang and Skolnick 2005), which takes milliseconds a pair; a fast ranking
says which pairs of a library are worth it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polydiff_protein.geometry import distance
from polydiff_protein.structure import Backbone

Array = NDArray[np.floating]

SHORTEST = 10
"""Residues: of fewer, a TM-score means nothing."""

LOOKED_AT = 100
"""How many of a library are aligned with a query."""

_POINTS, _WORD = 24, 5
_EDGES = (5.8, 7.5, 9.2)  # Å from a Cα to the third after it: helix, turn, bent strand, strand


class TM(NamedTuple):
    """TM-scores of a pair, over the residues of the first and over those of the second."""

    first: float
    second: float

    @property
    def mean(self) -> float:
        return (self.first + self.second) / 2


def trace(backbone: Backbone) -> Array:
    """(residues, 3): the Cα atoms of the longest chain, the first of several."""
    longest = max(backbone.chain_ids, key=backbone.chains.count)
    return backbone.ca[[chain == longest for chain in backbone.chains]].astype(np.float64)


def tm_score(a: Array, b: Array) -> TM:
    """TM-scores of two traces (n, 3) and (m, 3), each of SHORTEST points or more.

    >>> x = np.cumsum(np.random.default_rng(0).normal(size=(40, 3)), axis=0)
    >>> round(tm_score(x, x[:20] + 7).second, 2)
    1.0
    """
    from tmtools import tm_align

    found = tm_align(np.ascontiguousarray(a), np.ascontiguousarray(b), "A" * len(a), "A" * len(b))
    return TM(float(found.tm_norm_chain1), float(found.tm_norm_chain2))


@dataclass(eq=False)
class Pairs:
    """The TM-scores, each the mean of its two, of pairs of a set of traces; each is worked out once."""

    traces: Sequence[Array]
    _known: dict[tuple[int, int], float] = field(default_factory=dict)

    def __call__(self, i: int, j: int) -> float:
        key = (min(i, j), max(i, j))
        if key not in self._known:
            self._known[key] = tm_score(self.traces[key[0]], self.traces[key[1]]).mean
        return self._known[key]

    def mean(self, most: int = 1000) -> float:
        """The mean over all pairs, or over `most` of them, the same ones every time; nan of one trace."""
        n = len(self.traces)
        every = np.stack(np.triu_indices(n, 1), axis=1)
        chosen = every[np.random.default_rng(0).permutation(len(every))[:most]]
        return float(np.mean([self(int(i), int(j)) for i, j in chosen])) if len(chosen) else float("nan")


def clusters(count: int, similarity: Callable[[int, int], float], threshold: float) -> list[int]:
    """The cluster of each of `count` items, greedily: an item joins the first cluster whose founder is at
    least so similar to it, else it founds one. Longest first is how to give them.

    >>> clusters(4, lambda i, j: float(i % 2 == j % 2), 0.5)
    [0, 1, 0, 1]
    """
    founders: list[int] = []
    found = []
    for i in range(count):
        mine = next((k for k, j in enumerate(founders) if similarity(i, j) >= threshold), len(founders))
        if mine == len(founders):
            founders.append(i)
        found.append(mine)
    return found


class Nearest(NamedTuple):
    """The item of a library that is most like a query, and the TM-score over the residues of the query."""

    place: int
    tm: float


@dataclass(eq=False)
class Library:
    """Traces that queries are compared with.

    They are ranked by two descriptors, each made comparable over the library: the distances between 24 points
    evenly along the trace, which find the same fold in the same length, and how often each word of five kinds
    of turn occurs, which finds it in another. The best of the ranking are aligned. Measured with 11 held-out
    domains of 60 to 120 residues in 3,381: of the first 100 the best is the best of all for 7 of them; the
    TM-score falls short by .007 in the mean and .033 at the worst (of the first 50, .018 and .077).
    """

    traces: Sequence[Array]

    @cached_property
    def _described(self) -> tuple[Array, Array]:
        return np.stack([_spread(x) for x in self.traces]), np.stack([_words(x) for x in self.traces])

    def ranked(self, query: Array) -> NDArray[np.int_]:
        """All indices, the most promising first."""
        spread, words = self._described
        unlike = np.sqrt(((spread - _spread(query)) ** 2).mean(1)), -(words @ _words(query))
        return np.argsort(sum(_standard(x) for x in unlike), kind="stable")

    def nearest(self, query: Array, looked_at: int = LOOKED_AT) -> Nearest:
        """The best of the first `looked_at` of the ranking; of all where that is the size of the library."""
        scores = {int(i): tm_score(query, self.traces[i]).first for i in self.ranked(query)[:looked_at]}
        best = max(scores, key=lambda i: scores[i])
        return Nearest(best, scores[best])


def _spread(points: Array) -> Array:
    at = np.linspace(0, len(points) - 1, _POINTS)
    few = np.stack([np.interp(at, np.arange(len(points)), points[:, k]) for k in range(3)], axis=1)
    i, j = np.triu_indices(_POINTS, 1)
    return distance(few[i], few[j])


def _words(points: Array) -> Array:
    """Square roots of how often each word occurs, as a vector of length 1."""
    kinds = np.digitize(distance(points[:-3], points[3:]), _EDGES)
    base = len(_EDGES) + 1
    words = sum(kinds[k : len(kinds) - _WORD + 1 + k] * base**k for k in range(_WORD))
    counts = np.sqrt(np.bincount(words, minlength=base**_WORD))
    return np.asarray(counts / max(float(np.linalg.norm(counts)), 1e-12))


def _standard(x: Any) -> Array:
    return np.asarray((x - x.mean()) / max(float(x.std()), 1e-12))
