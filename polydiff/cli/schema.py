"""`polydiff schema`: the settings of a domain or a model as JSON Schema."""

from __future__ import annotations

from typing import Any

import click

from polydiff.cli.output import echo_json
from polydiff.plugins.registry import get_registry


@click.command()
@click.argument("ref", metavar="DOMAIN|MODEL")
def command(ref: str) -> None:
    """Print the settings of a domain ("audio") or of a model ("audio/drums", a folder) as JSON Schema.

    conditions: what a sample can be asked for. options: what else may differ from sample to sample.
    config: what is fixed when a model is trained; a model's own values stand beside it.
    """
    echo_json(describe(ref))


def describe(ref: str) -> dict[str, Any]:
    """The object that the command prints. Raises UsageError and PluginError in one line."""
    from polydiff.conditions import ConditionSet

    registry = get_registry()
    bare = ref.rpartition(":")[2] in {info.name for info in registry.domains()}
    domain = registry.domain_info(ref).name if bare else ""
    if bare and not registry.presets(domain):  # nothing is trained yet: the domain speaks for itself
        model = registry.domain(ref)
        conditions = model().conditions()
        values: dict[str, Any] = {}
    else:
        from polydiff.models.manifest import MANIFEST, read_manifest
        from polydiff.models.refs import resolve

        folder = resolve(ref)
        manifest = read_manifest(folder)
        domain = manifest.domain
        model = registry.domain(domain)
        conditions = _read(ConditionSet, manifest.conditions, f"{folder / MANIFEST}: conditions")
        values = {"model": str(folder), "config_values": manifest.config}
    return {
        "domain": domain,
        "conditions": conditions.json_schema(),
        "options": model.Options.model_json_schema(),
        "config": model.Config.model_json_schema(),
        **values,
    }


def _read(kind: Any, values: Any, where: str) -> Any:
    from pydantic import ValidationError

    from polydiff.errors import UsageError

    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{where}: {first['msg']} (got {first['input']!r}).") from error
