"""Loggers of plugins: components of the kind "logger", told what a training run measures and draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from polydiff.errors import PolydiffError
from polydiff.plugins.registry import get_registry
from polydiff.spec import ComponentInfo, RunInfo

__all__ = ["Logger", "Loggers"]


class Logger(Protocol):
    """What a plugin's logger is: its component is called with the RunInfo of a training run, on the first
    process only, and returns an object with these methods; those that it lacks are not called."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """The figures of a step that logs: "loss", "gradient_norm", "rate", "examples_per_second", and
        "loss/COMPONENT" where several are learned."""

    def picture(self, step: int, png: bytes) -> None:
        """A contact sheet of samples that was drawn after a step."""

    def close(self) -> None:
        """The run is over, or was stopped."""


class Loggers:
    """The loggers of all plugins for one run. One that fails is named to `say` once and told no more: a log
    is worth less than the run."""

    def __init__(self, run: RunInfo | None = None, say: Callable[[str], None] = print) -> None:
        self._say = say
        self._loggers: dict[ComponentInfo, Any] = {}
        if run is None:
            return
        for info in get_registry().serving("logger", run.domain):
            made = self._guarded(info, partial(_made, info, run))
            if made is not None:
                self._loggers[info] = made

    def tell(self, method: str, *values: Any) -> None:
        """Call a method of every logger that has it."""
        for info, logger in list(self._loggers.items()):
            function = getattr(logger, method, None)
            if function is not None:
                self._guarded(info, partial(function, *values))

    def _guarded(self, info: ComponentInfo, act: Callable[[], Any]) -> Any:
        try:
            with get_registry().blaming(info):
                return act()
        except PolydiffError as error:
            self._loggers.pop(info, None)
            self._say(f"No further logs from {info.name}: {error}")
            return None


def _made(info: ComponentInfo, run: RunInfo) -> Any:
    return get_registry().load(info)(run)
