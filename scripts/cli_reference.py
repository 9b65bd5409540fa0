"""Writes docs/cli.md from the commands themselves: `python scripts/cli_reference.py [--check]`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"

HEAD = """# Command line

This page is written by `scripts/cli_reference.py` from the commands themselves.

`--json` prints one object on standard output and everything else goes to standard error. Exit codes: 0 done,
1 failed, 2 usage or bad input, 3 plugin missing or broken, 130 interrupted. `--debug` shows the traceback of an error.
"""


def sections(command: click.Command, context: click.Context, level: int = 2) -> Iterator[str]:
    """The help of a command and of all below it, as Markdown."""
    yield f"\n{'#' * level} {context.command_path}\n\n```text\n{command.get_help(context).rstrip()}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                yield from sections(child, click.Context(child, info_name=name, parent=context), level)


def page() -> str:
    from polydiff.cli.main import cli

    root = click.Context(cli, info_name="polydiff", max_content_width=100, terminal_width=100)
    return HEAD + "".join(sections(cli, root))


def main() -> None:
    text = page()
    if "--check" in sys.argv[1:]:
        if PAGE.read_text(encoding="utf-8") != text:
            sys.exit(f"{PAGE} is behind the code: run python scripts/cli_reference.py")
    else:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
