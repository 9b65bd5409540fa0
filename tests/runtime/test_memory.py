"""How many samples fit: by two measurements, and by halves where that was too many."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from polydiff.errors import UsageError
from polydiff.runtime.memory import bytes_of, halved_to_fit, in_words, largest_batch


@given(st.integers(0, 10**9), st.integers(1, 10**8), st.integers(1, 10**10), st.integers(1, 500))
def test_the_largest_batch_is_within_the_budget_and_one_more_is_not(base, each, budget, most):
    def peak(count):
        return base + each * count

    if peak(1) > budget:
        with pytest.raises(UsageError, match=r"One sample takes .* limited to"):
            largest_batch(peak, budget, most)
        return
    size = largest_batch(peak, budget, most)
    assert 1 <= size <= most
    assert peak(size) <= budget
    assert size == most or peak(size + 1) > budget


def test_where_more_takes_no_more_all_go_at_once():
    assert largest_batch(lambda count: 100, 100, 64) == 64


def held(most, calls):
    """Doubles numbers, at most so many at once."""

    def run(batch):
        calls.append(len(batch))
        if len(batch) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")
        return [2 * number for number in batch]

    return run


def test_a_batch_that_does_not_fit_is_halved_and_so_are_later_ones():
    calls = []
    run = halved_to_fit(held(3, calls))
    assert run(range(10)) == [2 * number for number in range(10)]
    assert calls == [10, 5, 2, 2, 2, 2, 2]
    calls.clear()
    assert run(range(7)) == [2 * number for number in range(7)]
    assert calls == [2, 2, 2, 1]


def test_one_sample_that_does_not_fit_is_said_in_one_line():
    with pytest.raises(UsageError, match=r"One sample alone .* ask for a smaller one") as caught:
        halved_to_fit(held(0, []))(range(4))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GiB", 2**32), ("4 GB", 2**32), ("0.5g", 2**29), ("100M", 100 * 2**20), ("12", 12), (12, 12)],
)
def test_sizes_are_read(text, size):
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "lots", "-1", "4 Gb/s", "0", "1.2.3G", "inf"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(UsageError, match="write a size, such as 4GiB"):
        bytes_of(text)


@given(st.integers(1, 2**45))
def test_words_say_the_size_to_three_digits(size):
    assert bytes_of(in_words(size).replace("e+03", "000")) == pytest.approx(size, rel=0.006)
