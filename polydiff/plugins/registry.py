"""The plugins of a process: finds them, keeps broken ones apart, and asks them during a run.

>>> registry = get_registry()
>>> registry.component_info("solver", "ddim").full_name
'ddim.v1'
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from polydiff import __version__
from polydiff.errors import PluginError, did_you_mean
from polydiff.hookspecs import API_VERSION, hookimpl
from polydiff.plugins import builtin
from polydiff.plugins.catalogue import Catalogue, Entry, remedy, why
from polydiff.plugins.discovery import (
    Broken,
    Source,
    check_requirements,
    guarded,
    import_file,
    import_plugin,
    installed,
)
from polydiff.plugins.manager import LISTINGS, Info, Manager, PluginRecord
from polydiff.spec import ComponentInfo, DomainInfo, PresetInfo, RunInfo

log = logging.getLogger("polydiff")

VARIABLE = "POLYDIFF_PLUGINS"
"""Environment variable: requests as `-p` takes them, separated by commas."""

NO = "no:"


class Registry(Catalogue):
    """All plugins of a process.

    requests: a plugin's name, a module, a file.py, or "no:name" to leave one out. A plugin that
    cannot be used is recorded in `plugins`; using what it should provide raises PluginError with the
    recorded cause.
    """

    def __init__(self, requests: Sequence[str] = ()) -> None:
        super().__init__()
        self._manager = Manager()
        self._plugins: dict[str, Any] = {}
        self._off = {request.removeprefix(NO) for request in requests if request.startswith(NO)}
        self._admit("polydiff", PluginRecord("polydiff", "polydiff", __version__), lambda: builtin)
        for source in installed():
            record = PluginRecord(source.name, source.distribution, source.version)
            self._admit(f"{source.distribution}:{source.name}", record, partial(_import, source))
        for request in requests:
            if not request.startswith(NO):
                self._request(request)

    def require(self, request: str) -> None:
        """Do what a request says, if it is not done yet. Raises PluginError where it cannot be done."""
        name = request.removeprefix(NO)
        if request.startswith(NO):
            self._switch_off(name)
        elif (record := self._request(name)).status != "ok":
            raise PluginError(why(record))

    def register(self, provided: Any) -> None:
        """Add a Domain class, a DomainInfo, ComponentInfo or PresetInfo, or a plugin module, here and now.

        A second registration under the same name replaces the first, so that a notebook's cell can
        run again. Raises PluginError.
        """
        plugin = provided
        if isinstance(provided, DomainInfo | ComponentInfo | PresetInfo):
            plugin = _plugin_of(provided)
        elif isinstance(provided, type) and isinstance(getattr(provided, "name", None), str):
            plugin = _plugin_of(_describe(provided))
        name = getattr(plugin, "__name__", None) or type(plugin).__name__
        self._remove(name)
        record = self._admit(name, PluginRecord(name, "", ""), lambda: plugin)
        if record.status == "broken":
            self._remove(name)
            raise PluginError(why(record))

    def _request(self, request: str) -> PluginRecord:
        for key, record in self._records.items():
            if request in (key, record.name, record.distribution):
                return record
        if request.endswith(".py"):
            path = Path(request)
            return self._admit(request, PluginRecord(path.stem, "", ""), lambda: import_file(path))

        def find() -> Any:
            try:
                return import_plugin(request, "Fix it.")
            except Broken as error:
                missing = error.__cause__
                if not (isinstance(missing, ModuleNotFoundError) and str(missing.name) in request):
                    raise
                names = [record.name for record in self.plugins]
                advice = f"Install it, or check the name.{did_you_mean(request, names)}"
                raise Broken("no plugin, module or file has that name", advice) from None

        return self._admit(request, PluginRecord(request, "", ""), find)

    def _admit(self, key: str, record: PluginRecord, find: Callable[[], Any]) -> PluginRecord:
        if {record.name, record.distribution} & self._off:
            record = replace(record, status="off", cause="switched off")
        else:
            advice = remedy(record.distribution)
            try:
                with guarded("reading it", advice):
                    plugin = find()
                    infos = self._manager.admit(plugin, key, advice)
            except Broken as error:
                record = replace(record, status="broken", cause=error.cause, remedy=error.remedy)
            else:
                self._plugins[key] = plugin
                self._entries += [Entry(key, info) for info in infos]
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
            self._records[key] = replace(record, status="off", cause="switched off", remedy="")

    def _remove(self, key: str) -> None:
        if key in self._plugins:
            self._manager.unregister(self._plugins.pop(key), key)
        self._records.pop(key, None)
        self._entries = [entry for entry in self._entries if entry.key != key]

    # --- during a run -----------------------------------------------------------------------------------

    def resolve_checkpoint(self, ref: str) -> str | None:
        """The local folder that some plugin knows for a reference."""
        return self._first("polydiff_resolve_checkpoint", ref=ref)

    def guess_domain(self, path: str, head: bytes) -> str | None:
        """The domain that some plugin sees in a file, given its first bytes."""
        return self._first("polydiff_guess_domain", path=path, head=head)

    def run(self, run: RunInfo) -> Any:
        """Execute a run inside the plugins' wrappers."""
        return self._manager.hook.polydiff_run(run=run)

    def callbacks(self, run: RunInfo) -> list[Callable[..., None]]:
        """The callbacks of all plugins for one run: asked for once, then called as plain functions."""
        return [callback for found in self._ask("polydiff_callbacks", run=run) for callback in found or ()]

    def finished(self, run: RunInfo, outputs: Iterable[str]) -> None:
        """Tell every plugin that a run is over."""
        for _ in self._ask("polydiff_run_finished", run=run, outputs=list(outputs)):
            pass

    def _first(self, hook: str, **arguments: Any) -> Any:
        return next((answer for answer in self._ask(hook, **arguments) if answer is not None), None)

    def _ask(self, hook: str, **arguments: Any) -> Iterable[Any]:
        """One plugin after the other; one that fails is recorded as broken and passed over."""
        for implementation in self._manager.implementations(hook):
            key = implementation.plugin_name
            record = self._records[key]
            try:
                answer = self._manager.call(hook, implementation, arguments, remedy(record.distribution))
            except Broken as error:
                log.warning("plugin %s: %s", record.name, error.cause)
                self._records[key] = replace(record, status="broken", cause=error.cause, remedy=error.remedy)
            else:
                yield answer


