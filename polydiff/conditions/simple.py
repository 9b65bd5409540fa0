"""Conditions that are one value: a number, a text, a yes or no."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, model_validator

from polydiff.conditions.base import BaseCondition, Value
from polydiff.errors import did_you_mean

__all__ = ["MaskCondition", "Real", "Text"]

_OCTAVES = 7


class Real(BaseCondition):
    """A number between `low` and `high`, with its unit; aliases name particular values.

    Encoded as a flag that is 1, the value v scaled to -1..1, and sin and cos of pi v 2^k for k = 0 to 6,
    so that a network can tell near values apart with a linear map; all are 0 for "any".

    >>> pitch = Real(name="pitch", low=21, high=108, aliases={"C4": 60})
    >>> pitch.parse("C4"), Real(name="tempo", low=60, high=180, unit="bpm").encode("120 bpm")[:4]
    (60.0, [1.0, 0.0, 0.0, 1.0])
    """

    kind: Literal["real"] = "real"
    low: float
    high: float
    unit: str = ""
    aliases: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Real:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"{self.name}: low must be less than high, and both finite")
        for alias, value in self.aliases.items():
            if not self.low <= value <= self.high:
                raise ValueError(f"{self.name}: alias {alias!r} = {value:g} lies outside {self._range()}")
        return self

    @property
    def width(self) -> int:
        return 2 + 2 * _OCTAVES

    def _names(self, word: str) -> bool:
        return word in self.aliases

    def _parse(self, value: object) -> Value:
        number = self._number(value)
        if not self.low <= number <= self.high:
            raise self._fail(f"{value} is outside {self._range()}.")
        return number

    def _number(self, value: object) -> float:
        if isinstance(value, str):
            word = value.strip()
            named = {name.casefold(): number for name, number in self.aliases.items()} | self.aliases
            for spelling in (word, word.casefold()):
                if spelling in named:
                    return named[spelling]
            value = word.removesuffix(self.unit).strip() if self.unit else word
        try:
            if isinstance(value, bool):
                raise TypeError
            return float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            suggestion = did_you_mean(str(value), self.aliases)
            raise self._fail(f"{value!r} is not a number in {self._range()}.{suggestion}") from None

    def _encode(self, value: Value) -> list[float]:
        if value is None:
            return [0.0] * self.width
        assert isinstance(value, float)
        scaled = 2 * (value - self.low) / (self.high - self.low) - 1
        angles = [math.pi * scaled * 2**octave for octave in range(_OCTAVES)]
        return [1.0, scaled, *(wave(angle) for angle in angles for wave in (math.sin, math.cos))]

    def _schema(self) -> dict[str, Any]:
        number = {"type": "number", "minimum": self.low, "maximum": self.high}
        return {"anyOf": [number, {"enum": list(self.aliases)}]} if self.aliases else number

    def _range(self) -> str:
        return f"{self.low:g} to {self.high:g} {self.unit}".rstrip()

    def _accepts(self) -> str:
        examples = ", ".join(list(self.aliases)[:3])
        return f"{self._range()}{f'; or a name such as {examples}' if examples else ''}."


class Text(BaseCondition):
    """Free text of at most `max_length` bytes in UTF-8.

    Encoded as its bytes / 255, padded with 0, and a flag that is 1; all are 0 for "any".
    """

    kind: Literal["text"] = "text"
    max_length: int = Field(default=64, ge=1)

    @property
    def width(self) -> int:
        return self.max_length + 1

    def _parse(self, value: object) -> Value:
        if not isinstance(value, str):
            raise self._fail(f"takes text, not {value!r}.")
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            raise self._fail(f"{value!r} is not valid text (it cannot be written as UTF-8).") from None
        if size > self.max_length:
            raise self._fail(f"the text has {size} bytes; shorten it to {self.max_length}.")
        return value

    def _encode(self, value: Value) -> list[float]:
        if value is None:
            return [0.0] * self.width
        data = str(value).encode()
        return [byte / 255 for byte in data] + [0.0] * (self.max_length - len(data)) + [1.0]

    def _schema(self) -> dict[str, Any]:
        return {"type": "string", "maxLength": self.max_length}

    def _accepts(self) -> str:
        return f"At most {self.max_length} bytes."


class MaskCondition(BaseCondition):
    """Whether part of the example is given to the model (the part itself is in the state and its mask)."""

    kind: Literal["mask"] = "mask"

    @property
    def width(self) -> int:
        return 1

    def _parse(self, value: object) -> Value:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.strip().lower() in words:
            return words[value.strip().lower()]
        raise self._fail(f"takes yes or no, not {value!r}.")

    def _encode(self, value: Value) -> list[float]:
        return [float(bool(value))]

    def _schema(self) -> dict[str, Any]:
        return {"type": "boolean"}

    def _metavar(self) -> str:
        return "yes|no"
