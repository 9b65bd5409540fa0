"""Conditions: parsing, encoding, errors in words, and the round trip through JSON."""

from __future__ import annotations

import json
import math

import click
import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from pydantic import ValidationError

from polydiff.conditions import Categorical, ConditionSet, MaskCondition, Real, Text
from polydiff.errors import UsageError

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIGIT = Categorical(
    name="digit", choices=WORDS, aliases={str(i): word for i, word in enumerate(WORDS)}, help="What is said."
)
HIT = Categorical(name="hit", choices=("kick", "snare", "clap"), mixable=True)
PITCH = Real(name="pitch", low=20, high=120, unit="st", aliases={"C4": 60})
CAPTION = Text(name="caption", max_length=8)
GIVEN = MaskCondition(name="given")
ALL = ConditionSet((DIGIT, HIT, PITCH, CAPTION, GIVEN))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("seven", "seven"),
        ("Seven ", "seven"),
        ("7", "seven"),
        (7, "seven"),
        (numpy.int64(7), "seven"),
        (None, None),
        ("any", None),
    ],
)
def test_one_choice(value: object, expected: str | None) -> None:
    assert DIGIT.parse(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("snare", "snare"),
        ("snare:0.5,clap:0.5", {"snare": 0.5, "clap": 0.5}),
        ("clap+snare", {"snare": 0.5, "clap": 0.5}),
        ({"clap": 3, "kick": 1}, {"kick": 0.25, "clap": 0.75}),
        ({"clap": 3, "kick": 0}, "clap"),
        ("clap,clap", "clap"),
    ],
)
def test_mixtures(value: object, expected: object) -> None:
    assert HIT.parse(value) == expected


def test_choices_may_contain_the_signs_of_a_mixture() -> None:
    odd = Categorical(name="odd", choices=("a+b", "c:1", "any"))
    assert [odd.parse(choice) for choice in odd.choices] == list(odd.choices)


@settings(deadline=None)  # a busy machine is no failure
@given(some.dictionaries(some.sampled_from(HIT.choices), some.floats(0.001, 1e6), min_size=1))
def test_parsing_again_changes_nothing(weights: dict[str, float]) -> None:
    once = HIT.parse(weights)
    assert HIT.parse(once) == once
    assert math.isclose(sum(HIT.encode(once)), 1)


@pytest.mark.parametrize(
    ("condition", "value", "words"),
    [
        (DIGIT, "sevn", ["digit: unknown choice 'sevn'.", "Did you mean 'seven'?", "Choose from zero, one"]),
        (DIGIT, 12, ["unknown choice '12'"]),
        (DIGIT, 1.5, ["cannot use 1.5"]),
        (DIGIT, "one+two", ["takes one choice, not a mixture of one, two"]),
        (DIGIT, True, ["cannot use True"]),
        (HIT, "snare:half,clap:1", ["the weight 'half' of 'snare' is not a number"]),
        (HIT, {"snare": -1}, ["must be 0 or more"]),
        (HIT, {"snare": math.nan}, ["must be 0 or more"]),
        (HIT, {"snare": 0}, ["must not all be 0"]),
        (HIT, {}, ["must not all be 0"]),
        (HIT, "snare+clip", ["unknown choice 'clip'", "Did you mean 'clap'?"]),
        (PITCH, 10, ["pitch: 10 is outside 20 to 120 st."]),
        (PITCH, "high", ["'high' is not a number in 20 to 120 st"]),
        (PITCH, "C44", ["Did you mean 'C4'?"]),
        (PITCH, math.nan, ["outside"]),
        (PITCH, True, ["not a number"]),
        (CAPTION, "nine bytes", ["has 10 bytes; shorten it to 8"]),
        (CAPTION, 3, ["takes text, not 3"]),
        (CAPTION, "\ud800", ["not valid text"]),
        (GIVEN, "maybe", ["takes yes or no, not 'maybe'"]),
    ],
)
def test_bad_values_are_explained_in_one_line(
    condition: Categorical, value: object, words: list[str]
) -> None:
    with pytest.raises(UsageError) as raised:
        condition.parse(value)
    assert "\n" not in str(raised.value)
    for part in words:
        assert part in str(raised.value)


