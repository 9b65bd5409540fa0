"""Which examples make which batch: a function of (seed, step), so that resuming needs only the step.

A step has one batch for all processes together. Process r of n takes its places r, r + n, r + 2n, ..., so the
shares have equal length and together are what one process with n times the batch size would take.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial

import numpy as np


def epoch_batches(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """All batches of one epoch. Examples of similar length share a batch, so that little of it is padding:
    a shuffled epoch is cut into windows of sixteen batches, each window sorted by length.

    A batch is never short: a last incomplete one is filled with the epoch's first examples, and a set
    smaller than a batch is repeated.
    """
    if not len(lengths):
        raise ValueError("there are no examples to train on")
    generator = np.random.Generator(np.random.Philox(key=np.array([seed % 2**64, epoch], dtype=np.uint64)))
    order = generator.permutation(len(lengths))
    order = np.resize(order, -(-len(order) // batch_size) * batch_size)
    window = 16 * batch_size
    batches: list[list[int]] = []
    for start in range(0, len(order), window):
        part = order[start : start + window]
        part = part[np.argsort(np.asarray(lengths)[part], kind="stable")]
        batches += part.reshape(-1, batch_size).tolist()
    return [batches[index] for index in generator.permutation(len(batches))]


class BatchOrder:
    """The examples of step k (counted from 0) for one process of several.

    >>> order = BatchOrder([5, 1, 4, 2], batch_size=2, seed=0)
    >>> sorted(order(0) + order(1))
    [0, 1, 2, 3]
    """

    def __init__(
        self, lengths: Sequence[int], batch_size: int, seed: int, rank: int = 0, ranks: int = 1
    ) -> None:
        self._rank, self._ranks = rank, ranks
        self._steps_an_epoch = max(1, -(-len(lengths) // (batch_size * ranks)))
        self._batches = lru_cache(maxsize=1)(partial(epoch_batches, lengths, batch_size * ranks, seed))

    def __call__(self, step: int) -> list[int]:
        """Indices of this process's share of the batch; all shares of a step come from one epoch."""
        epoch, place = divmod(step, self._steps_an_epoch)
        return self._batches(epoch)[place][self._rank :: self._ranks]
