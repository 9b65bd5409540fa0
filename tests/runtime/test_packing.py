"""Which requests share a micro-batch: few lengths, full batches, in order, with little held back."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polydiff.runtime.packing import AHEAD, RATIO, Ladder, run_batched

LENGTHS = st.lists(st.integers(1, 2000), min_size=1, max_size=200)


def alone(request):
    return (yield request)


def run_all(requests, size, ahead=AHEAD, parts=None):
    """Every batch, and what was held back beside it, of jobs that want their length so many times."""
    batches, held, finished = [], [], set()

    def job(number, length):
        for part in range(parts[number] if parts else 1):
            assert (yield number, length) == (number, length)
            if part + 1 == (parts[number] if parts else 1):
                finished.add(number)
        return number

    def run(batch):
        batches.append(batch)
        return list(batch)

    def own(waiting):
        return [{"x": length} for _, length in waiting]

    jobs = [job(number, length) for number, length in enumerate(requests)]
    for expected, number in enumerate(run_batched(jobs, run, own, size, ahead)):
        assert number == expected  # in order
        held.append(len(finished) - number)
    assert len(held) == len(requests)
    return batches, max(held, default=0)


@given(LENGTHS)
def test_a_ladder_has_few_rungs_that_occur_and_little_is_padding(lengths):
    ladder = Ladder()
    ladder.learn(lengths)
    assert set(ladder.rungs) <= set(lengths)
    assert all(length <= ladder(length) <= RATIO * length for length in lengths)
    assert all(low * RATIO < high for low, high in pairwise(ladder.rungs))
    assert len(ladder.rungs) <= 1 + math.log(max(lengths) / min(lengths)) / math.log(RATIO)


@given(LENGTHS, LENGTHS)
def test_a_ladder_keeps_its_rungs_while_it_learns(first, later):
    ladder = Ladder()
    ladder.learn(first)
    before = list(ladder.rungs)
    ladder.learn(later)
    assert set(before) <= set(ladder.rungs)
    assert all(length <= ladder(length) <= RATIO * length for length in (*first, *later))


def test_a_ladder_of_ratio_one_pads_nothing():
    ladder = Ladder(1.0)
    ladder.learn([5, 4, 4, 100])
    assert [ladder(length) for length in (4, 5, 100)] == [4, 5, 100]


@given(
    st.lists(st.integers(1, AHEAD - 1), max_size=400),
    st.integers(2, 5),
)
def test_batches_are_full_and_few_of_them_mix_rungs(rungs, size):
    batches, held = run_all(rungs, size)
    assert len(batches) == math.ceil(len(rungs) / size)
    mixed = sum(len({rung for _, rung in batch}) > 1 for batch in batches)
    assert mixed <= len(set(rungs)) * math.ceil(len(batches) / AHEAD)
    assert held <= 2 * AHEAD * size


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 9)), max_size=60), st.integers(1, 5))
def test_a_place_that_is_free_goes_to_the_next_job(jobs, size):
    parts = [count for _, count in jobs]
    batches, held = run_all([length for length, _ in jobs], size, parts=parts)
    assert sorted(number for batch in batches for number, _ in batch) == sorted(
        number for number, count in enumerate(parts) for _ in range(count)
    )
    assert all(len({number for number, _ in batch}) == len(batch) <= size for batch in batches)
    assert held <= 2 * AHEAD * size


def test_no_place_is_idle_while_jobs_wait():
    """Four jobs of 1, 3, 1 and 1 parts take three batches of two: the least that the long one allows."""
    batches, _ = run_all([7] * 4, size=2, parts=[1, 3, 1, 1])
    assert [[number for number, _ in batch] for batch in batches] == [[0, 1], [1, 2], [1, 3]]


def test_alone_jobs_are_made_one_after_another():
    begun = []

    def jobs():
        for number in range(9):
            begun.append(number)
            yield alone(number)

    stream = run_batched(jobs(), list, lambda waiting: [{} for _ in waiting], size=1)
    assert next(stream) == 0
    assert begun == [0]
    assert list(stream) == list(range(1, 9))


def test_memory_does_not_grow_with_the_number_of_jobs():
    """An endless supply of jobs whose first never ends: what is begun stays bounded."""
    begun = []

    def endless():
        while True:
            yield "on"

    def jobs():
        yield endless()
        for number in range(10**6):
            begun.append(number)
            yield alone("one")

    calls = []

    def run(batch):
        calls.append(len(batch))
        if len(calls) > 200:
            raise StopAsyncIteration
        return batch

    with pytest.raises(StopAsyncIteration):
        next(run_batched(jobs(), run, lambda waiting: [{} for _ in waiting], size=4))
    assert len(begun) < 2 * 4 * AHEAD
    assert calls[-1] == 1  # the others are done and held back


def test_a_job_that_asks_for_nothing_is_done():
    def nothing():
        return "x"
        yield

    assert list(run_batched([nothing(), alone(1)], list, lambda waiting: [{} for _ in waiting], 2)) == [
        "x",
        1,
    ]