def test_encodings() -> None:
    assert DIGIT.encode("zero") == [1.0] + [0.0] * 10
    assert DIGIT.encode(None) == [0.0] * 10 + [1.0]
    assert HIT.encode("kick+clap") == [0.5, 0.0, 0.5, 0.0]
    assert PITCH.encode("c4") == PITCH.encode("C4")
    assert PITCH.encode("C4")[:4] == pytest.approx(
        [1, -0.2, math.sin(-0.2 * math.pi), math.cos(0.2 * math.pi)]
    )
    assert PITCH.encode("120 st")[:2] == [1, 1]
    assert PITCH.encode(None) == [0.0] * PITCH.width
    assert CAPTION.encode("é") == [0xC3 / 255, 0xA9 / 255] + [0.0] * 6 + [1.0]
    assert CAPTION.encode("") != CAPTION.encode(None)
    assert GIVEN.encode("yes") == [1.0]
    assert GIVEN.encode(None) == GIVEN.encode("no") == [0.0]


def test_near_numbers_are_told_apart() -> None:
    low, high = PITCH.encode(70), PITCH.encode(71)
    assert max(abs(a - b) for a, b in zip(low, high, strict=True)) > 0.5


def test_every_encoding_is_as_wide_as_it_says() -> None:
    encoded = ALL.encode({"digit": 3, "hit": "kick+clap", "pitch": 60, "caption": "hello", "given": True})
    assert {name: len(numbers) for name, numbers in encoded.items()} == ALL.widths
    assert {name: len(numbers) for name, numbers in ALL.null().items()} == ALL.widths
    assert all(-1 <= number <= 1 for numbers in encoded.values() for number in numbers)


def test_a_set_is_a_list_in_json() -> None:
    text = ALL.model_dump_json()
    assert [entry["kind"] for entry in json.loads(text)] == [
        "categorical",
        "categorical",
        "real",
        "text",
        "mask",
    ]
    assert ConditionSet.model_validate_json(text) == ALL
    assert ConditionSet.model_validate(tuple(json.loads(text))) == ALL


def test_a_set_by_name() -> None:
    assert ALL.parse({"pitch": 60, "digit": "7"}) == {"digit": "seven", "pitch": 60.0}
    assert list(ALL.parse({"pitch": 60, "digit": "7"})) == ["digit", "pitch"]
    assert [condition.name for condition in ALL] == list(ALL.names)
    assert ("digit" in ALL, "speaker" in ALL, len(ALL)) == (True, False, 5)
    with pytest.raises(
        UsageError, match=r"unknown condition 'digt'\. Did you mean 'digit'\? This model takes digit, hit"
    ):
        ALL.parse({"digt": 7})
    with pytest.raises(UsageError, match=r"This model takes none\."):
        ConditionSet(()).parse({"digit": 7})


@pytest.mark.parametrize(
    "make",
    [
        lambda: ConditionSet((DIGIT, DIGIT)),
        lambda: Categorical(name="x", choices=("a", "a")),
        lambda: Categorical(name="x", choices=()),
        lambda: Categorical(name="x", choices=("a",), aliases={"b": "c"}),
        lambda: Categorical(name="No Name", choices=("a",)),
        lambda: Real(name="x", low=1, high=1),
        lambda: Real(name="x", low=0, high=math.inf),
        lambda: Real(name="x", low=0, high=1, aliases={"loud": 2}),
        lambda: Text(name="x", max_length=0),
        lambda: Categorical(name="x", choices=("a",), colour="red"),
    ],
)
def test_descriptions_that_make_no_sense_are_refused(make: object) -> None:
    with pytest.raises(ValidationError):
        make()  # type: ignore[operator]


def test_flags() -> None:
    command = click.Command("sample", params=[*ALL.click_options()], callback=lambda **values: values)
    values = command.main(["--digit", "7", "--hit", "kick+clap", "--given", "yes"], standalone_mode=False)
    assert values == {
        "digit": "seven",
        "hit": {"kick": 0.5, "clap": 0.5},
        "pitch": None,
        "caption": None,
        "given": True,
    }
    page = command.get_help(click.Context(command))
    assert "What is said. One of zero, one" in " ".join(page.split())
    assert "--pitch REAL" in page
    with pytest.raises(UsageError, match="digit: unknown choice 'sevn'"):
        command.main(["--digit", "sevn"], standalone_mode=False)


def test_json_schema() -> None:
    schema = ALL.json_schema()
    assert schema["additionalProperties"] is False
    assert schema["properties"]["digit"] == {
        "enum": [*WORDS, *"0123456789"],
        "title": "digit",
        "description": "What is said.",
    }
    assert schema["properties"]["pitch"]["anyOf"][0] == {"type": "number", "minimum": 20, "maximum": 120}
    json.dumps(schema)
