"""How plugins are let in: one at a time, checked, and thrown out whole when anything is wrong.

Every failure becomes a `Broken` with a cause and a remedy; none reaches the other plugins.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pluggy

from polydiff import hookspecs
from polydiff.errors import PluginError, did_you_mean
from polydiff.hookspecs import API_VERSION
from polydiff.spec import ComponentInfo, DomainInfo, PresetInfo

GROUP = "polydiff.plugins"
Info = DomainInfo | ComponentInfo | PresetInfo
LISTINGS: dict[str, type] = {
    "polydiff_domains": DomainInfo,
    "polydiff_components": ComponentInfo,
    "polydiff_presets": PresetInfo,
}
"""The hooks that are asked once, when a plugin is let in, and what they give."""


@dataclass(frozen=True)
class PluginRecord:
    """One plugin as `polydiff plugins` shows it: where it comes from, and why it is broken if it is."""

    name: str
    distribution: str
    version: str
    status: Literal["ok", "broken", "off"] = "ok"
    cause: str = ""
    remedy: str = ""

    @property
    def owner(self) -> str:
        """The name that tells its parts from those of another plugin."""
        return self.distribution or self.name


class Broken(Exception):
    """Why a plugin cannot be used, and what to do about it."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause)
        self.cause = cause
        self.remedy = remedy


class Manager(pluggy.PluginManager):
    """pluggy's manager with checks before a plugin is registered."""

    def __init__(self) -> None:
        super().__init__("polydiff")
        self.add_hookspecs(hookspecs)

    def admit(self, plugin: Any, name: str, remedy: str) -> list[Info]:
        """Register a plugin and return what it provides; on Broken it is not registered."""
        self._check_api(plugin, remedy)
        self._check_hooks(plugin)
        self.register(plugin, name)
        try:
            infos = [info for hook in LISTINGS for info in self._listing(plugin, hook, remedy)]
            for info in infos:
                if isinstance(info, DomainInfo):
                    check_requirements(info.requirements)
        except BaseException:
            self.unregister(plugin, name)
            raise
        return infos

    def call(self, hook: str, plugin: Any, arguments: Mapping[str, Any], remedy: str) -> list[Any]:
        """What one plugin's implementations of a hook return; their exceptions become Broken."""
        results = []
        for implementation in getattr(self.hook, hook).get_hookimpls():
            if implementation.plugin is plugin:
                with guarded(f"{hook}()", remedy):
                    given = [arguments[name] for name in implementation.argnames]
                    result = implementation.function(*given)
                    results.append(list(result) if isinstance(result, Iterator) else result)
        return results

    def _listing(self, plugin: Any, hook: str, remedy: str) -> Iterator[Info]:
        expected = LISTINGS[hook]
        for result in self.call(hook, plugin, {}, remedy):
            items = () if result is None else result
            for item in items if isinstance(items, Iterable) else (items,):
                if not isinstance(item, expected):
                    kind = type(item).__name__
                    raise Broken(
                        f"{hook}() returned a {kind}", f"Return {expected.__name__} objects from it."
                    )
                yield item

    def _check_api(self, plugin: Any, remedy: str) -> None:
        stated = getattr(plugin, "polydiff_api", None)
        if stated == API_VERSION:
            return
        if stated is None:
            raise Broken(
                "does not state its plugin API", f"Add `polydiff_api = {API_VERSION}` to the module."
            )
        newer = isinstance(stated, int) and stated > API_VERSION
        raise Broken(
            f"written for plugin API {stated!r}, but this polydiff has {API_VERSION}",
            "Update polydiff: pip install -U polydiff" if newer else remedy,
        )

    def _check_hooks(self, plugin: Any) -> None:
        hooks = [name for name in vars(hookspecs) if name.startswith("polydiff_")]
        for name in dir(plugin):
            marked = self.parse_hookimpl_opts(plugin, name)
            looks_like_one = name.startswith("polydiff_") and callable(getattr(plugin, name))
            if marked is None and not looks_like_one:
                continue
            if name not in hooks:
                known = f"Hooks: {', '.join(hooks)}."
                raise Broken(f"{name} is not a hook", f"Rename it.{did_you_mean(name, hooks)} {known}")
            if marked is None:
                raise Broken(f"{name} is not marked as a hook", "Put @polydiff.hookspecs.hookimpl above it.")
            if (marked.get("wrapper") or marked.get("hookwrapper")) and name != "polydiff_run":
                raise Broken(f"{name} is a wrapper", "Only polydiff_run may be one: write a plain hook.")
            given = list(inspect.signature(getattr(hookspecs, name)).parameters)
            for argument in inspect.signature(getattr(plugin, name)).parameters:
                if argument not in given:
                    offer = f"It gets {', '.join(given)}." if given else "It gets no arguments."
                    raise Broken(
                        f"{name} asks for an argument {argument!r} that the hook does not give",
                        f"Remove or rename it.{did_you_mean(argument, given)} {offer}",
                    )


