"""Samples side by side on the cores of a CPU, each on a thread of its own.

Threads that share the operations of one small network wait for each other at every one, and for whatever
else a core is busy with. Threads that share nothing do not wait, and a sample made on one of them has the
same bits as one made alone.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

P = TypeVar("P")
A = TypeVar("A")

#: twice the threads are worth it where they do so many times the work a second
GAIN = 1.1


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Stopped(Exception):
    """Raised in the threads of a crew that was left."""


class Crew(Generic[P, A]):
    """Answers `width` requests at once. The width is found on the first of them: one, then twice as many as
    long as that makes `GAIN` times the work a second, and at most `most`.

    Args:
        make: answers one request. It is also given a function to call now and then, which raises `Stopped`
            once the crew is left, by an interruption or an error.
        work: how much of it a request is.
    """

    def __init__(
        self,
        make: Callable[[P, Callable[[], None]], A],
        most: int,
        work: Callable[[P], float],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._make, self._work, self._clock = make, work, clock
        self._widths = _widths(most)
        self.width = next(self._widths)
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(most)

    def __enter__(self) -> Crew[P, A]:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)

    def __call__(self, batch: Sequence[P]) -> list[A]:
        """The answers to at most `width` requests."""
        begun = self._clock()
        answers = list(self._pool.map(self._make, batch, [self._check] * len(batch)))
        if len(batch) == self.width:
            self.width = self._widths.send(sum(map(self._work, batch)) / (self._clock() - begun))
        return answers

    def _check(self) -> None:
        if self._stop.is_set():
            raise Stopped


def _widths(most: int) -> Generator[int, float, None]:
    """Which width to take next, told how much work a second the one before did."""
    yield 1  # a cold start, which says nothing
    width, rate = 1, (yield 1)
    while 2 * width <= most:
        doubled = yield 2 * width
        if doubled < GAIN * rate:
            break
        width, rate = 2 * width, doubled
    while True:
        yield width
