"""From the labels of training clips to the conditions of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from polydiff.conditions import Categorical, ConditionSet, Real
from polydiff.errors import UsageError

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
NOTES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_MOST_CHOICES = 256


def conditions_of(labels: Sequence[Mapping[str, Any]]) -> ConditionSet:
    """One condition a label: a choice where values repeat, a number where they are many and numeric.

    The label `digit` is spoken: its choices are words, and numerals stand for them. The label `pitch` holds
    MIDI numbers, and note names stand for them: 60 and C4 mean the same.

    >>> digit, pitch = conditions_of([{"digit": 7, "pitch": 60}, {"digit": 1, "pitch": 69}])
    >>> digit.choices, digit.parse(7), pitch.parse("C4")
    (('one', 'seven'), 'seven', 60.0)
    """
    names = list(dict.fromkeys(name for row in labels for name in row))
    return ConditionSet(
        tuple(_condition(name, [row[name] for row in labels if name in row]) for name in names)
    )


def note_name(midi: int) -> str:
    """
    >>> note_name(60), note_name(70)
    ('C4', 'A#4')
    """
    return f"{NOTES[midi % 12]}{midi // 12 - 1}"


def _condition(name: str, values: Iterable[Any]) -> Categorical | Real:
    values = list(values)
    numbers = [_number(value) for value in values]
    whole = sorted({int(n) for n in numbers if n is not None and n == int(n)})
    numeric = None not in numbers
    integral = numeric and all(n == int(n) for n in numbers if n is not None)
    if integral and name == "digit" and 0 <= whole[0] <= whole[-1] <= 9:
        aliases = {str(n): WORDS[n] for n in whole}
        choices = tuple(aliases.values())
        return Categorical(name=name, choices=choices, aliases=aliases, mixable=True, help="The digit spoken")
    if integral and name == "pitch" and 0 <= whole[0] <= whole[-1] <= 127:
        bottom, top = min(21, whole[0]), max(108, whole[-1])  # at least the keys of a piano
        notes = {note_name(n): float(n) for n in range(bottom, top + 1)}
        return Real(name=name, low=bottom, high=top, aliases=notes, help="The note, by name or MIDI number")
    distinct = sorted({str(value) for value in values})
    if numeric and len(distinct) > min(32, len(values) // 4):
        low, high = min(n for n in numbers if n is not None), max(n for n in numbers if n is not None)
        return Real(name=name, low=low, high=high)
    if len(distinct) > _MOST_CHOICES:
        raise UsageError(
            f"The label {name!r} has {len(distinct)} different values, too many for a condition; "
            'name the labels to learn, such as labels = ["class"].'
        )
    return Categorical(name=name, choices=tuple(distinct), mixable=True)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