@contextlib.contextmanager
def guarded(what: str, remedy: str) -> Iterator[None]:
    """Turn whatever foreign code raises, sys.exit included, into Broken; keep its prints off stdout."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except Broken:
        raise
    except PluginError as error:  # our own checks of what it builds: already in words
        raise Broken(f"{what}: {error}", remedy) from error
    except SystemExit as error:
        raise Broken(f"{what} called sys.exit({error.code!r}){_place(error)}", remedy) from error
    except ModuleNotFoundError as error:
        missing = f"pip install {error.name.partition('.')[0]}" if error.name else remedy
        raise Broken(f"{what} needs the module {error.name!r}, which is not installed", missing) from error
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        detail = f"{type(error).__name__}: {lines[0]}".rstrip(": ")
        raise Broken(f"{what} raised {detail}{_place(error)}", remedy) from error


def _place(error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    frames = [frame for frame in frames if not frame.filename.startswith("<frozen")]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


def import_plugin(module: str, remedy: str) -> ModuleType:
    """The light module of a plugin."""
    with guarded(f"importing {module}", remedy):
        return importlib.import_module(module)


def import_file(path: Path) -> ModuleType:
    """A plugin that is one file, imported under the file's name."""
    remedy = f"Mend {path}."
    if not path.is_file():
        raise Broken(f"there is no file {path}", "Check the path.")
    name = path.stem
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == str(path.resolve()):
        return known
    if known is not None or not name.isidentifier() or importlib.util.find_spec(name) is not None:
        raise Broken(f"{name!r} is taken or no module name", f"Rename {path.name}.")
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with guarded(f"importing {path.name}", remedy):
            spec.loader.exec_module(module)
    except Broken:
        del sys.modules[name]
        raise
    return module


def check_requirements(requirements: Iterable[str]) -> None:
    """Raise Broken for the first requirement that is not installed, markers and extras considered."""
    for text in requirements:
        distribution = re.split(r"[^\w.-]", text.strip(), maxsplit=1)[0]
        try:
            importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            specifier, _, marker = text.partition(";")
            if _applies(marker):
                wanted = specifier.strip()
                raise Broken(f"needs {wanted}, which is not installed", f"pip install '{wanted}'") from None


def _applies(marker: str) -> bool:
    if not marker.strip():
        return True
    from packaging.markers import Marker

    return Marker(marker).evaluate({"extra": ""})


def distributions() -> Iterator[tuple[importlib.metadata.Distribution, list[importlib.metadata.EntryPoint]]]:
    """Installed distributions with plugins of ours; unreadable metadata of others does not stop us."""
    seen = set()
    for distribution in importlib.metadata.distributions():
        try:
            points = [point for point in distribution.entry_points if point.group == GROUP]
            name = distribution.name
        except Exception:
            continue
        if name not in seen:  # the first on the path is the one that is imported
            seen.add(name)
            if points:
                yield distribution, points
