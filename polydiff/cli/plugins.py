"""`polydiff plugins`: what is installed, from where, healthy or not."""

from __future__ import annotations

from collections import Counter

import click

from polydiff.cli.commands import COMMANDS
from polydiff.cli.output import echo_json, echo_table, json_option
from polydiff.errors import PluginError
from polydiff.plugins.manager import Info, PluginRecord
from polydiff.plugins.registry import get_registry
from polydiff.spec import CommandInfo, ComponentInfo, DomainInfo, PresetInfo


@click.command()
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> int:
    """List the plugins; say of a broken one why it is broken and what to do.

    The exit code is 0 even if some are broken; with `polydiff --strict plugins` it is then 3.
    """
    registry = get_registry()
    if as_json:
        described = [_describe(record, registry.provided(record)) for record in registry.plugins]
        echo_json({"plugins": described, "collisions": collisions()})
    else:
        rows = [
            [record.name, record.version or "-", record.status, record.distribution or "-", _summary(record)]
            for record in registry.plugins
        ]
        echo_table(["NAME", "VERSION", "STATUS", "FROM", "PROVIDES"], rows)
        for record in registry.broken:
            click.echo(f"\n{record.name} is broken: {record.cause}.\n  Remedy: {record.remedy}")
        for line in collisions():
            click.echo(f"\n{line[0].upper()}{line[1:]}")
    strict = ctx.find_root().params.get("strict", False)
    return PluginError.exit_code if strict and registry.broken else 0


def collisions() -> tuple[str, ...]:
    """A line for every name that is claimed twice, commands of the core's own names included."""
    registry = get_registry()
    hidden = [
        (info.name, registry.owner(info).owner) for info in registry.commands() if info.name in COMMANDS
    ]
    own = (
        f"the command {name} of {owner} is hidden by polydiff's own. Tell its author."
        for name, owner in hidden
    )
    return (*registry.collisions(), *own)


def _summary(record: PluginRecord) -> str:
    provided = get_registry().provided(record)
    domains = [info.name for info in provided if isinstance(info, DomainInfo)]
    presets = sum(isinstance(info, PresetInfo) for info in provided)
    kinds = Counter(info.kind for info in provided if isinstance(info, ComponentInfo))
    commands = [info.name for info in provided if isinstance(info, CommandInfo)]
    parts = [f"domain {name}" for name in domains]
    parts += [_count(presets, "preset")] if presets else []
    parts += [_count(number, kind) for kind, number in kinds.items()]
    parts += [f"command {name}" for name in commands]
    return ", ".join(parts)


def _count(number: int, noun: str) -> str:
    plural = noun if number == 1 or noun == "guidance" else noun + ("es" if noun.endswith("s") else "s")
    return f"{number} {plural}"


def _describe(record: PluginRecord, provided: tuple[Info, ...]) -> dict[str, object]:
    return {
        "name": record.name,
        "distribution": record.distribution,
        "version": record.version,
        "status": record.status,
        "cause": record.cause,
        "remedy": record.remedy,
        "domains": [info.name for info in provided if isinstance(info, DomainInfo)],
        "presets": [info.ref for info in provided if isinstance(info, PresetInfo)],
        "components": [
            f"{info.kind}:{info.full_name}" for info in provided if isinstance(info, ComponentInfo)
        ],
        "commands": [info.name for info in provided if isinstance(info, CommandInfo)],
    }
