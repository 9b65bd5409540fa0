"""Clauses on what a plugin says of its domain."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from polydiff.conditions import ConditionSet
from polydiff.plugins.registry import get_registry
from polydiff.testing.base import Clauses
from polydiff.testing.subject import Subject
from polydiff.testing.words import clause

__all__ = ["HEAVY", "DescribingClauses"]

HEAVY = ("torch", "numpy", "pydantic", "scipy", "matplotlib", "rich")


class DescribingClauses(Clauses):
    """Light import; one description, not two."""

    def test_light_import(self, subject: Subject) -> None:
        module = subject.light_module()
        if module is None:
            pytest.skip("registered by hand, so nothing is discovered")
        code = f"import sys, json, {module}; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
        with clause(
            "the module of the entry point is light",
            "import heavy libraries in another module and name that one in DomainInfo(factory=...); it "
            "may import polydiff.hookspecs and polydiff.spec.",
        ) as c:
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
            c.require(done.returncode == 0, done.stderr.strip().rpartition("\n")[2])
            heavy = json.loads(done.stdout.splitlines()[-1])
            c.require(not heavy, f"importing {module} imports {', '.join(heavy)}")

    def test_description(self, subject: Subject) -> None:
        info, kind = get_registry().domain_info(self.domain), subject.kind
        with clause("DomainInfo agrees with the class", "make the two say the same.") as c:
            c.require(
                tuple(info.suffixes) == tuple(kind.suffixes), f"suffixes {info.suffixes} and {kind.suffixes}"
            )
            c.require(
                set(info.capabilities) == set(kind.capabilities),
                f"capabilities {sorted(info.capabilities)} and {sorted(kind.capabilities)}",
            )
        with clause("configuration survives JSON", "give Config only types that JSON knows.") as c:
            text = subject.domain.config.model_dump_json()
            again = kind.Config.model_validate_json(text)
            c.require(again == subject.domain.config, f"it came back otherwise: {text}")
        with clause(
            "Config and Options refuse unknown keys", "derive them from polydiff.domain.Strict."
        ) as c:
            for model in (kind.Config, kind.Options):
                c.require(
                    model.model_config.get("extra") == "forbid", f"{model.__name__} takes any key in silence"
                )
        with clause("conditions survive JSON", "build them from polydiff.conditions.") as c:
            conditions = subject.domain.conditions()
            text = conditions.model_dump_json()
            c.require(ConditionSet.model_validate_json(text) == conditions, text)
