"""Printing for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


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
