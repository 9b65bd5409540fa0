"""How plugins are let in: one at a time, checked, and thrown out whole when anything is wrong.

Every failure becomes a `Broken` with a cause and a remedy; none reaches the other plugins.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pluggy

from polydiff import hookspecs
from polydiff.errors import did_you_mean
from polydiff.hookspecs import API_VERSION
from polydiff.plugins.discovery import Broken, check_requirements, guarded
from polydiff.spec import CommandInfo, ComponentInfo, DomainInfo, PresetInfo

Info = DomainInfo | ComponentInfo | PresetInfo | CommandInfo
LISTINGS: dict[str, type] = {
    "polydiff_domains": DomainInfo,
    "polydiff_components": ComponentInfo,
    "polydiff_presets": PresetInfo,
}
"""The hooks that are asked once, when a plugin is let in, and what they give."""

VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


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


def several(result: Any) -> tuple[Any, ...]:
    """What a hook returned as a tuple: nothing, one thing alone, or many.

    >>> several(None), several("one"), several(iter("ab"))
    ((), ('one',), ('a', 'b'))
    """
    if result is None:
        return ()
    return tuple(result) if isinstance(result, Iterable) and not isinstance(result, str) else (result,)


class Manager(pluggy.PluginManager):
    """pluggy's manager with checks before a plugin is registered."""

    def __init__(self) -> None:
        super().__init__("polydiff")
        self.add_hookspecs(hookspecs)

    def admit(self, plugin: Any, name: str, advice: str) -> list[Info]:
        """Register a plugin and return what it provides; on Broken it is not registered."""
        with guarded("checking it", advice):
            self._check_api(plugin, advice)
            self._check_hooks(plugin)
        self.register(plugin, name)
        try:
            infos = [info for hook in LISTINGS for info in self._listing(plugin, hook, advice)]
            for info in infos:
                if isinstance(info, DomainInfo):
                    check_requirements(info.requirements)
        except BaseException:
            self.unregister(plugin, name)
            raise
        return infos

    def implementations(self, hook: str) -> list[pluggy.HookImpl]:
        """The plugins' functions for a hook, in the order in which pluggy calls them."""
        result: list[pluggy.HookImpl] = getattr(self.hook, hook).get_hookimpls()[::-1]
        return result

    def call(
        self, hook: str, implementation: pluggy.HookImpl, arguments: Mapping[str, Any], advice: str
    ) -> Any:
        """What one function returns, a generator as a list; whatever it raises becomes Broken."""
        with guarded(f"{hook}()", advice):
            given = [arguments[argument] for argument in implementation.argnames]
            result: Any = implementation.function(*given)
            return list(result) if isinstance(result, Iterator) else result

    def _listing(self, plugin: Any, hook: str, advice: str) -> Iterator[Info]:
        expected = LISTINGS[hook]
        for implementation in self.implementations(hook):
            if implementation.plugin is not plugin:
                continue
            for item in several(self.call(hook, implementation, {}, advice)):
                if not isinstance(item, expected):
                    kind = type(item).__name__
                    raise Broken(f"{hook}() returned a {kind}", f"Return {expected.__name__} objects.")
                yield item  # type: ignore[misc]

    def _check_api(self, plugin: Any, advice: str) -> None:
        stated = getattr(plugin, "polydiff_api", None)
        if stated == API_VERSION:
            return
        if stated is None:
            raise Broken("does not state its plugin API", f"Add `polydiff_api = {API_VERSION}` to it.")
        newer = isinstance(stated, int) and stated > API_VERSION
        raise Broken(
            f"written for plugin API {stated!r}, but this polydiff has {API_VERSION}",
            "Update polydiff: pip install -U polydiff" if newer else advice,
        )

    def _check_hooks(self, plugin: Any) -> None:
        hooks = [name for name in vars(hookspecs) if name.startswith("polydiff_")]
        for name in dir(plugin):
            marked = self.parse_hookimpl_opts(plugin, name)
            if marked is None and name.startswith("polydiff_") and callable(getattr(plugin, name)):
                raise Broken(f"{name} is not marked as a hook", "Put @polydiff.hookspecs.hookimpl above it.")
            if marked is None:
                continue
            hook = marked.get("specname") or name
            if hook not in hooks:
                known = f"Hooks: {', '.join(hooks)}."
                raise Broken(f"{hook} is not a hook", f"Rename it.{did_you_mean(hook, hooks)} {known}")
            if (marked.get("wrapper") or marked.get("hookwrapper")) and hook != "polydiff_run":
                raise Broken(f"{hook} is a wrapper", "Only polydiff_run may be one: write a plain hook.")
            self._check_arguments(hook, getattr(plugin, name))

    def _check_arguments(self, hook: str, function: Any) -> None:
        given = list(inspect.signature(getattr(hookspecs, hook)).parameters)
        for argument in inspect.signature(function).parameters.values():
            optional = argument.default is not argument.empty or argument.kind in VARIADIC
            if not optional and argument.name not in given:
                offer = f"It gets {', '.join(given)}." if given else "It gets no arguments."
                raise Broken(
                    f"{hook} asks for an argument {argument.name!r} that the hook does not give",
                    f"Remove or rename it.{did_you_mean(argument.name, given)} {offer}",
                )
