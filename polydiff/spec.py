"""What plugins hand over: light descriptions that name their heavy parts as "package.module:Name".

Nothing here imports torch, numpy or pydantic, so that listing every plugin costs no more than
reading a few short modules.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polydiff.errors import PluginError, did_you_mean

__all__ = ["KINDS", "CommandInfo", "ComponentInfo", "DomainInfo", "Factory", "PresetInfo", "RunInfo"]

KINDS = (
    "schedule",
    "grid",
    "solver",
    "process",
    "guidance",
    "weighting",
    "metric",
    "logger",
    "exporter",
    "viewer",
)
"""The kinds of component that a plugin may provide."""

Factory = str | Callable[..., Any]
"""Where a heavy part is: "package.module:Name", or the object itself where nothing is saved by waiting."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_HYPHENED = re.compile(r"[a-z][a-z0-9_-]*")
_FACTORY = re.compile(r"[\w.]+:[\w.]+")


def _check_name(what: str, name: str, hyphens: bool = False) -> None:
    pattern, allowed = (_HYPHENED, "digits, - and _") if hyphens else (_NAME, "digits and _")
    if not (isinstance(name, str) and pattern.fullmatch(name)):
        raise PluginError(f"the {what} name {name!r} must be lower-case letters, {allowed}, a letter first.")


def _check_factory(owner: str, factory: Factory) -> None:
    if not callable(factory) and not (isinstance(factory, str) and _FACTORY.fullmatch(factory)):
        raise PluginError(f"{owner}: factory must read 'package.module:Name', not {factory!r}.")


@dataclass(frozen=True)
class DomainInfo:
    """One kind of data.

    factory: its Domain class. suffixes: the file types that it reads and writes, the default first.
    previews: kinds of picture. capabilities: what beyond plain sampling it can do ("inpaint",
    "variation", ...). requirements: distributions that the heavy class needs, as pip would take them.
    """

    name: str
    title: str
    summary: str
    factory: Factory
    suffixes: tuple[str, ...] = ()
    previews: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_name("domain", self.name)
        _check_factory(f"domain {self.name}", self.factory)
        for suffix in self.suffixes:
            if not suffix.startswith("."):
                raise PluginError(f"domain {self.name}: a suffix starts with a dot, not {suffix!r}.")


@dataclass(frozen=True)
class ComponentInfo:
    """One part of the engine: a solver, a schedule, a grid ... (`KINDS`).

    Model folders name it with its version, as in "adams.v1". Give a component whose results change
    a new version and keep the old one, so that old models sample as they did.

    facts: what listings show in columns of their own; of a solver "order", "noise", "calls" of the
    network a step, and its "source".
    """

    kind: str
    name: str
    version: int
    factory: Factory
    summary: str = ""
    facts: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            suggestion = did_you_mean(str(self.kind), KINDS)
            raise PluginError(
                f"unknown kind of component {self.kind!r}.{suggestion} Kinds: {', '.join(KINDS)}."
            )
        _check_name(self.kind, self.name)
        _check_factory(f"{self.kind} {self.name}", self.factory)
        if not (isinstance(self.version, int) and self.version >= 1):
            raise PluginError(f"{self.kind} {self.name}: version must be 1, 2, ..., not {self.version!r}.")

    @property
    def full_name(self) -> str:
        """The name with its version, as model folders write it."""
        return f"{self.name}.v{self.version}"


@dataclass(frozen=True)
class PresetInfo:
    """A trained model that comes with a plugin.

    folder: a model folder (model.json and weights.safetensors), or "hf://owner/name". licence: an
    SPDX expression. default: the one that the domain's bare name stands for.
    """

    domain: str
    name: str
    folder: str
    licence: str
    size_bytes: int = 0
    summary: str = ""
    default: bool = False

    def __post_init__(self) -> None:
        _check_name("domain", self.domain)
        _check_name("preset", self.name, hyphens=True)
        object.__setattr__(self, "folder", os.fspath(self.folder))

    @property
    def ref(self) -> str:
        """What `polydiff.load` takes: "audio/drums"."""
        return f"{self.domain}/{self.name}"

    @classmethod
    def shipped(
        cls, domain: str, checkpoints: Path, presets: Mapping[str, tuple[str, str]]
    ) -> list[PresetInfo]:
        """The presets of a domain whose model folders lie in a plugin's folder `checkpoints`, each with its
        licence and summary; the first is the default. One whose folder is missing is left out."""
        return [
            cls(
                domain=domain,
                name=name,
                folder=str(folder),
                licence=licence,
                size_bytes=sum(file.stat().st_size for file in folder.iterdir() if file.is_file()),
                summary=summary,
                default=name == next(iter(presets)),
            )
            for name, (licence, summary) in presets.items()
            if (folder := checkpoints / name).is_dir()
        ]


@dataclass(frozen=True)
class CommandInfo:
    """A command that a distribution declares under the entry points `polydiff.commands`. factory: where its
    click command is, "package.module:name"."""

    name: str
    factory: str


@dataclass(frozen=True)
class RunInfo:
    """One sampling or training run, as the run hooks see it.

    kind: "sample" or "train". execute: does the run and returns its result; plain data describes it.
    """

    kind: str
    domain: str
    execute: Callable[[], Any]
    model: str = ""
    output: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
