"""Printing for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from unicodedata import category

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")

_CONTROLS = ("Cc", "Cf", "Cs")  # of terminals, of the direction of writing, and bytes that are no text


def printable(text: str) -> str:
    """A text on one line with its control characters shown, since names of files may hold those that a
    terminal obeys.

    >>> printable("a\\x1b[31m\\nb")
    'a\\\\x1b[31m b'
    """
    line = " ".join(text.split("\n"))
    return "".join(
        c if category(c) not in _CONTROLS else c.encode("unicode_escape", "surrogatepass").decode()
        for c in line
    )


def echo_json(value: Any) -> None:
    """One JSON object on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def echo_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns on stdout, the last one as wide as it likes.

    >>> echo_table(["NAME", "SIZE"], [["digits", "12 MB"]])
    NAME    SIZE
    digits  12 MB
    """
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def size(count: int) -> str:
    """A number of bytes for people.

    >>> size(12_345_678)
    '11.8 MiB'
    """
    return f"{count / 2**20:.1f} MiB"
