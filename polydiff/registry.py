"""Who provides what: finds plugins, keeps broken ones apart, answers by name.

>>> registry = get_registry()
>>> registry.component_info("solver", "ddim").full_name
'ddim.v1'
"""

from __future__ import annotations

import importlib
import logging
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from polydiff import __version__, builtin
from polydiff.errors import PluginError, UsageError, did_you_mean
from polydiff.hookspecs import API_VERSION, hookimpl
from polydiff.manager import (
    LISTINGS,
    Broken,
    Info,
    Manager,
    PluginRecord,
    check_requirements,
    distributions,
    guarded,
    import_file,
    import_plugin,
)
from polydiff.spec import ComponentInfo, DomainInfo, PresetInfo, RunInfo

log = logging.getLogger("polydiff")

VARIABLE = "POLYDIFF_PLUGINS"
"""Environment variable: requests as `-p` takes them, separated by commas."""

T = TypeVar("T", DomainInfo, ComponentInfo, PresetInfo)


@dataclass(frozen=True)
class _Entry:
    """Something provided, and the key of the plugin that provides it."""

    key: str
    info: Info


class Registry:
    """All plugins of a process.

    requests: as on the command line, a plugin's name, a module, a file.py, or "no:name" to leave one
    out. A plugin that cannot be used is recorded in `plugins`; using what it should provide raises
    PluginError with the recorded cause.
    """

    def __init__(self, requests: Sequence[str] = ()) -> None:
        self._manager = Manager()
        self._plugins: dict[str, Any] = {}
        self._records: dict[str, PluginRecord] = {}
        self._entries: list[_Entry] = []
        self._off = {request.removeprefix("no:") for request in requests if request.startswith("no:")}
        self._admit("polydiff", PluginRecord("polydiff", "polydiff", __version__), lambda: builtin)
        self._discover()
        for request in requests:
            if not request.startswith("no:"):
                self._request(request)

    @property
    def plugins(self) -> tuple[PluginRecord, ...]:
        """Every plugin found, healthy or not, the core first."""
        return tuple(self._records.values())

    @property
    def broken(self) -> tuple[PluginRecord, ...]:
        return tuple(record for record in self.plugins if record.status == "broken")

    # -- letting plugins in -------------------------------------------------------------------------

    def load(self, request: str) -> None:
        """Do what `-p request` does; unlike a plugin that was merely found, it must succeed."""
        if request.startswith("no:"):
            self._switch_off(request.removeprefix("no:"))
            return
        record = self._request(request)
        if record.status != "ok":
            raise PluginError(_why(record))

    def register(self, provided: Any) -> None:
        """Add a Domain class, a DomainInfo (ComponentInfo, PresetInfo) or a plugin module, here and now.

        A second registration under the same name replaces the first, so that a notebook's cell can
        run again. Raises PluginError.
        """
        plugin = provided
        if isinstance(provided, type) and isinstance(getattr(provided, "name", None), str):
            plugin = _plugin_of(_describe(provided))
        elif isinstance(provided, DomainInfo | ComponentInfo | PresetInfo):
            plugin = _plugin_of(provided)
        name = getattr(plugin, "__name__", None) or type(plugin).__name__
        self._remove(name)
        record = self._admit(name, PluginRecord(name, "", ""), lambda: plugin)
        if record.status == "broken":
            self._remove(name)
            raise PluginError(_why(record))

    def _discover(self) -> None:
        for distribution, points in distributions():
            for point in points:
                record = PluginRecord(point.name, distribution.name, distribution.version)

                def find(module: str = point.value, of: Any = distribution) -> Any:
                    check_requirements(of.requires or ())
                    return import_plugin(module, _remedy(of.name))

                self._admit(f"{distribution.name}:{point.name}", record, find)

    def _request(self, request: str) -> PluginRecord:
        for record in self.plugins:
            if request in (record.name, record.distribution):
                return record
        if request.endswith(".py"):
            path = Path(request)
            return self._admit(request, PluginRecord(path.stem, "", ""), lambda: import_file(path))
        names = [record.name for record in self.plugins]

        def find() -> Any:
            try:
                return import_plugin(request, f"Mend {request}.")
            except Broken as error:
                missing = error.__cause__
                if isinstance(missing, ModuleNotFoundError) and missing.name == request.partition(".")[0]:
                    remedy = f"Install it, or check the name.{did_you_mean(request, names)}"
                    raise Broken("no plugin, module or file has that name", remedy) from None
                raise

        return self._admit(request, PluginRecord(request, "", ""), find)

    def _admit(self, key: str, record: PluginRecord, find: Callable[[], Any]) -> PluginRecord:
        if {record.name, record.distribution} & self._off:
            record = replace(record, status="off", cause=f"switched off (no:{record.name})")
        else:
            try:
                plugin = find()
                infos = self._manager.admit(plugin, key, _remedy(record.distribution))
            except Broken as error:
                record = replace(record, status="broken", cause=error.cause, remedy=error.remedy)
            else:
                self._plugins[key] = plugin
                self._entries += [_Entry(key, info) for info in infos]
        self._records[key] = record
        return record

    def _switch_off(self, name: str) -> None:
        keys = [key for key, record in self._records.items() if name in (record.name, record.distribution)]
        if not keys:
            names = [record.name for record in self.plugins]
            raise PluginError(f"there is no plugin {name!r} to switch off.{did_you_mean(name, names)}")
        for key in keys:
            record = self._records[key]
            self._remove(key)
            self._records[key] = replace(record, status="off", cause=f"switched off (no:{name})", remedy="")

    def _remove(self, key: str) -> None:
        if key in self._plugins:
            self._manager.unregister(self._plugins.pop(key), key)
        self._records.pop(key, None)
        self._entries = [entry for entry in self._entries if entry.key != key]

    # -- answering by name --------------------------------------------------------------------------

    def domains(self) -> tuple[DomainInfo, ...]:
        return self._all(DomainInfo)

    def domain_info(self, name: str) -> DomainInfo:
        """The description of a domain, "name" or "distribution:name". Raises PluginError."""
        found = [entry for entry in self._entries if isinstance(entry.info, DomainInfo)]
        owner, _, short = name.rpartition(":")
        matches = self._owned([entry for entry in found if entry.info.name == short], owner)
        if not matches:
            for record in self.plugins:
                if record.status != "ok" and short in (record.name, record.distribution):
                    raise PluginError(_why(record))
            names = [info.name for info in self.domains()]
            known = f"Installed: {', '.join(names)}." if names else "None is installed."
            raise PluginError(
                f"no plugin brings the domain {name!r}.{did_you_mean(name, names)} {known}{self._hint()}"
            )
        info = self._single(f"domain {short}", matches).info
        assert isinstance(info, DomainInfo)
        return info

    def domain(self, name: str) -> Any:
        """The Domain class: imports what the domain needs. Raises PluginError with the cause."""
        info = self.domain_info(name)
        found = self._load(info)
        if not isinstance(found, type):
            raise PluginError(f"domain {info.name}: {info.factory} is not a class.")
        if getattr(found, "name", None) != info.name:
            stated = getattr(found, "name", None)
            raise PluginError(
                f"domain {info.name}: {info.factory} calls itself {stated!r}; make the two agree."
            )
        return found

    def presets(self, domain: str | None = None) -> tuple[PresetInfo, ...]:
        return tuple(info for info in self._all(PresetInfo) if domain in (None, info.domain))

    def preset(self, domain: str, name: str | None = None) -> PresetInfo:
        """A domain's preset, by default its default one. Raises UsageError, PluginError."""
        domain = self.domain_info(domain).name
        found = [
            entry
            for entry in self._entries
            if isinstance(entry.info, PresetInfo) and entry.info.domain == domain
        ]
        names = [entry.info.name for entry in found]
        known = f"{domain} has {', '.join(names)}." if found else f"{domain} has none installed."
        if name is None:
            defaults = [e for e in found if isinstance(e.info, PresetInfo) and e.info.default]
            matches = found if len(found) == 1 else defaults
            if not matches:
                raise UsageError(f"{domain} has no default preset: name one. {known}")
        else:
            owner, _, short = name.rpartition(":")
            matches = self._owned([entry for entry in found if entry.info.name == short], owner)
            if not matches:
                raise UsageError(f"unknown preset {domain}/{name}.{did_you_mean(name, names)} {known}")
        info = self._single(f"preset {domain}/{name or ''}".rstrip("/"), matches).info
        assert isinstance(info, PresetInfo)
        return info

    def components(self, kind: str | None = None) -> tuple[ComponentInfo, ...]:
        return tuple(info for info in self._all(ComponentInfo) if kind in (None, info.kind))

    def component_info(self, kind: str, name: str) -> ComponentInfo:
        """A component by "name" (its newest version), "name.v1" or "distribution:name". Raises UsageError."""
        owner, _, short = name.rpartition(":")
        named = [
            entry
            for entry in self._entries
            if isinstance(entry.info, ComponentInfo)
            and entry.info.kind == kind
            and short in (entry.info.name, entry.info.full_name)
        ]
        matches = self._owned(named, owner)
        if not matches:
            names = sorted({info.name for info in self.components(kind)})
            known = f"Choose from {', '.join(names)}." if names else "None is installed."
            raise UsageError(f"unknown {kind} {name!r}.{did_you_mean(name, names)} {known}{self._hint()}")
        newest = max(entry.info.version for entry in matches if isinstance(entry.info, ComponentInfo))
        owners = {self._records[entry.key].owner for entry in matches}
        if len(owners) == 1:
            matches = [e for e in matches if isinstance(e.info, ComponentInfo) and e.info.version == newest]
        info = self._single(f"{kind} {short}", matches).info
        assert isinstance(info, ComponentInfo)
        return info

    def component(self, kind: str, name: str) -> Any:
        """The object itself: a function or a class. Raises UsageError, PluginError."""
        return self._load(self.component_info(kind, name))

    def owner(self, info: Info) -> PluginRecord:
        """The plugin that provides something."""
        return next(self._records[entry.key] for entry in self._entries if entry.info is info)

    def _all(self, kind: type[T]) -> tuple[T, ...]:
        return tuple(entry.info for entry in self._entries if isinstance(entry.info, kind))

    def _owned(self, entries: list[_Entry], owner: str) -> list[_Entry]:
        records = self._records
        return [
            entry
            for entry in entries
            if not owner or owner in (records[entry.key].name, records[entry.key].distribution)
        ]

    def _single(self, what: str, entries: list[_Entry]) -> _Entry:
        if len(entries) == 1:
            return entries[0]
        first, second = (self._records[entry.key] for entry in entries[:2])
        name = what.rpartition(" ")[2].rpartition("/")[2]
        raise PluginError(
            f"{what} is provided by both {first.owner} and {second.owner}: "
            f"write {first.owner}:{name}, or switch one off with -p no:{second.name}."
        )

    def _load(self, info: DomainInfo | ComponentInfo) -> Any:
        if not isinstance(info.factory, str):
            return info.factory
        module, _, path = info.factory.partition(":")
        try:
            with guarded(f"importing {module}", _remedy(self.owner(info).distribution)):
                found: Any = importlib.import_module(module)
                for attribute in path.split("."):
                    found = getattr(found, attribute)
        except Broken as error:
            raise PluginError(f"{info.name}: {error.cause}. {error.remedy}") from error
        return found

    def _hint(self) -> str:
        count = len(self.broken)
        return f" ({count} broken, see `polydiff plugins`)" if count else ""

    # -- asking plugins during a run ----------------------------------------------------------------

    def resolve_checkpoint(self, ref: str) -> str | None:
        """The local folder that some plugin knows for a reference."""
        return self._first("polydiff_resolve_checkpoint", ref=ref)

    def guess_domain(self, path: str, head: bytes) -> str | None:
        """The domain that some plugin sees in a file."""
        return self._first("polydiff_guess_domain", path=path, head=head)

    def run(self, run: RunInfo) -> Any:
        """Execute a run inside the plugins' wrappers."""
        return self._manager.hook.polydiff_run(run=run)

    def callbacks(self, run: RunInfo) -> list[Callable[..., None]]:
        """The callbacks of all plugins for one run; call them without asking again."""
        return [callback for found in self._ask("polydiff_callbacks", run=run) for callback in found or ()]

    def finished(self, run: RunInfo, outputs: Iterable[str]) -> None:
        """Tell every plugin that a run is over."""
        for _ in self._ask("polydiff_run_finished", run=run, outputs=list(outputs)):
            pass

    def _first(self, hook: str, **arguments: Any) -> Any:
        return next((answer for answer in self._ask(hook, **arguments) if answer is not None), None)

    def _ask(self, hook: str, **arguments: Any) -> Iterable[Any]:
        for key, plugin in list(self._plugins.items()):
            record = self._records[key]
            try:
                answers = self._manager.call(hook, plugin, arguments, _remedy(record.distribution))
            except Broken as error:
                log.warning("plugin %s: %s", record.name, error.cause)
                self._records[key] = replace(record, status="broken", cause=error.cause, remedy=error.remedy)
            else:
                yield from answers


