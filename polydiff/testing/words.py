"""Failures that speak: which clause of the contract broke, how, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["Clause", "ContractBroken", "clause"]


class ContractBroken(AssertionError):
    """A clause of the domain contract does not hold."""


@dataclass(frozen=True)
class Clause:
    """One clause and the usual remedy."""

    text: str
    remedy: str

    def require(self, holds: object, what: str) -> None:
        """Fail in words where the clause does not hold."""
        if not holds:
            raise ContractBroken(self._words(what))

    def _words(self, what: str) -> str:
        return f"the clause {self.text!r} is broken: {what}\nWhat to do: {self.remedy}"


@contextmanager
def clause(text: str, remedy: str) -> Iterator[Clause]:
    """A clause under test; an exception from the plugin counts as breaking it.

    >>> with clause("one is two", "Think again.") as c:
    ...     c.require(1 == 2, "1 is not 2")
    Traceback (most recent call last):
    polydiff.testing.words.ContractBroken: the clause 'one is two' is broken: 1 is not 2
    What to do: Think again.
    """
    this = Clause(text, remedy)
    try:
        yield this
    except ContractBroken:
        raise
    except Exception as error:
        raise ContractBroken(this._words(f"it raised {type(error).__name__}: {error}")) from error
