"""Where settings come from: file < POLYDIFF_* variables < --set < flags, each a nested dictionary.

A file is TOML. A variable names section and key with two underscores between: POLYDIFF_TRAINING__STEPS=500
is `steps` in the section [training]. `--set training.steps=500` is the same on the command line.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from polydiff.errors import UsageError, did_you_mean

__all__ = [
    "PREFIX",
    "Settings",
    "check_sections",
    "from_assignments",
    "from_file",
    "from_variables",
    "merged",
]

PREFIX = "POLYDIFF_"

Settings = dict[str, Any]


def from_file(path: str | Path) -> Settings:
    """A TOML file as a dictionary; UsageError in one line where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return tomllib.load(file)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not valid TOML: {error}.") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error}).") from error


def from_variables(sections: Iterable[str], environment: Mapping[str, str] | None = None) -> Settings:
    """Settings in POLYDIFF_SECTION__KEY variables of the given sections.

    >>> from_variables(["training"], {"POLYDIFF_TRAINING__STEPS": "500"})
    {'training': {'steps': 500}}
    """
    environment = os.environ if environment is None else environment
    known, found = list(sections), []
    for variable, value in environment.items():
        path = variable.removeprefix(PREFIX).lower().split("__")
        if variable.startswith(PREFIX) and len(path) > 1 and path[0] in known:
            found.append(f"{'.'.join(path)}={value}")
    return from_assignments(found)


def from_assignments(assignments: Iterable[str]) -> Settings:
    """Settings from "a.b=1" words; a value is read as TOML, and as plain text where it is none.

    >>> from_assignments(["training.steps=500", "schedule.name=cosine", "data.rates=[1, 2]"])
    {'training': {'steps': 500}, 'schedule': {'name': 'cosine'}, 'data': {'rates': [1, 2]}}
    """
    settings: Settings = {}
    for word in assignments:
        key, equals, text = word.partition("=")
        path = [part.strip() for part in key.split(".")]
        if not equals or not all(path):
            raise UsageError(f"--set {word}: write KEY=VALUE, such as training.steps=500.")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        except (ValueError, RecursionError) as error:  # numbers and nesting beyond what Python takes
            raise UsageError(f"--set {key}: the value cannot be read ({error}).") from error
        nested: Any = value
        for part in reversed(path):
            nested = {part: nested}
        settings = merged(settings, nested)
    return settings


def merged(*layers: Mapping[str, Any]) -> Settings:
    """Nested dictionaries as one, later layers over earlier ones.

    >>> merged({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}})
    {'a': {'x': 1, 'y': 3}}
    """
    result: Settings = {}
    for layer in layers:
        for key, value in layer.items():
            old = result.get(key)
            both = isinstance(old, Mapping) and isinstance(value, Mapping)
            result[key] = merged(old, value) if both else value  # type: ignore[arg-type]
    return result


def check_sections(settings: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Raise a UsageError for a section that is none, with the nearest one that is."""
    known = list(known)
    for name in settings:
        if name not in known:
            hint = did_you_mean(name, known) or f" Known: {', '.join(known)}."
            raise UsageError(f"{where}: unknown key {name!r}.{hint}")
        if not isinstance(settings[name], Mapping):
            raise UsageError(
                f"{where}: {name} is a section, write {name}.KEY=VALUE (got {settings[name]!r})."
            )
