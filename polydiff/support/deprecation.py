"""A warning before a public name goes: see "What is public, and how it changes" in CONTRIBUTING.md."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ["deprecated"]

P = ParamSpec("P")
R = TypeVar("R")


def deprecated(name: str, since: str, instead: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorates a function or a method: it works as before, and each call warns in the caller's own line.

    name: what the caller wrote; since: the release that first warns; instead: what to write now.

    >>> @deprecated("louder(x)", since="1.2", instead="x.scaled(2)")
    ... def louder(x):
    ...     return 2 * x
    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     louder(3)
    6
    >>> print(caught[0].message)
    louder(x) is deprecated since 1.2: use x.scaled(2).
    """

    def wrap(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def warned(*args: P.args, **kwargs: P.kwargs) -> R:
            text = f"{name} is deprecated since {since}: use {instead}."
            warnings.warn(text, DeprecationWarning, stacklevel=2)
            return function(*args, **kwargs)

        return warned

    return wrap
