"""Exporters of plugins: further formats that samples are written in, components of the kind "exporter"."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polydiff.errors import PluginError, UsageError, did_you_mean
from polydiff.plugins.registry import get_registry
from polydiff.spec import ComponentInfo

__all__ = ["Exporter", "exporter_for"]


@dataclass(frozen=True)
class Exporter:
    """Writes an example as one file. `info` is its component: the fact "suffix" says how its files end, by
    default a dot and its name."""

    info: ComponentInfo
    function: Callable[[Any, Path], Iterable[str] | None]

    @property
    def suffix(self) -> str:
        """How its files end."""
        return self.info.facts.get("suffix", f".{self.info.name}")

    def write(self, example: Any, path: Path) -> list[str]:
        """Write the file and return notes on what had to be changed. Raises UsageError for an example that it
        cannot write, PluginError where it fails."""
        with get_registry().blaming(self.info):
            notes = list(self.function(example, path) or ())
        if not path.exists():
            raise PluginError(f"the exporter {self.info.name} wrote no file {path.name}. Fix the plugin.")
        return notes


def exporter_for(domain: str, name: str, suffixes: Sequence[str] = ()) -> Exporter:
    """The exporter of a name for a domain. Where there is none, raises UsageError that lists the suffixes,
    which the domain writes itself, and the exporters."""
    registry = get_registry()
    short = name.rpartition(":")[2].partition(".")[0]
    serving = {info.name: info for info in registry.serving("exporter", domain)}
    if short not in serving:
        known = [*suffixes, *serving]
        hint = did_you_mean(name, serving) or did_you_mean(f".{name.removeprefix('.')}", suffixes)
        raise UsageError(f"--format {name}: {domain} writes {' '.join(known)}.{hint}")
    info = registry.component_info("exporter", name)
    return Exporter(info, registry.load(info))
