"""`polydiff presets`: the trained models that come with plugins."""

from __future__ import annotations

import click

from polydiff.cli.output import echo_json, echo_table, json_option, size
from polydiff.plugins.registry import get_registry


@click.command()
@click.argument("domain", required=False)
@json_option
def command(domain: str | None, as_json: bool) -> None:
    """List the trained models that come with plugins, of one DOMAIN or of all.

    The one marked * is what the domain's bare name stands for.
    """
    registry = get_registry()
    presets = registry.presets(registry.domain_info(domain).name if domain else None)
    if as_json:
        echo_json(
            {
                "presets": [
                    {
                        "ref": info.ref,
                        "folder": info.folder,
                        "licence": info.licence,
                        "size_bytes": info.size_bytes,
                        "summary": info.summary,
                        "default": info.default,
                        "plugin": registry.owner(info).owner,
                    }
                    for info in presets
                ]
            }
        )
        return
    rows = [
        [info.ref + (" *" if info.default else ""), size(info.size_bytes), info.licence, info.summary]
        for info in presets
    ]
    echo_table(["NAME", "SIZE", "LICENCE", "WHAT"], rows)
    if not rows:
        click.echo("None is installed. Train one: polydiff train --help")
