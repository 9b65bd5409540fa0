"""Where plugins come from: entry points, modules, single files; and whether their requirements are met."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from polydiff.errors import PluginError

GROUP = "polydiff.plugins"


class Broken(Exception):
    """Why a plugin cannot be used, and what to do about it."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause)
        self.cause = cause
        self.remedy = remedy


@contextlib.contextmanager
def guarded(what: str, remedy: str) -> Iterator[None]:
    """Turn whatever foreign code raises, sys.exit included, into Broken; keep its prints off stdout."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except Broken:
        raise
    except PluginError as error:  # our own checks of what it builds: already in words
        raise Broken(f"{what}: {str(error).rstrip('.')}", remedy) from error
    except SystemExit as error:
        raise Broken(f"{what} called sys.exit({error.code!r}){_place(error)}", remedy) from error
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package and package not in sys.modules:  # else a package is there and a part of it is not
            remedy = f"Install what brings it, as a rule: pip install {package}"
        raise Broken(f"{what} needs the module {error.name!r}, which is not there", remedy) from error
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
    remedy = f"Fix {path}."
    if not path.is_file():
        raise Broken(f"there is no file {path}", "Check the path.")
    name = path.stem
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == str(path.resolve()):
        return known
    found = importlib.util.find_spec(name) if known is None and name.isidentifier() else None
    itself = found is not None and Path(found.origin or "").resolve() == path.resolve()
    if known is not None or not name.isidentifier() or (found is not None and not itself):
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


@dataclass(frozen=True)
class Source:
    """One entry point of the group `polydiff.plugins` and the distribution that declares it."""

    name: str
    module: str
    distribution: str
    version: str
    requires: tuple[str, ...]


def installed() -> list[Source]:
    """What the installed distributions declare; one with unreadable metadata does not stop the others."""
    found: dict[str, list[Source]] = {}
    for distribution in importlib.metadata.distributions():
        try:
            name = distribution.name
            points = [point for point in distribution.entry_points if point.group == GROUP]
            requires = tuple(distribution.requires or ()) if points else ()
            version = distribution.version if points else ""
            sources = [Source(point.name, point.value, name, version, requires) for point in points]
        except Exception:
            continue
        if name:
            found.setdefault(name, sources)  # the first on the path is the one that is imported
    return [source for name in sorted(found) for source in found[name]]
