"""Error texts for a model that does not fit the installed version of its plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from polydiff.domain import Domain
from polydiff.errors import UsageError
from polydiff.models.manifest import MANIFEST, Manifest
from polydiff.plugins.registry import get_registry
from polydiff.support.validate import validated

__all__ = ["made_by", "read_config"]


def made_by(manifest: Manifest) -> str:
    """The end of an error line: which version of which plugin made the model, and which is installed."""
    registry = get_registry()
    record = registry.owner(registry.domain_info(manifest.domain))
    then = _named(manifest.plugin or record.owner, manifest.plugin_version)
    now = _named(record.owner, record.version)
    if then == now and record.version:
        return f"The model was made with the plugin {then}, the version that is installed."
    return (
        f"The model was made with the plugin {then}, and {now} is installed, which may store other things. "
        "Install the version that made the model, or train it anew."
    )


def read_config(kind: type[Domain], manifest: Manifest, folder: str | Path) -> Any:
    """The `Config` of a model. Raises UsageError, in one line that names both versions of the plugin, where
    the plugin does not know such a one."""
    try:
        return validated(kind.Config, manifest.config, f"{Path(folder) / MANIFEST}: config")
    except UsageError as error:
        raise UsageError(f"{error} {made_by(manifest)}") from error


def _named(plugin: str, version: str) -> str:
    return f"{plugin} {version}" if version else f"{plugin} (no version)"
