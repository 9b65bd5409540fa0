"""Every hook that a plugin may implement.

A plugin is a module that an entry point of the group `polydiff.plugins` names. It states the version
of this page that it was written for, and implements what it needs:

    from polydiff.hookspecs import hookimpl
    from polydiff.spec import DomainInfo

    polydiff_api = 1

    @hookimpl
    def polydiff_domains():
        return DomainInfo("audio", "Audio", "Sounds of a second or so.", "polydiff_audio.domain:Audio")

The module is imported whenever plugins are listed, so it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pluggy

from polydiff.spec import ComponentInfo, DomainInfo, PresetInfo, RunInfo

__all__ = [
    "API_VERSION",
    "hookimpl",
    "hookspec",
    "polydiff_callbacks",
    "polydiff_components",
    "polydiff_domains",
    "polydiff_guess_domain",
    "polydiff_presets",
    "polydiff_resolve_checkpoint",
    "polydiff_run",
    "polydiff_run_finished",
]

API_VERSION = 1

hookspec = pluggy.HookspecMarker("polydiff")
hookimpl = pluggy.HookimplMarker("polydiff")


@hookspec
def polydiff_domains() -> DomainInfo | Iterable[DomainInfo]:
    """The kinds of data that the plugin brings."""
    return ()


@hookspec
def polydiff_components() -> ComponentInfo | Iterable[ComponentInfo]:
    """Solvers, schedules, grids and other parts of the engine."""
    return ()


@hookspec
def polydiff_presets() -> PresetInfo | Iterable[PresetInfo]:
    """Trained models, whether shipped in the package or fetched by a reference."""
    return ()


@hookspec(firstresult=True)
def polydiff_resolve_checkpoint(ref: str) -> str | None:
    """The local model folder that `ref` stands for, or None to leave it to others."""


@hookspec
def polydiff_guess_domain(path: str, head: bytes) -> str | Iterable[str] | None:
    """The domain that reads the file, judged by its name and first bytes (none of a folder), or None.

    Where no plugin knows, the suffix decides.
    """


@hookspec(firstresult=True)
def polydiff_run(run: RunInfo) -> Any:
    """Around a whole run, for profiling, locks or caching: write it as `@hookimpl(wrapper=True)`.

    A wrapper yields once and returns what the yield gave: `result = yield; return result`.
    """


@hookspec
def polydiff_callbacks(run: RunInfo) -> Callable[..., None] | Iterable[Callable[..., None]]:
    """Plain functions that the loop calls after each row or step; asked for once a run."""
    return ()


@hookspec
def polydiff_run_finished(run: RunInfo, outputs: list[str]) -> None:
    """The run is over and its files are written. A failure here is reported and harms nothing."""
