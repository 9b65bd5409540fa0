"""Typed conditions: what a model can be asked for, described once.

A condition checks a value (`parse`), turns it into numbers for a network (`encode`, `width`) and
describes itself to the command line, to web forms and to other programs (`option`, `json_schema`).
A model's conditions are a `ConditionSet`: plain data, stored as a list in model.json.

>>> digit = Categorical(name="digit", choices=("zero", "one", "two"), aliases={"0": "zero", "1": "one"})
>>> conditions = ConditionSet((digit, Real(name="pitch", low=0, high=100, unit="Hz")))
>>> conditions.parse({"digit": 1, "pitch": "50 Hz"})
{'digit': 'one', 'pitch': 50.0}
>>> conditions.encode({"digit": "one"})  # doctest: +ELLIPSIS
{'digit': [0.0, 1.0, 0.0, 0.0], 'pitch': [0.0, ...]}
>>> ConditionSet.model_validate_json(conditions.model_dump_json()) == conditions
True
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, Field, RootModel, model_validator

from polydiff.conditions.base import ANY, Value
from polydiff.conditions.categorical import Categorical
from polydiff.conditions.simple import MaskCondition, Real, Text
from polydiff.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    import click

__all__ = ["ANY", "Categorical", "Condition", "ConditionSet", "MaskCondition", "Real", "Text", "Value"]

Condition = Annotated[Categorical | Real | Text | MaskCondition, Field(discriminator="kind")]


class ConditionSet(RootModel[tuple[Condition, ...]]):
    """A model's conditions, in order: `ConditionSet((digit, speaker))`."""

    model_config = ConfigDict(frozen=True)

    root: tuple[Condition, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> ConditionSet:
        if len(set(self.names)) != len(self.root):
            raise ValueError(f"a condition's name is used twice: {', '.join(self.names)}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(condition.name for condition in self.root)

    @property
    def widths(self) -> dict[str, int]:
        """How many numbers `encode` gives for each condition."""
        return {condition.name: condition.width for condition in self.root}

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        return iter(self.root)

    def __len__(self) -> int:
        return len(self.root)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> Categorical | Real | Text | MaskCondition:
        for condition in self.root:
            if condition.name == name:
                return condition
        known = f"This model takes {', '.join(self.names)}." if self.root else "This model takes none."
        raise UsageError(f"unknown condition {name!r}.{did_you_mean(name, self.names)} {known}")

    def parse(self, values: Mapping[str, object]) -> dict[str, Value]:
        """Canonical values of the conditions named, in this set's order. Raises UsageError in one line."""
        parsed = {name: self[name].parse(value) for name, value in values.items()}
        return {name: parsed[name] for name in self.names if name in parsed}

    def encode(self, values: Mapping[str, object]) -> dict[str, list[float]]:
        """Numbers for every condition of the set; those not named get their null encoding."""
        parsed = self.parse(values)
        return {condition.name: condition.encode(parsed.get(condition.name)) for condition in self.root}

    def null(self) -> dict[str, list[float]]:
        """The encoding of "any" everywhere: the unconditional half of classifier-free guidance."""
        return self.encode({})

    def click_options(self) -> list[click.Option]:
        """One command-line flag a condition; each parses, so a command gets canonical values."""
        return [condition.option() for condition in self.root]

    def json_schema(self) -> dict[str, Any]:
        """The values that `parse` accepts, as the JSON Schema of an object."""
        properties = {condition.name: condition.json_schema() for condition in self.root}
        return {"type": "object", "properties": properties, "additionalProperties": False}
