"""Samples side by side: as many threads as are worth it, and none that goes on after the end."""

from __future__ import annotations

import threading

import pytest
import torch

from polydiff.runtime.crew import GAIN, Crew, Stopped


class Machine:
    """A clock, and work of which `speeds[width]` is done a second by that many threads."""

    def __init__(self, speeds):
        self.speeds, self.now, self.colds = speeds, 0.0, [3.0]

    def clock(self):
        return self.now

    def spend(self, batch):
        self.now += sum(batch) / self.speeds[len(batch)] + (self.colds.pop() if self.colds else 0.0)


def widths(speeds, most, sizes, count=12):
    machine, found = Machine(speeds), []
    with Crew(lambda request, check: request, most, float, machine.clock) as crew:
        answer = crew._pool.map

        def spending(make, batch, checks):
            machine.spend(batch)
            return answer(make, batch, checks)

        crew._pool.map = spending
        for _ in range(count):
            found.append(crew.width)
            batch = sizes[: crew.width]
            assert crew(batch) == batch
    return found


@pytest.mark.parametrize(
    ("speeds", "most", "expected"),
    [
        ({1: 1.0, 2: 1.9, 4: 3.6}, 4, [1, 1, 2, 4, 4]),
        ({1: 1.0, 2: 1.9, 4: 1.5}, 4, [1, 1, 2, 4, 2, 2]),
        ({1: 1.0, 2: 0.99 * GAIN}, 4, [1, 1, 2, 1, 1]),
        ({1: 1.0, 2: 1.01 * GAIN}, 2, [1, 1, 2, 2]),
        ({1: 1.0, 2: 2.0}, 3, [1, 1, 2, 2]),
        ({1: 1.0}, 1, [1, 1, 1]),
    ],
)
@pytest.mark.parametrize("sizes", [[1.0] * 4, [4.0, 1.0, 2.0, 1.0]])
def test_threads_are_doubled_as_long_as_that_helps(speeds, most, expected, sizes):
    found = widths(speeds, most, sizes)
    assert found == expected + [expected[-1]] * (len(found) - len(expected))


def test_answers_keep_their_order_and_torch_its_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with Crew(lambda number, check: (number, torch.get_num_threads()), 2, lambda _: 1.0) as crew:
            crew.width = 2
            assert crew([5, 7]) == [(5, 1), (7, 1)]
    finally:
        torch.set_num_threads(before)


def test_an_error_ends_the_others():
    ended, begun = threading.Event(), threading.Event()

    def make(number, check):
        if number:
            begun.wait(10)
            raise KeyError(number)
        begun.set()
        try:
            while True:
                check()
        except Stopped:
            ended.set()
            raise

    def interrupted(crew):
        crew.width = 2
        with crew:
            crew._pool.submit(make, 0, crew._check)
            crew([1])

    with pytest.raises(KeyError):
        interrupted(Crew(make, 2, lambda _: 1.0))
    assert ended.is_set()
