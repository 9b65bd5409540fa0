"""What is quick must stay quick: which modules a command imports, not how long it takes."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"torch", "numpy", "pydantic", "rich", "scipy", "soundfile", "matplotlib"}
STILL_SLOW = {"click", "pluggy", "importlib.metadata", "typing", "dataclasses", "inspect", "re", "json"}


def imported(code: str) -> set[str]:
    """The modules in sys.modules after running code in a new process."""
    whole = f"{code}\nimport sys\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize("command", [["--help"], ["--version"], []])
def test_help_imports_next_to_nothing(command: list[str]) -> None:
    before = imported("")
    new = imported(f"from polydiff.cli.main import main; assert main({command}) == 0") - before
    assert not new & (HEAVY | STILL_SLOW)


@pytest.mark.parametrize("command", [["plugins"], ["domains", "--json"], ["presets"], ["solvers"]])
def test_listing_imports_nothing_heavy(command: list[str]) -> None:
    assert not imported(f"from polydiff.cli.main import main; assert main({command}) == 0") & HEAVY


def test_importing_polydiff_is_light() -> None:
    assert not imported("import polydiff") & (HEAVY | STILL_SLOW)
