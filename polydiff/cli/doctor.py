"""`polydiff doctor`: is everything there, does it fit together, are the presets whole."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import click

from polydiff import __version__
from polydiff.cli.output import echo_json, echo_table, json_option
from polydiff.cli.plugins import collisions
from polydiff.errors import PluginError, PolydiffError
from polydiff.models.refs import HUB
from polydiff.plugins.registry import get_registry
from polydiff.runtime.thread_team import cores


@dataclass(frozen=True)
class Finding:
    """The result of one check. "warn" may work, "fail" does not."""

    what: str
    detail: str
    status: Literal["ok", "warn", "fail"] = "ok"
    remedy: str = ""


@click.command()
@json_option
def command(as_json: bool) -> int:
    """Check versions, torch, file formats, plugins and presets.

    The exit code is 3 if a plugin is broken, 1 if anything else is, and 0 otherwise.
    """
    found = {check: list(_safely(check)) for check in CHECKS}
    findings = [finding for part in found.values() for finding in part]
    codes = [CHECKS[check] for check, part in found.items() if any(f.status == "fail" for f in part)]
    if as_json:
        echo_json({"healthy": not codes, "findings": [asdict(finding) for finding in findings]})
    else:
        echo_table(
            ["", "WHAT", "FOUND"], [[finding.status, finding.what, finding.detail] for finding in findings]
        )
        for finding in findings:
            if finding.remedy:
                click.echo(f"\n{finding.what}: {finding.remedy}")
    return max(codes, default=0)


def _safely(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """A check that itself fails is a finding and stops no other."""
    try:
        yield from check()
    except Exception as error:
        name = check.__name__.strip("_").replace("_", " ")
        yield Finding(
            name, f"could not be checked: {type(error).__name__}: {error}", "fail", "Reinstall polydiff."
        )


def _versions() -> Iterator[Finding]:
    yield Finding("python", f"{platform.python_version()} on {platform.platform()}, {sys.executable}")
    yield Finding("polydiff", f"{__version__}, {Path(__file__).parents[1]}")
    for name in ("numpy", "pydantic", "pluggy", "click", "safetensors", "huggingface_hub", "accelerate"):
        yield _version(name)
    for variable in sorted(name for name in os.environ if name.startswith("POLYDIFF_")):
        yield Finding(variable, os.environ[variable])


def _version(name: str) -> Finding:
    try:
        return Finding(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(name, "not installed", "fail", f"pip install {name}")


def _torch() -> Iterator[Finding]:
    import torch

    yield Finding("torch", f"{torch.__version__} (CUDA {torch.version.cuda or 'none'})")
    threads, count = torch.get_num_threads(), cores()
    busy = threads > count
    advice = f"Set OMP_NUM_THREADS={count}: more threads than cores wait for each other." if busy else ""
    yield Finding("threads", f"{threads} threads, {count} cores", "warn" if busy else "ok", advice)
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            memory = properties.total_memory / 2**30
            yield Finding(f"cuda:{index}", f"{properties.name}, {memory:.0f} GiB")


def _sound_files() -> Iterator[Finding]:
    if find_spec("soundfile") is None:
        return  # of concern to audio plugins alone, and those say that they need it
    import soundfile

    known = soundfile.available_formats()
    wanted = ("WAV", "FLAC", "OGG", "MP3")
    missing = [name for name in wanted if name not in known]
    detail = f"{soundfile.__libsndfile_version__}: {' '.join(name for name in wanted if name in known)}"
    advice = f"No {', '.join(missing)}: install libsndfile 1.1 or newer, or pip install -U soundfile."
    yield Finding("libsndfile", detail, "warn" if missing else "ok", advice if missing else "")


def _requirements() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    owners = dict.fromkeys(["polydiff", *(record.distribution for record in get_registry().plugins)])
    for owner in filter(None, owners):
        for text in metadata.requires(owner) or ():
            requirement = Requirement(text)
            if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
                continue
            try:
                found = metadata.version(requirement.name)
            except metadata.PackageNotFoundError:
                found = ""
            if not (found and requirement.specifier.contains(found, prereleases=True)):
                state = f"{owner} wants {requirement}, found {found or 'none'}"
                yield Finding(
                    requirement.name, state, "warn" if found else "fail", f"pip install '{requirement}'"
                )


def _plugins() -> Iterator[Finding]:
    registry = get_registry()
    for record in registry.plugins:
        origin = f"{record.distribution} {record.version}".strip()
        if record.status == "broken":
            yield Finding(f"plugin {record.name}", record.cause, "fail", record.remedy)
        else:
            yield Finding(f"plugin {record.name}", f"{origin} {record.cause}".strip())
    for info in registry.domains():
        try:
            registry.domain(f"{registry.owner(info).owner}:{info.name}")
        except PluginError as error:
            yield Finding(f"domain {info.name}", str(error), "fail")
    for line in collisions():
        yield Finding("collision", line, "warn")


def _presets() -> Iterator[Finding]:
    from polydiff.models.manifest import WEIGHTS, check_weights, read_manifest

    for info in get_registry().presets():
        what = f"preset {info.ref}"
        if info.folder.startswith(HUB):
            yield Finding(what, f"{info.folder}, fetched when first used")
            continue
        try:
            manifest = read_manifest(info.folder)
            check_weights(Path(info.folder) / WEIGHTS)
        except PolydiffError as error:
            owner = get_registry().owner(info).owner
            yield Finding(what, str(error), "fail", f"pip install --force-reinstall --no-deps {owner}")
            continue
        if manifest.domain != info.domain:
            yield Finding(what, f"holds a model of {manifest.domain}", "fail", "Tell the plugin's author.")
        else:
            yield Finding(what, f"whole, {info.folder}")


CHECKS: dict[Callable[[], Iterator[Finding]], int] = {
    _versions: PolydiffError.exit_code,
    _torch: PolydiffError.exit_code,
    _sound_files: PolydiffError.exit_code,
    _requirements: PolydiffError.exit_code,
    _plugins: PluginError.exit_code,
    _presets: PolydiffError.exit_code,
}
"""The checks, in order, and the exit code when one fails."""
