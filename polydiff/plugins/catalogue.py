"""What the plugins of a process provide, by name.

A name is short ("adams"), with a version where components have one ("adams.v1"), or with the name of
the plugin or distribution that provides it in front ("polydiff:adams"). A short name that two
plugins provide is an error that names both.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from polydiff.errors import PluginError, UsageError, did_you_mean
from polydiff.plugins.discovery import Broken, guarded
from polydiff.plugins.manager import Info, PluginRecord
from polydiff.spec import ComponentInfo, DomainInfo, PresetInfo

T = TypeVar("T", DomainInfo, ComponentInfo, PresetInfo)


@dataclass(frozen=True)
class Entry(Generic[T]):
    """Something provided, and the key of the plugin that provides it."""

    key: str
    info: T


class Catalogue:
    """Answers by name; `Registry` fills it."""

    def __init__(self) -> None:
        self._records: dict[str, PluginRecord] = {}
        self._entries: list[Entry[Any]] = []

    @property
    def plugins(self) -> tuple[PluginRecord, ...]:
        """Every plugin found, healthy or not, the core first."""
        return tuple(self._records.values())

    @property
    def broken(self) -> tuple[PluginRecord, ...]:
        """Those that cannot be used, each with its cause and its remedy."""
        return tuple(record for record in self.plugins if record.status == "broken")

    def provided(self, record: PluginRecord) -> tuple[Info, ...]:
        """Everything that one plugin brings."""
        return tuple(entry.info for entry in self._entries if self._records[entry.key] is record)

    def owner(self, info: Info) -> PluginRecord:
        """The plugin that brings something."""
        return next(self._records[entry.key] for entry in self._entries if entry.info is info)

    def domains(self) -> tuple[DomainInfo, ...]:
        """Every domain of a healthy plugin."""
        return tuple(entry.info for entry in self._of(DomainInfo))

    def domain_info(self, name: str) -> DomainInfo:
        """The description of a domain. Raises PluginError."""
        owner, _, short = name.rpartition(":")
        matches = self._owned(self._of(DomainInfo), owner, lambda info: info.name == short)
        if matches:
            return self._single(f"domain {short}", f"{{owner}}:{short}", matches)
        for record in self.plugins:
            if record.status != "ok" and short in (record.name, record.distribution):
                raise PluginError(why(record))
        names = [info.name for info in self.domains()]
        raise PluginError(f"no plugin brings the domain {name!r}.{self._known(name, names)}")

    def domain(self, name: str) -> Any:
        """The Domain class: imports what the domain needs. Raises PluginError with the cause."""
        info = self.domain_info(name)
        found = self._load(info)
        stated = getattr(found, "name", None)
        if not isinstance(found, type) or stated != info.name:
            what = f"calls itself {stated!r}" if isinstance(found, type) else "is not a class"
            raise PluginError(f"domain {info.name}: its factory {info.factory} {what}. Fix the plugin.")
        return found

    def presets(self, domain: str | None = None) -> tuple[PresetInfo, ...]:
        """The presets of one domain, or of all."""
        return tuple(entry.info for entry in self._of(PresetInfo) if domain in (None, entry.info.domain))

    def preset(self, domain: str, name: str | None = None) -> PresetInfo:
        """A domain's preset, without a name its default one. Raises UsageError, PluginError."""
        domain = self.domain_info(domain).name
        found = [entry for entry in self._of(PresetInfo) if entry.info.domain == domain]
        names = [entry.info.name for entry in found]
        if name is None:
            matches = found if len(found) == 1 else [entry for entry in found if entry.info.default]
            if not matches:
                raise UsageError(f"{domain} has no default preset.{self._known('', names)}")
            return self._single(
                f"default preset of {domain}", f"{domain}/{{owner}}:{matches[0].info.name}", matches
            )
        owner, _, short = name.rpartition(":")
        matches = self._owned(found, owner, lambda info: info.name == short)
        if not matches:
            raise UsageError(f"unknown preset {domain}/{name}.{self._known(name, names)}")
        return self._single(f"preset {domain}/{short}", f"{domain}/{{owner}}:{short}", matches)

    def components(self, kind: str | None = None) -> tuple[ComponentInfo, ...]:
        """The components of one kind, or all."""
        return tuple(entry.info for entry in self._of(ComponentInfo) if kind in (None, entry.info.kind))

    def component_info(self, kind: str, name: str) -> ComponentInfo:
        """The description of a component; without a version, its newest. Raises UsageError, PluginError."""
        owner, _, short = name.rpartition(":")
        found = [entry for entry in self._of(ComponentInfo) if entry.info.kind == kind]
        matches = self._owned(found, owner, lambda info: short in (info.name, info.full_name))
        if not matches:
            names = sorted({entry.info.name for entry in found})
            raise UsageError(f"unknown {kind} {name!r}.{self._known(name, names)}")
        if len({entry.key for entry in matches}) == 1:  # one plugin: its newest version is meant
            matches = [max(matches, key=lambda entry: entry.info.version)]
        return self._single(f"{kind} {short}", f"{{owner}}:{short}", matches)

    def component(self, kind: str, name: str) -> Any:
        """The object itself, a function or a class. Raises UsageError, PluginError."""
        return self._load(self.component_info(kind, name))

    def collisions(self) -> tuple[str, ...]:
        """A line for every name that more than one plugin claims."""
        groups: dict[tuple[str, str], list[Entry[Any]]] = {}
        for entry in self._entries:
            info = entry.info
            if isinstance(info, DomainInfo):
                key = f"domain {info.name}", f"{{owner}}:{info.name}"
            elif isinstance(info, PresetInfo):
                key = f"preset {info.ref}", f"{info.domain}/{{owner}}:{info.name}"
            else:
                key = f"{info.kind} {info.full_name}", f"{{owner}}:{info.full_name}"
            groups.setdefault(key, []).append(entry)
        return tuple(self._clash(*names, found) for names, found in groups.items() if len(found) > 1)

    def _of(self, kind: type[T]) -> list[Entry[T]]:
        return [entry for entry in self._entries if isinstance(entry.info, kind)]

    def _owned(self, entries: list[Entry[T]], owner: str, fits: Callable[[T], bool]) -> list[Entry[T]]:
        def owned(entry: Entry[T]) -> bool:
            record = self._records[entry.key]
            return not owner or owner in (record.name, record.distribution)

        return [entry for entry in entries if fits(entry.info) and owned(entry)]

    def _single(self, what: str, full: str, entries: list[Entry[T]]) -> T:
        if len(entries) > 1:
            raise PluginError(self._clash(what, full, entries))
        return entries[0].info

    def _clash(self, what: str, full: str, entries: list[Entry[T]]) -> str:
        first, second = (self._records[entry.key] for entry in entries[:2])
        return (
            f"the {what} is provided by both {first.owner} and {second.owner}: "
            f"write {full.format(owner=first.owner)}, or switch one off with -p no:{second.name}."
        )

    def _load(self, info: DomainInfo | ComponentInfo) -> Any:
        if not isinstance(info.factory, str):
            return info.factory
        module, _, path = info.factory.partition(":")
        try:
            with guarded(f"importing {module}", remedy(self.owner(info).distribution)):
                found: Any = importlib.import_module(module)
                for attribute in path.split("."):
                    found = getattr(found, attribute)
        except Broken as error:
            raise PluginError(f"{info.name}: {error.cause}. {error.remedy}") from error
        return found

    def _known(self, name: str, names: Iterable[str]) -> str:
        """The end of an error line: a suggestion, what there is, and whether something is broken."""
        names = list(names)
        known = f" Choose from {', '.join(names)}." if names else " None is installed."
        broken = f" (broken plugins: {len(self.broken)}; see `polydiff plugins`)" if self.broken else ""
        return f"{did_you_mean(name, names)}{known}{broken}"


def remedy(distribution: str) -> str:
    """What a user can do about a plugin that fails in its own code."""
    if not distribution:
        return "Fix the plugin."
    return f"Update it (pip install -U {distribution}), remove it, or tell its author."


def why(record: PluginRecord) -> str:
    """One line on a plugin that cannot be used."""
    if record.status == "off":
        return f"the plugin {record.name} is {record.cause}."
    return f"the plugin {record.name} is broken: {record.cause}. {record.remedy}"
