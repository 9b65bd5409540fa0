"""The conformance suite of a domain plugin, as a pytest class to subclass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from polydiff.errors import UsageError, did_you_mean
from polydiff.testing.codec import CodecClauses
from polydiff.testing.describing import DescribingClauses
from polydiff.testing.judging import JudgingClauses
from polydiff.testing.network import NetworkClauses
from polydiff.testing.running import RunningClauses

__all__ = ["DomainSuite"]


class DomainSuite(DescribingClauses, CodecClauses, NetworkClauses, RunningClauses, JudgingClauses):
    """Subclass it, name the domain, and say where examples lie.

    domain: the name. data: a folder of at least eight files as `polydiff train` takes it; or override
    `dataset`. config: keys of the domain's Config, to keep the network small here. region: something to keep
    of an example, in the domain's own words, for domains with the capability "inpaint". xfail: clauses (the
    names of the tests without test_) that are known to fail, each with its reason; one that passes after all
    is an error, so that the list stays true.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        known = [name.removeprefix("test_") for name in dir(cls) if name.startswith("test_")]
        for name, reason in cls.__dict__.get("xfail", {}).items():
            if name not in known:
                raise UsageError(f"xfail: no clause {name!r}.{did_you_mean(name, known)} {', '.join(known)}")
            function = getattr(cls, f"test_{name}")

            def expected(self: Any, subject: Any, tmp_path: Path, function: Any = function) -> None:
                arguments = {"subject": subject, "tmp_path": tmp_path}
                names = function.__code__.co_varnames[1 : function.__code__.co_argcount]
                function(self, **{name: arguments[name] for name in names})

            setattr(cls, f"test_{name}", pytest.mark.xfail(reason=reason, strict=True)(expected))
