"""A deprecated function works, warns, and points at the line that calls it."""

import inspect
from pathlib import Path

import pytest

from polydiff.support.deprecation import deprecated


@deprecated("Scale.up()", since="0.3", instead="Scale.times()")
def scaled(x: float, *, by: float = 2.0) -> float:
    """Doc."""
    return x * by


def test_it_works_as_before_and_says_what_to_write_instead() -> None:
    with pytest.warns(DeprecationWarning, match=r"Scale\.up\(\) .* since 0\.3: use Scale\.times\(\)"):
        assert scaled(3.0, by=4.0) == 12.0


def test_the_warning_is_at_the_callers_line() -> None:
    with pytest.warns(DeprecationWarning, match="deprecated") as caught:
        scaled(1.0)
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    assert caught[0].filename == __file__
    assert lines[caught[0].lineno - 1].strip() == "scaled(1.0)"


def test_what_it_wraps_can_still_be_read_by_tools() -> None:
    assert (scaled.__name__, scaled.__doc__) == ("scaled", "Doc.")
    assert list(inspect.signature(scaled).parameters) == ["x", "by"]
