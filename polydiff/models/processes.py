"""A domain's processes, those that it calls by name made."""

from __future__ import annotations

from polydiff.domain import Domain
from polydiff.engine.processes.base import Process
from polydiff.plugins.registry import get_registry

__all__ = ["processes_of"]


def processes_of(domain: Domain) -> dict[str, Process]:
    """How each component of a domain's state is noised: what `processes()` gives, where a name stands for the
    component "process" of that name, a class that is called without arguments.

    Raises UsageError where no plugin has such a process, PluginError where it cannot be made.
    """
    return {
        name: _made(given) if isinstance(given, str) else given for name, given in domain.processes().items()
    }


def _made(name: str) -> Process:
    registry = get_registry()
    info = registry.component_info("process", name)
    found = registry.load(info)
    with registry.blaming(info):
        made: Process = found()
    return made
