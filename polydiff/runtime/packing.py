"""Continuous batching: many jobs of any length in full batches of few shapes.

A job is a generator: it yields a request, is sent the answer, and returns what it made; one that makes its
sample in parts yields several times. Requests of similar length are answered together, padded to a rung of a
`Ladder`, so that a compiled step or a CUDA graph sees few shapes and little of a batch is padding.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

P = TypeVar("P")
A = TypeVar("A")
T = TypeVar("T")
Lengths = Mapping[str, int]

#: a rung is at most this many times as long as what is padded to it: less than a fifth of what a network
#: reads is padding, and lengths from l to L need log(L / l) / log(5 / 4) + 1 rungs
RATIO = 1.25
#: how many batches of waiting requests to search for similar lengths
AHEAD = 8


class Ladder:
    """The few lengths (rungs) that requests are padded to. Every rung is a length that was asked for, so no
    network sees another.

    >>> ladder = Ladder()
    >>> ladder.learn(range(40, 129))
    >>> ladder.rungs, ladder(100), ladder(103)
    ([40, 51, 64, 81, 102, 128], 102, 128)
    """

    def __init__(self, ratio: float = RATIO) -> None:
        self.ratio = ratio
        self.rungs: list[int] = []

    def learn(self, lengths: Iterable[int]) -> None:
        """Add as few rungs as cover these lengths."""
        for length in sorted(set(lengths), reverse=True):
            if self(length) == length:
                self.rungs = sorted({*self.rungs, length})

    def __call__(self, length: int) -> int:
        """The rung that a length is padded to; the length itself where none is near enough."""
        place = bisect_left(self.rungs, length)
        near = place < len(self.rungs) and self.rungs[place] <= self.ratio * length
        return self.rungs[place] if near else length


def run_batched(
    jobs: Iterable[Generator[P, A, T]],
    run: Callable[[Sequence[P]], Sequence[A]],
    padded: Callable[[Sequence[P]], Sequence[Lengths]],
    size: int,
    ahead: int = AHEAD,
    next_size: Callable[[], int] | None = None,
) -> Iterator[T]:
    """What each job returns, in order.

    A batch is the oldest waiting request and those whose padded lengths are nearest to its own. Where every
    job is one request and R < `ahead` rungs are in use, n jobs take ⌈n / size⌉ batches, and at most
    R ⌈n / (size · ahead)⌉ of them mix rungs.

    Args:
        run: answers at most `size` requests.
        padded: what the lengths of each of the waiting requests are padded to.
        ahead: at most `ahead * size` requests wait, and at most twice as many jobs are begun and not
            yet handed on, so that memory does not grow with the number of jobs.
        next_size: how many to answer next, at most `size`, which is the default.
    """
    # With batch size 1 there is nothing to group.
    pool = size * ahead if size > 1 else 1
    source = enumerate(jobs)
    makers: dict[int, Generator[P, A, T]] = {}
    waiting: dict[int, P] = {}
    done: dict[int, T] = {}
    first = begun = 0

    def go_on(number: int, answer: Any = None) -> None:
        try:
            waiting[number] = makers[number].send(answer)
        except StopIteration as end:
            done[number] = end.value
            del makers[number]

    while True:
        room = max(0, min(pool - len(waiting), first + 2 * pool - begun))
        for number, makers[number] in islice(source, room):
            begun = number + 1
            go_on(number)
        if not waiting and not done:
            return
        if waiting:
            batch = _batch(waiting, padded, next_size() if next_size else size)
            answers = run([waiting.pop(number) for number in batch])
            for number, answer in zip(batch, answers, strict=True):
                go_on(number, answer)
        while first in done:
            yield done.pop(first)
            first += 1


def _batch(
    waiting: Mapping[int, P], padded: Callable[[Sequence[P]], Sequence[Lengths]], size: int
) -> list[int]:
    """The oldest and the nearest to it in length; of two as near, the older."""
    numbers = sorted(waiting)
    lengths = dict(zip(numbers, padded([waiting[number] for number in numbers]), strict=True))
    oldest = lengths[numbers[0]]

    def length_gap(number: int) -> int:
        return sum(abs(length - oldest[name]) for name, length in lengths[number].items())

    return sorted(numbers, key=length_gap)[:size]
