"""What every condition answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from polydiff.errors import UsageError

if TYPE_CHECKING:
    import click

__all__ = ["ANY", "NAME_PATTERN", "BaseCondition", "Value"]

Value = str | float | bool | dict[str, float] | None
"""A parsed value; None leaves the choice to the model."""

ANY = "any"
"""The word for None, unless a choice or an alias has that name."""

NAME_PATTERN = r"^[a-z][a-z0-9_]*$"


class BaseCondition(BaseModel, ABC):
    """What all conditions share: a name, a line of help, and the handling of "any"."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME_PATTERN)
    help: str = ""
    kind: str

    @property
    @abstractmethod
    def width(self) -> int:
        """How many numbers `encode` gives."""

    def parse(self, value: object) -> Value:
        """The canonical form of `value`; parsing it again changes nothing.

        Raises UsageError in one line for a value that the condition does not take.
        """
        if value is None or (isinstance(value, str) and value.strip() == ANY and not self._names(ANY)):
            return None
        return self._parse(value)

    def encode(self, value: object) -> list[float]:
        """`width` numbers for a network; None gives the null encoding, the one for "any"."""
        return self._encode(self.parse(value))

    def json_schema(self) -> dict[str, Any]:
        """The values that `parse` accepts, as a JSON Schema."""
        schema = {**self._schema(), "title": self.name}
        return {**schema, "description": self.help} if self.help else schema

    def option(self) -> click.Option:
        """The command-line flag of this condition."""
        import click

        condition = self

        class Parsed(click.ParamType[Value]):
            name = condition.kind

            def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Value:
                return condition.parse(value)

        flag = "--" + self.name.replace("_", "-")
        text = ". ".join(part for part in (self.help.rstrip("."), self._accepts()) if part)
        return click.Option([flag, self.name], type=Parsed(), help=text, metavar=self._metavar())

    def _fail(self, problem: str) -> UsageError:
        return UsageError(f"{self.name}: {problem}")

    def _names(self, word: str) -> bool:
        return False

    @abstractmethod
    def _parse(self, value: object) -> Value: ...

    @abstractmethod
    def _encode(self, value: Value) -> list[float]: ...

    @abstractmethod
    def _schema(self) -> dict[str, Any]: ...

    def _accepts(self) -> str:
        return ""

    def _metavar(self) -> str:
        return self.kind.upper()
