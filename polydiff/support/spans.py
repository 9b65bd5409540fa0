"""Spans of a clip, as a user writes them: "0:0.3s", "250ms:1s", frames "0:8", several with commas between.

A side that is left out is the clip's own beginning or end, and `all` is the whole clip.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from polydiff.errors import UsageError

__all__ = ["Span", "complement", "parse"]

Span = tuple[float, float]
_PLACE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(ms|s)?")
_SLACK = 1e-3  # seconds that a rounded time may pass the end


def parse(text: str, length: float, rate: float | None = None) -> tuple[Span, ...]:
    """The spans in order, joined where they touch: in seconds, of a clip of `length` seconds; or, with `rate`
    frames a second, in frames, of a clip of `length` frames.

    A number without a unit is one of seconds, or with a rate one of frames, from 0; with a rate a single
    place is that frame. Raises UsageError, one line, for what is no span or passes the end of the clip.

    >>> parse("0.5:, 0:0.2s, 200ms:0.3", 1.0)
    ((0.0, 0.3), (0.5, 1.0))
    >>> parse("0:2, 0.5s:0.625s, 7", 8, rate=8)
    ((0, 2), (4, 5), (7, 8))
    """
    spans: list[Span] = []
    for start, stop in sorted(_span(part.strip(), length, rate) for part in text.split(",")):
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(stop, spans[-1][1]))
        else:
            spans.append((start, stop))
    return tuple(spans)


def complement(spans: Iterable[Span], length: float) -> tuple[Span, ...]:
    """What spans, in order, leave of 0 to `length`.

    >>> complement(((0.2, 0.4),), 1.0)
    ((0.0, 0.2), (0.4, 1.0))
    """
    edges = [0.0, *(place for span in spans for place in span), length]
    return tuple((a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b > a)


def _span(part: str, length: float, rate: float | None) -> Span:
    begin, colon, end = ("", ":", "") if part == "all" else part.partition(":")
    try:
        if not colon and rate is None:
            raise ValueError("it needs a start and an end in seconds")
        start = _place(begin, rate) if begin.strip() or not colon else 0.0
        stop = start + 1 if not colon else _place(end, rate) if end.strip() else length
        if stop <= start:
            raise ValueError("it ends before it begins")
    except ValueError as error:
        example = "0:0.3s" if rate is None else "0:4 or 0:0.5s"
        raise UsageError(f"The region {part!r}: {error}; write it like {example}.") from None
    if stop > length + (_SLACK if rate is None else 0):
        extent = f"{length:.3f} s" if rate is None else f"{length} frames ({length / rate:.3g} s)"
        raise UsageError(f"The region {part!r} passes the end of the clip: {extent}.")
    return start, min(stop, length)


def _place(text: str, rate: float | None) -> float:
    match = _PLACE.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text.strip()!r} is not a {'time' if rate is None else 'frame or a time'}")
    value, unit = float(match[1]), match[2]
    seconds = value / 1000 if unit == "ms" else value
    if rate is None:
        return seconds
    if unit is None and value != int(value):
        raise ValueError(f"{value:g} is no whole frame, for seconds write {value:g}s")
    return int(value) if unit is None else round(seconds * rate)
