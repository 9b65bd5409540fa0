"""Samples side by side: as many threads as speed work up, and none that runs on after the end."""

from __future__ import annotations

import threading

import pytest
import torch

from polydiff.runtime.thread_team import GAIN, Stopped, ThreadTeam


class Machine:
    """A clock, and work of which `speeds[size]` is done a second by that many threads."""

    def __init__(self, speeds):
        self.speeds, self.now, self.colds = speeds, 0.0, [3.0]

    def clock(self):
        return self.now

    def spend(self, batch):
        self.now += sum(batch) / self.speeds[len(batch)] + (self.colds.pop() if self.colds else 0.0)


def team_sizes(speeds, max_threads, work, count=12):
    machine, found = Machine(speeds), []
    with ThreadTeam(lambda request, check: request, max_threads, float, machine.clock) as team:
        answer = team._pool.map

        def spending(make, batch, checks):
            machine.spend(batch)
            return answer(make, batch, checks)

        team._pool.map = spending
        for _ in range(count):
            found.append(team.size)
            batch = work[: team.size]
            assert team(batch) == batch
    return found


@pytest.mark.parametrize(
    ("speeds", "max_threads", "expected"),
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
def test_threads_are_doubled_as_long_as_that_helps(speeds, max_threads, expected, sizes):
    found = team_sizes(speeds, max_threads, sizes)
    assert found == expected + [expected[-1]] * (len(found) - len(expected))


def test_answers_keep_their_order_and_torch_its_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadTeam(lambda number, check: (number, torch.get_num_threads()), 2, lambda _: 1.0) as team:
            team.size = 2
            assert team([5, 7]) == [(5, 1), (7, 1)]
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

    def interrupted(team):
        team.size = 2
        with team:
            team._pool.submit(make, 0, team._check)
            team([1])

    with pytest.raises(KeyError):
        interrupted(ThreadTeam(make, 2, lambda _: 1.0))
    assert ended.is_set()