def _import(source: Source) -> Any:
    check_requirements(source.requires)
    return import_plugin(source.module, remedy(source.distribution))


def _describe(domain: Any) -> DomainInfo:
    """The description of a Domain class that has no plugin module around it."""
    return DomainInfo(
        name=domain.name,
        title=domain.name.replace("_", " ").capitalize(),
        summary=(domain.__doc__ or "").strip().partition("\n")[0],
        factory=domain,
        suffixes=tuple(getattr(domain, "suffixes", ())),
        capabilities=tuple(sorted(getattr(domain, "capabilities", ()))),
    )


def _plugin_of(info: Info) -> Any:
    """A plugin that provides one thing."""
    hook = next(name for name, kind in LISTINGS.items() if isinstance(info, kind))

    def provide() -> Info:
        return info

    return SimpleNamespace(polydiff_api=API_VERSION, __name__=info.name, **{hook: hookimpl(provide)})


_lock = threading.RLock()
_registry: Registry | None = None
_making = False


def get_registry() -> Registry:
    """The process's registry, made at first use from what is installed and POLYDIFF_PLUGINS."""
    global _making, _registry
    with _lock:
        if _registry is None:
            if _making:
                raise PluginError("a plugin asks for the registry while it is imported; use hooks instead.")
            _making = True
            try:
                words = (word.strip() for word in os.environ.get(VARIABLE, "").split(","))
                _registry = Registry([word for word in words if word])
            finally:
                _making = False
        return _registry
