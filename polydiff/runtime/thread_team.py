"""Worker threads that make samples in parallel on the cores of a CPU, one sample a thread.

Threads that split each operation of a small network wait for each other at every operation. Threads that
share nothing do not wait, and a sample has the same bits as one made alone.
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

#: the number of threads is doubled while that makes at least this many times the work a second
GAIN = 1.1


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Stopped(Exception):
    """Raised in workers after the team was closed."""


class ThreadTeam(Generic[P, A]):
    """Worker threads that answer `size` requests at once.

    The size is found on the first batches: one thread, then twice as many for as long as that makes `GAIN`
    times the work a second, and never more than `max_threads`.

    Args:
        make: answers one request. It is also given a function to call now and then, which raises `Stopped`
            once the team is closed, by an interruption or an error.
        work: how much work a request is, in any unit.
        clock: seconds.
    """

    def __init__(
        self,
        make: Callable[[P, Callable[[], None]], A],
        max_threads: int,
        work: Callable[[P], float],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._make, self._work, self._clock = make, work, clock
        self._sizes = _sizes(max_threads)
        self.size = next(self._sizes)
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(max_threads)

    def __enter__(self) -> ThreadTeam[P, A]:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)

    def __call__(self, batch: Sequence[P]) -> list[A]:
        """The answers to at most `size` requests, in order."""
        begun = self._clock()
        answers = list(self._pool.map(self._make, batch, [self._check] * len(batch)))
        if len(batch) == self.size:
            self.size = self._sizes.send(sum(map(self._work, batch)) / (self._clock() - begun))
        return answers

    def _check(self) -> None:
        if self._stop.is_set():
            raise Stopped


def _sizes(max_threads: int) -> Generator[int, float, None]:
    """Which size to try next; it is sent the work a second of the size before."""
    yield 1  # a cold start, which says nothing
    size, rate = 1, (yield 1)
    while 2 * size <= max_threads:
        doubled = yield 2 * size
        if doubled < GAIN * rate:
            break
        size, rate = 2 * size, doubled
    while True:
        yield size
