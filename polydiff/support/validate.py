"""pydantic's verdicts as one line each: where, what, and the nearest name that would have been right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from polydiff.errors import UsageError, did_you_mean

__all__ = ["M", "one_line", "validated"]

M = TypeVar("M", bound=BaseModel)


def validated(model: type[M], values: Mapping[str, Any], where: str) -> M:
    """`model(**values)`, or a UsageError in one line that begins with `where`.

    >>> class Size(BaseModel, extra="forbid"):
    ...     width: int = 1
    >>> validated(Size, {"widht": 2}, "config.toml")
    Traceback (most recent call last):
    polydiff.errors.UsageError: config.toml: unknown key 'widht'. Did you mean 'width'?
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise UsageError(one_line(error, model, where)) from error


def one_line(error: ValidationError, model: type[BaseModel], where: str) -> str:
    """The first of pydantic's findings about `model` as one line."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _fields(model, first["loc"][:-1])
        hint = did_you_mean(str(first["loc"][-1]), known) or f" Known: {', '.join(known) or 'none'}."
        return f"{where}: unknown key {place!r}.{hint}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {place or model.__name__}: {message} (got {first['input']!r})."


def _fields(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    for part in path:
        field = model.model_fields.get(str(part))
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
