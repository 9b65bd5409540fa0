"""The attributes of a suite, and the subject that its tests share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from polydiff.dataset import Dataset
from polydiff.plugins.registry import get_registry
from polydiff.testing.subject import Subject
from polydiff.testing.words import clause

__all__ = ["EXAMPLES", "Clauses"]

EXAMPLES = 16  # as many of a dataset are looked at


class Clauses:
    """What every group of clauses can rely on."""

    domain: ClassVar[str]
    data: ClassVar[Path | str | None] = None
    config: ClassVar[Mapping[str, Any]] = {}
    region: ClassVar[str] = ""
    xfail: ClassVar[Mapping[str, str]] = {}
    overfit_steps: ClassVar[int] = 60
    _subject: ClassVar[Subject]

    def dataset(self) -> Dataset:
        """Examples with their conditions; override it where they are no files."""
        if self.data is None:
            pytest.fail(f"Set {type(self).__name__}.data to a folder of examples, or override dataset().")
        found = get_registry().domain(self.domain).dataset(self.data)
        places = np.linspace(0, len(found) - 1, min(EXAMPLES, len(found))).astype(int)
        return Dataset([found[int(i)] for i in places])

    def test_smoke(self, subject: Subject) -> None:
        with clause(
            "the network runs once",
            "make network() take a batch of encode()'s: forward(x, c_noise, mask, cond) -> the state.",
        ) as c:
            c.require(not subject.fault, subject.fault)

    @pytest.fixture
    def subject(self) -> Subject:
        """The domain under test, made once for the class."""
        cls = type(self)
        if "_subject" not in cls.__dict__:
            data = self.dataset()
            if len(data) < 8:
                pytest.fail(f"The suite needs eight examples at least; there are {len(data)}.")
            cls._subject = Subject.of(self.domain, data, self.config)
        return cls._subject
