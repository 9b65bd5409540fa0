"""Contigs: what of a design is taken from a source and what is new, in RFdiffusion's own notation.

    10-20/A45-62/10-30

is 10 to 20 new residues, residues 45 to 62 of chain A of the source, and 10 to 30 new ones. `A100` is one
residue of the source, `100` exactly 100 new ones, `/0` ends a chain; `,` and spaces join as `/` does. Numbers
are the author's, inclusive, with insertion codes where there are any (`A52A-60`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from polydiff.errors import UsageError
from polydiff_protein.structure import Backbone

LONGEST = 9999
"""The most residues that one segment makes anew."""


class Place(NamedTuple):
    """A residue's author number and insertion code."""

    number: int
    insertion: str = ""

    def __str__(self) -> str:
        return f"{self.number}{self.insertion}"


@dataclass(frozen=True)
class Segment:
    """A part of a design; `where` says which token of which contig it is, for errors."""

    where: str


@dataclass(frozen=True)
class Taken(Segment):
    """Residues of the source, from first to last."""

    chain: str
    first: Place
    last: Place


@dataclass(frozen=True)
class New(Segment):
    """So many new residues, both ends included."""

    low: int
    high: int


@dataclass(frozen=True)
class Break(Segment):
    """A chain ends."""


@dataclass(frozen=True, eq=False)
class Layout:
    """A design before it is made. source: int (residues,), the index of each residue in the source, -1 where
    it is new. chains and numbers: its chain, A, B, ..., and its number there from 1. text: the contig with
    the lengths that were drawn, as RFdiffusion prints it."""

    source: NDArray[np.int64]
    chains: tuple[str, ...]
    numbers: NDArray[np.int64]
    text: str

    def __len__(self) -> int:
        return len(self.source)

    @property
    def fixed(self) -> NDArray[np.bool_]:
        """(residues,): which are taken from the source."""
        return self.source >= 0

    @property
    def motif(self) -> NDArray[np.int64]:
        """The indices in the source of what is taken from it, in the order of the design."""
        return self.source[self.fixed]


_SPAN = re.compile(r"([0-9]+)(?:-([0-9]+))?")
_TAKEN = re.compile(r"([A-Za-z]+)(-?[0-9]+)([A-Za-z]?)(?:-(-?[0-9]+)([A-Za-z]?))?")


def parse(text: str) -> tuple[Segment, ...]:
    """The segments of a contig. Raises UsageError, one line, that names the token at fault.

    >>> [type(x).__name__ for x in parse("10-20/A45-62,5/0 B7")]
    ['New', 'Taken', 'New', 'Break', 'Taken']
    >>> parse("10-20/A62-45")
    Traceback (most recent call last):
    polydiff.errors.UsageError: Contig "10-20/A62-45": token 2 "A62-45": 62 comes after 45.
    """
    bare = re.sub(r"^[\s\['\"]+|[\s\]'\"]+$", "", text)  # RFdiffusion's users write ['...']
    tokens = [token for token in re.split(r"[/,\s]+", bare) if token]
    if not tokens:
        raise UsageError('The contig is empty: write "10-20/A45-62/10-30", for example.')
    segments = tuple(
        _segment(token, f'Contig "{bare}": token {k} "{token}"') for k, token in enumerate(tokens, start=1)
    )
    _check_chains(segments)
    return segments


def _segment(token: str, where: str) -> Segment:
    if token == "0":
        return Break(where)
    if match := _SPAN.fullmatch(token):
        low, high = int(match[1]), int(match[2] or match[1])
        if low > high:
            raise UsageError(f"{where}: {low} is more than {high}.")
        if not 0 < high <= LONGEST:
            raise UsageError(f"{where}: new residues are 1 to {LONGEST:,} in one token.")
        return New(where, low, high)
    if match := _TAKEN.fullmatch(token):
        first = Place(int(match[2]), match[3])
        last = Place(int(match[4]), match[5]) if match[4] else first
        if first.number > last.number:
            raise UsageError(f"{where}: {first} comes after {last}.")
        return Taken(where, match[1], first, last)
    raise UsageError(
        f"{where}: neither new residues (10-20 or 15), nor some of the source (A45-62 or A45), nor a chain "
        "break (0)."
    )


def _check_chains(segments: Sequence[Segment]) -> None:
    """Every chain has residues however short its segments come out."""
    least = 0
    for segment in segments:
        if isinstance(segment, Break):
            if not least:
                raise UsageError(f"{segment.where}: the chain that ends here may come out empty.")
            least = 0
        else:
            least += segment.low if isinstance(segment, New) else 1
    if not least:
        raise UsageError(f"{segments[-1].where}: the last chain may come out empty.")


