"""What can go wrong, and the exit code that each kind of failure has on the command line."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class PolydiffError(Exception):
    """A failure that one line explains: what, where, and how to fix it. Exit code 1."""

    exit_code = 1


class UsageError(PolydiffError):
    """The input cannot be used: an unknown name, a bad file, a wrong value. Exit code 2."""

    exit_code = 2


class PluginError(PolydiffError):
    """A plugin is missing or broken. Exit code 3."""

    exit_code = 3


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """A suggestion to append to an error line, or nothing.

    >>> did_you_mean("sevn", ["six", "seven"])
    " Did you mean 'seven'?"
    >>> did_you_mean("xylophone", ["six", "seven"])
    ''
    """
    close = get_close_matches(str(word), list(choices), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""
