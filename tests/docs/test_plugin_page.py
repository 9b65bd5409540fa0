"""docs/plugins.md names every hook with its arguments, every kind of component, and what is public."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest

from polydiff import hookspecs
from polydiff.spec import KINDS
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
HOOKS = [name for name in vars(hookspecs) if name.startswith("polydiff_")]


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_stands_there_with_its_signature(name: str) -> None:
    arguments = ", ".join(inspect.signature(getattr(hookspecs, name)).parameters)
    assert f"| `{name}({arguments})` |" in PAGE


def test_no_hook_stands_there_that_is_none() -> None:
    assert set(re.findall(r"polydiff_[a-z_]+(?=\()", PAGE)) == set(HOOKS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_component_says_who_asks_for_it(kind: str) -> None:
    assert re.search(rf"^\| `{kind}` \| \S.* \| \S.* \|$", PAGE, re.MULTILINE)


def test_fields_of_what_methods_are_given() -> None:
    from polydiff.dataset import Item
    from polydiff.domain import Gate, Metric, SampleRequest

    for kind in (SampleRequest, Item, Metric, Gate):
        for field in dataclasses.fields(kind):
            assert f"`{field.name}`" in PAGE or f"`{field.name}(" in PAGE, f"{kind.__name__}.{field.name}"


@pytest.mark.parametrize("name", re.findall(r"`(polydiff\.\w+)`", PAGE.partition("## What is public")[2]))
def test_public_modules_say_what_they_hold(name: str) -> None:
    module = importlib.import_module(name)
    inside = pkgutil.walk_packages(getattr(module, "__path__", []), f"{name}.")
    found = [module, *(importlib.import_module(info.name) for info in inside)]
    stated = [part for part in found if not _only_words(part)]
    assert stated
    for part in stated:
        assert hasattr(part, "__all__"), f"{part.__name__} has no __all__"
        missing = [word for word in part.__all__ if not hasattr(part, word)]
        assert not missing, f"{part.__name__} does not hold {missing}"


def _only_words(module: ModuleType) -> bool:
    """A package whose __init__ is empty, or a docstring."""
    source = Path(str(module.__file__)).read_text(encoding="utf-8")
    return not re.search(r"^(import|from|def|class|\w+ ?[:=])", source, re.MULTILINE)