def resolve(
    contigs: str | Sequence[Segment],
    backbone: Backbone | None = None,
    length: int | tuple[int, int] | None = None,
    seed: int = 0,
) -> Layout:
    """Draw the lengths of new segments and look up the residues of the source.

    length: of the whole design, or the least and most of it; the lengths are then drawn evenly among all
    that come to it. The same seed gives the same design. Raises UsageError, one line, where a contig takes
    what the source does not have, takes a residue twice, or cannot come to the length.

    >>> layout = resolve("2/A5-6/0 1-1", Backbone(np.zeros((8, 4, 3))))
    >>> layout.source.tolist(), "".join(layout.chains), layout.text
    ([-1, -1, 4, 5, -1], 'AAAAB', '2-2/A5-6/0 1-1')
    """
    segments = parse(contigs) if isinstance(contigs, str) else tuple(contigs)
    taken = {k: _taken(x, backbone) for k, x in enumerate(segments) if isinstance(x, Taken)}
    _check_once(segments, taken)
    spans = [
        (x.low, x.high) if isinstance(x, New) else (len(taken.get(k, ())),) * 2
        for k, x in enumerate(segments)
    ]
    drawn = _lengths(spans, length, np.random.default_rng(seed))
    source: list[int] = []
    chains: list[str] = []
    numbers: list[int] = []
    texts: list[str] = []
    text: list[str] = []
    chain, number = 0, 0
    for k, segment in enumerate(segments):
        if isinstance(segment, Break):
            texts, text, chain, number = [*texts, "/".join(text)], [], chain + 1, 0
            continue
        count = drawn[k]
        source += taken.get(k, [-1] * count)
        chains += [chain_id(chain)] * count
        numbers += range(number + 1, number + count + 1)
        number += count
        if isinstance(segment, Taken):
            text.append(f"{segment.chain}{segment.first}-{segment.last}")
        elif count:
            text.append(f"{count}-{count}")
    return Layout(np.array(source), tuple(chains), np.array(numbers), "/0 ".join([*texts, "/".join(text)]))


def chain_id(index: int) -> str:
    """A, B, ... Z, AA, AB, ...: the letters of a design's chains.

    >>> chain_id(0), chain_id(25), chain_id(26)
    ('A', 'Z', 'AA')
    """
    before, letter = divmod(index, 26)
    return (chain_id(before - 1) if before else "") + chr(ord("A") + letter)


def _taken(segment: Taken, backbone: Backbone | None) -> list[int]:
    """The indices in the source of a segment."""
    if backbone is None:
        raise UsageError(f"{segment.where}: there is no source to take it from; give one with --from.")
    rows = [i for i, chain in enumerate(backbone.chains) if chain == segment.chain]
    if not rows:
        has = ", ".join(backbone.chain_ids)
        raise UsageError(f"{segment.where}: the source has no chain {segment.chain}; it has {has}.")
    places = [Place(int(backbone.numbers[i]), backbone.insertions[i]) for i in rows]
    for place in (segment.first, segment.last):
        if place not in places:
            near = "" if place.insertion else f" {_nearby(place, places)}"
            raise UsageError(f"{segment.where}: chain {segment.chain} has no residue {place}.{near}".rstrip())
    found = range(places.index(segment.first), places.index(segment.last) + 1)
    if not found:
        raise UsageError(f"{segment.where}: {segment.first} comes after {segment.last} in the source.")
    for i in found[1:]:
        if places[i].number > places[i - 1].number + 1:
            raise UsageError(
                f"{segment.where}: chain {segment.chain} has a gap between {places[i - 1]} and {places[i]}; "
                f"take both sides with new residues between them."
            )
    return [rows[i] for i in found]


def _nearby(place: Place, places: Sequence[Place]) -> str:
    """What there is instead of a residue."""
    numbers = [x.number for x in places]
    if not min(numbers) <= place.number <= max(numbers):
        return f"It has residues {places[0]} to {places[-1]}."
    coded = [str(x) for x in places if x.number == place.number]
    return f"It has {', '.join(coded)}." if coded else "The source has a gap there."


def _check_once(segments: Sequence[Segment], taken: dict[int, list[int]]) -> None:
    seen: set[int] = set()
    for k, rows in taken.items():
        if seen.intersection(rows):
            raise UsageError(f"{segments[k].where}: some of these residues are taken twice.")
        seen.update(rows)


def _lengths(
    spans: Sequence[tuple[int, int]], length: int | tuple[int, int] | None, rng: np.random.Generator
) -> list[int]:
    """A length within each span, drawn evenly among all choices whose sum is as wanted."""
    least, most = sum(low for low, _ in spans), sum(high for _, high in spans)
    low, high = (least, most) if length is None else (length, length) if isinstance(length, int) else length
    if low > most or high < least or low > high:
        wanted = f"{low}" if low == high else f"{low} to {high}"
        has = f"{least}" if least == most else f"{least} to {most}"
        raise UsageError(f"The contig comes to {has} residues, and {wanted} are asked for.")
    # ways[k][s]: how many choices of the spans from k on come to s more than their least, relative to all
    ways = [np.ones(1)]
    for a, b in reversed(spans):
        ways.append(np.convolve(ways[-1], np.full(b - a + 1, 1 / (b - a + 1))))
    ways.reverse()
    extra = range(max(low - least, 0), min(high, most) - least + 1)
    left = int(rng.choice(np.array(extra), p=_shares(ways[0][extra.start : extra.stop])))
    drawn = []
    for k, (a, b) in enumerate(spans):
        options = np.arange(min(b - a, left) + 1)
        options = options[left - options < len(ways[k + 1])]
        more = int(rng.choice(options, p=_shares(ways[k + 1][left - options])))
        drawn.append(a + more)
        left -= more
    return drawn


def _shares(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = weights / weights.sum()
    return result


def region(text: str, backbone: Backbone) -> NDArray[np.bool_]:
    """(residues,) which residues of a backbone a list such as "A45-62,B7" names. Raises UsageError, one line,
    for what is none, or names what is not there.

    >>> region("A2-3", Backbone(np.zeros((4, 4, 3)))).tolist()
    [False, True, True, False]
    """
    chosen = np.zeros(len(backbone), bool)
    for segment in parse(text):
        if not isinstance(segment, Taken):
            raise UsageError(f"{segment.where}: a region is residues of the source, such as A45-62,B7.")
        chosen[_taken(segment, backbone)] = True
    return chosen
