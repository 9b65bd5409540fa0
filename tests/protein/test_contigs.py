"""RFdiffusion's contigs: what they say, what is drawn from them, and errors that point at the token."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polydiff.errors import UsageError
from polydiff_protein.contigs import Break, New, Taken, parse, resolve
from polydiff_protein.structure import Backbone

NUMBERS = [*range(1, 99), *range(5, 9), 52, 52, 53, 60, 61]
CODES = ("",) * 102 + ("", "A", "", "", "")
SOURCE = Backbone(np.zeros((107, 4, 3)), "", "A" * 98 + "B" * 4 + "H" * 5, np.array(NUMBERS), CODES)


@pytest.mark.parametrize(
    "text",
    ["10-20/A45-62/10-30", "10-20,A45-62,10-30", " 10-20 / A45-62 / 10-30 ", "['10-20/A45-62/10-30']"],
)
def test_every_way_to_write_the_same(text):
    first, fixed, last = parse(text)
    assert (first.low, first.high, last.low, last.high) == (10, 20, 10, 30)
    assert (fixed.chain, fixed.first.number, fixed.last.number) == ("A", 45, 62)
    layout = resolve(text, SOURCE, seed=3)
    assert layout.text == resolve("10-20/A45-62/10-30", SOURCE, seed=3).text
    new = int((~layout.fixed).sum())
    assert 20 <= new <= 50
    assert layout.motif.tolist() == list(range(44, 62))


def test_breaks_single_residues_and_insertion_codes():
    assert [type(x) for x in parse("5/A100/0 B7")] == [New, Taken, Break, Taken]
    layout = resolve("2/H52-53/0 B5-6,1/0,H60", SOURCE)
    assert layout.source.tolist() == [-1, -1, 102, 103, 104, 98, 99, -1, 105]
    assert "".join(layout.chains) == "AAAAABBBC"
    assert layout.numbers.tolist() == [1, 2, 3, 4, 5, 1, 2, 3, 1]
    assert layout.text == "2-2/H52-53/0 B5-6/1-1/0 H60-60"
    assert resolve("H52A", SOURCE).source.tolist() == [103]
    assert resolve("H52A-53", SOURCE).source.tolist() == [103, 104]
    minus = Backbone(np.zeros((4, 4, 3)), numbers=np.array([-2, -1, 0, 1]))
    assert resolve("A-2-0", minus).source.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "The contig is empty"),
        ("//", "The contig is empty"),
        ("10-20/Q-/3", 'Contig "10-20/Q-/3": token 2 "Q-": neither'),
        ("10-20/A4562/5", 'token 2 "A4562": chain A has no residue 4562. It has residues 1 to 98.'),
        ("10-20/A90-99", 'token 2 "A90-99": chain A has no residue 99. It has residues 1 to 98.'),
        ("C5", 'token 1 "C5": the source has no chain C; it has A, B, H.'),
        ("5 H52B", 'token 2 "H52B": chain H has no residue 52B.'),
        ("H52-60", "chain H has a gap between 53 and 60"),
        ("H55", "chain H has no residue 55. The source has a gap there."),
        ("20-10", "20 is more than 10"),
        ("A62-45", "62 comes after 45"),
        ("A5-9/3/A9", 'token 3 "A9": some of these residues are taken twice'),
        ("0", "may come out empty"),
        ("0-0", "new residues are 1 to 9,999"),
        ("5/0", "last chain may come out empty"),
        ("5/0/0/5", 'token 3 "0": the chain that ends here'),
        ("0-4/0 A1-9", "may come out empty"),
        ("100000", "new residues are 1 to 9,999"),
        ("-5", "neither new residues"),
        ("5--9", "neither new residues"),
        ("٣", "neither new residues"),
    ],
)
def test_an_error_points_at_the_token(text, line):
    with pytest.raises(UsageError) as caught:
        resolve(text, SOURCE)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_contig_that_takes_something_needs_a_source():
    assert len(resolve("30")) == 30
    with pytest.raises(UsageError, match='token 2 "A1": there is no source'):
        resolve("30/A1")


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=5),
    st.integers(0, 1000),
    st.data(),
)
def test_drawn_lengths_keep_every_limit(spans, seed, data):
    text = "1/" + "/".join(f"{low}-{low + more}" for low, more in spans if low + more)
    least, most = 1 + sum(low for low, _ in spans), 1 + sum(low + more for low, more in spans)
    low = data.draw(st.integers(least, most))
    high = data.draw(st.integers(low, most))
    layout = resolve(text, length=(low, high), seed=seed)
    assert low <= len(layout) <= high
    assert layout.text == resolve(text, length=(low, high), seed=seed).text
    again = resolve(layout.text, seed=seed + 1)  # what is printed is legal and leaves nothing open
    assert (len(again), again.text) == (len(layout), layout.text)


def test_lengths_are_drawn_evenly_among_all_that_fit():
    choices = [(a, b, c) for a, b, c in product(range(1, 4), range(5), range(2, 4)) if 6 <= a + b + c <= 7]
    drawn = Counter(resolve("1-3/A1/0-4/A2/2-3", SOURCE, (8, 9), seed).text for seed in range(2400))
    assert len(drawn) == len(choices)
    expected = 2400 / len(choices)
    assert sum((n - expected) ** 2 / expected for n in drawn.values()) < 3 * len(choices)  # chi squared


def test_a_length_that_cannot_be_is_refused():
    with pytest.raises(UsageError, match="comes to 20 to 30 residues, and 40 are asked for"):
        resolve("10-15/10-15", length=40)
    with pytest.raises(UsageError, match="and 0 are asked for"):
        resolve("10", length=0)
    assert len(resolve("10-15/10-15", length=30)) == 30