def _remedy(distribution: str) -> str:
    if not distribution:
        return "Mend the plugin."
    return f"Update it (pip install -U {distribution}), remove it, or tell its author."


def _why(record: PluginRecord) -> str:
    if record.status == "off":
        return f"plugin {record.name} is {record.cause}."
    return f"plugin {record.name} is broken: {record.cause}. {record.remedy}"


def _describe(domain: Any) -> DomainInfo:
    """The description of a Domain class that has no plugin module around it."""
    summary = (domain.__doc__ or "").strip().partition("\n")[0]
    return DomainInfo(
        name=domain.name,
        title=domain.name.replace("_", " ").capitalize(),
        summary=summary,
        factory=domain,
        suffixes=tuple(getattr(domain, "suffixes", ())),
        capabilities=tuple(getattr(domain, "capabilities", ())),
    )


def _plugin_of(info: Info) -> Any:
    """A plugin that provides one thing."""
    hook = next(name for name, kind in LISTINGS.items() if isinstance(info, kind))

    def provide() -> list[Info]:
        return [info]

    attributes = {"polydiff_api": API_VERSION, hook: hookimpl(provide), "__name__": info.name}
    return SimpleNamespace(**attributes)


_lock = threading.Lock()
_registry: Registry | None = None


def get_registry() -> Registry:
    """The process's registry, made at first use from what is installed and POLYDIFF_PLUGINS."""
    global _registry
    with _lock:
        if _registry is None:
            words = (word.strip() for word in os.environ.get(VARIABLE, "").split(","))
            _registry = Registry([word for word in words if word])
        return _registry
