"""A choice out of several, or a mixture of choices."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from polydiff.conditions.base import BaseCondition, Value
from polydiff.errors import did_you_mean

__all__ = ["SHOWN_CHOICES", "Categorical"]

SHOWN_CHOICES = 24
"""How many choices an error or a line of help lists."""


class Categorical(BaseCondition):
    """One of several choices, or a weighted mixture of them where `mixable`.

    Encoded as a weight for each choice and a last one for "any".

    >>> hit = Categorical(name="hit", choices=("kick", "snare", "clap"), mixable=True)
    >>> hit.parse("snare:1,clap:3")
    {'snare': 0.25, 'clap': 0.75}
    >>> hit.encode("kick+clap"), hit.encode(None)
    ([0.5, 0.0, 0.5, 0.0], [0.0, 0.0, 0.0, 1.0])
    """

    kind: Literal["categorical"] = "categorical"
    choices: tuple[str, ...] = Field(min_length=1)
    aliases: dict[str, str] = Field(default_factory=dict)
    mixable: bool = False

    @model_validator(mode="after")
    def _check(self) -> Categorical:
        if len(set(self.choices)) != len(self.choices):
            raise ValueError(f"{self.name}: a choice is listed twice")
        for alias, choice in self.aliases.items():
            if choice not in self.choices:
                raise ValueError(f"{self.name}: alias {alias!r} stands for {choice!r}, which is no choice")
        return self

    @property
    def width(self) -> int:
        return len(self.choices) + 1

    def _names(self, word: str) -> bool:
        return word in self.choices or word in self.aliases

    def _parse(self, value: object) -> Value:
        if isinstance(value, Mapping):
            return self._mixture([(self._choice(name), weight) for name, weight in value.items()])
        if isinstance(value, str) and self._find(value) is None and re.search("[+,]", value):
            parts = [part.rpartition(":") for part in re.split("[+,]", value)]
            named = [(name, weight) if colon else (weight, 1.0) for name, colon, weight in parts]
            return self._mixture([(self._choice(name), weight) for name, weight in named])
        return self._choice(value)

    def _find(self, word: str) -> str | None:
        """The choice that a word stands for, exactly or else without regard to case."""
        word = word.strip()
        known = {**{choice: choice for choice in self.choices}, **self.aliases}
        if word in known:
            return known[word]
        return {name.casefold(): choice for name, choice in reversed(known.items())}.get(word.casefold())

    def _choice(self, value: object) -> str:
        if not isinstance(value, str):
            try:
                if isinstance(value, bool):
                    raise TypeError
                value = str(operator.index(value))  # type: ignore[arg-type]
            except TypeError:
                raise self._fail(f"cannot use {value!r}; give one of {self._listed()}.") from None
        if (choice := self._find(value)) is not None:
            return choice
        suggestion = did_you_mean(value, [*self.choices, *self.aliases])
        raise self._fail(f"unknown choice {value.strip()!r}.{suggestion} Choose from {self._listed()}.")

    def _mixture(self, parts: list[tuple[str, Any]]) -> Value:
        weights: dict[str, float] = dict.fromkeys(self.choices, 0.0)
        for choice, text in parts:
            try:
                weight = float(text)
            except (TypeError, ValueError):
                raise self._fail(f"the weight {text!r} of {choice!r} is not a number.") from None
            if not (math.isfinite(weight) and weight >= 0):
                raise self._fail(f"the weight of {choice!r} must be 0 or more, not {text}.")
            weights[choice] += weight
        total = sum(weights.values())
        if total <= 0:
            raise self._fail("the weights of a mixture must not all be 0.")
        scale = (
            1.0 if math.isclose(total, 1.0) else 1 / total
        )  # a mixture that is parsed again stays as it is
        mixture = {choice: weight * scale for choice, weight in weights.items() if weight}
        if len(mixture) == 1:
            return next(iter(mixture))
        if not self.mixable:
            raise self._fail(f"takes one choice, not a mixture of {', '.join(mixture)}.")
        return mixture

    def _encode(self, value: Value) -> list[float]:
        if value is None:
            return [0.0] * len(self.choices) + [1.0]
        weights = value if isinstance(value, dict) else {value: 1.0}
        return [float(weights.get(choice, 0.0)) for choice in self.choices] + [0.0]

    def _schema(self) -> dict[str, Any]:
        names: dict[str, Any] = {"enum": [*self.choices, *self.aliases]}
        if not self.mixable:
            return names
        weights = {choice: {"type": "number", "minimum": 0} for choice in self.choices}
        mixture = {"type": "object", "properties": weights, "additionalProperties": False, "minProperties": 1}
        return {"anyOf": [names, mixture]}

    def _listed(self) -> str:
        shown = ", ".join(self.choices[:SHOWN_CHOICES])
        more = len(self.choices) - SHOWN_CHOICES
        return f"{shown} and {more} more" if more > 0 else shown

    def _accepts(self) -> str:
        first = self.choices[0], self.choices[-1]
        mixture = f"; or a mixture such as {first[0]}:0.5,{first[1]}:0.5" if self.mixable else ""
        return f"One of {self._listed()}{mixture}."
