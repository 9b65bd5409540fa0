"""`polydiff domains`: the kinds of data."""

from __future__ import annotations

import click

from polydiff.cli.output import echo_json, echo_table, json_option
from polydiff.plugins.registry import get_registry


@click.command()
@json_option
def command(as_json: bool) -> None:
    """List the kinds of data that installed plugins bring."""
    registry = get_registry()
    if as_json:
        echo_json(
            {
                "domains": [
                    {
                        "name": info.name,
                        "title": info.title,
                        "summary": info.summary,
                        "suffixes": info.suffixes,
                        "previews": info.previews,
                        "capabilities": info.capabilities,
                        "presets": [preset.ref for preset in registry.presets(info.name)],
                        "plugin": registry.owner(info).owner,
                    }
                    for info in registry.domains()
                ]
            }
        )
        return
    rows = [
        [info.name, " ".join(info.suffixes), registry.owner(info).owner, info.summary]
        for info in registry.domains()
    ]
    echo_table(["NAME", "FILES", "FROM", "WHAT"], rows)
    if not rows:
        click.echo("None is installed. Try: pip install polydiff-audio")
    if registry.broken:
        click.echo(f"Broken plugins: {len(registry.broken)}; see `polydiff plugins`.", err=True)
