"""Writes docs/cli.md from the commands themselves: `python scripts/cli_reference.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
WIDTH = 100

HEAD = """# Command line

Written by `scripts/cli_reference.py` from the commands themselves; do not edit it by hand.

With `--json` a command prints one object on standard output; all else goes to standard error.
`polydiff sample` and `polydiff schema` know the flags of the model or domain that they are given, so
`polydiff sample audio/drums --help` shows more than the page below.
"""


def sections() -> Iterator[str]:
    """The help of polydiff and of each of its commands, as Markdown."""
    from polydiff.cli.commands import COMMANDS, help_page
    from polydiff.cli.group import cli

    yield section("polydiff", help_page())
    settings = {**cli.context_settings, "max_content_width": WIDTH, "terminal_width": WIDTH}
    root = click.Context(cli, info_name="polydiff", **settings)
    for name in COMMANDS:
        command = cli.get_command(root, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=root)
        yield section(context.command_path, command.get_help(context))


def section(title: str, text: str) -> str:
    return f"\n## {title}\n\n```text\n{text.rstrip()}\n```\n"


def page() -> str:
    """The whole page."""
    return HEAD + "".join(sections())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
