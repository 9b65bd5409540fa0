"""What a user gives to start from: a source to vary or keep parts of, and a target to go to from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polydiff.domain import Domain, SampleRequest
from polydiff.errors import UsageError, did_you_mean
from polydiff.sampling.provenance import Source
from polydiff.support.files import sha256

if TYPE_CHECKING:
    from polydiff.engine.denoisers import State
    from polydiff.model import Model


def source_of(
    model: Model, source: Any, strength: float | None, denoise: bool, keep: str | None, redo: str | None
) -> tuple[Any, Source | None]:
    """The source as an example, and the record of it."""
    domain = model.domain
    wanted = {"strength": strength, "denoise": denoise or None, "keep": keep, "redo": redo}
    given = [name for name, value in wanted.items() if value is not None]
    if source is None:
        if given:
            raise UsageError(f"{given[0]} needs a source to start from (--from FILE, source=...).")
        return None, None
    if strength is not None and not 0 < strength <= 1:
        raise UsageError(f"strength must be above 0 and at most 1, got {strength}.")
    if denoise and (strength is None or strength == 1):
        raise UsageError("denoise needs a strength below 1: how much noise there is (--strength 0.05).")
    if denoise and (keep is not None or redo is not None):
        raise UsageError("denoise takes noise off the whole source: leave keep and redo out.")
    if keep is not None and redo is not None:
        raise UsageError("keep and redo exclude each other: give the region that stays or the one that goes.")
    need = "inpaint" if keep is not None or redo is not None else "variation"
    if need not in domain.capabilities:
        what = "keep a part of" if need == "inpaint" else "vary"
        raise UsageError(f"{domain.name} cannot {what} a source.")
    if not isinstance(source, str | Path):
        return source, Source(keep=keep, redo=redo, denoise=denoise)
    path = Path(source)
    return _loaded(domain, path), Source(
        path=str(path), sha256=sha256(path), keep=keep, redo=redo, denoise=denoise
    )


def _loaded(domain: Domain, path: Path) -> Any:
    if not (path.exists() if domain.reads_folders else path.is_file()):
        raise UsageError(f"{path}: no such file.")
    readable = (*domain.suffixes, *domain.also_reads)
    if path.is_file() and path.suffix.lower() not in readable:
        hint = did_you_mean(path.suffix, readable)
        raise UsageError(f"{path}: {domain.name} reads {' '.join(readable)}.{hint}")
    return domain.load(path)


def files_of(domain: Domain, path: Path) -> list[Path]:
    """The files that a folder holds, by name; the path itself where it is no folder, or an example itself."""
    if not path.is_dir() or path.suffix.lower() in domain.suffixes:
        return [path]
    readable = (*domain.suffixes, *domain.also_reads)
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in readable)
    if not found and not domain.reads_folders:
        raise UsageError(f"{path}: no {' '.join(readable)} file in it.")
    return found or [path]


def target_of(
    model: Model, origin: Source | None, target: Any, share: float | None, *others: float | str | None
) -> tuple[Any, Source | None]:
    """The example that an interpolation goes to, and the record of source and target."""
    if target is None:
        if share is not None:
            raise UsageError("share needs an example to go to (--to FILE, target=...).")
        return None, origin
    if origin is None:
        raise UsageError("An interpolation needs two ends: give the first too (--from FILE, source=...).")
    if any(other is not None for other in others):
        raise UsageError(
            "strength, denoise, keep and redo say nothing about an interpolation: leave them out."
        )
    if share is not None and not 0 <= share <= 1:
        raise UsageError(f"share must lie between 0 and 1, got {share}.")
    if not isinstance(target, str | Path):
        return target, origin
    path = Path(target)
    example = _loaded(model.domain, path)
    return example, origin.model_copy(update={"target": str(path), "target_sha256": sha256(path)})


def ends_of(domain: Domain, request: SampleRequest) -> tuple[State, State]:
    """Both ends of an interpolation as unbatched states, with what is carried beside each; no seed has a part
    in them. Raises UsageError where they are not of one size."""
    there = replace(request, seed=0)
    back = replace(there, source=request.target, target=request.source)
    a, b = ({**domain.init(end), **domain.carried(end)} for end in (there, back))
    for name in domain.shapes(request):
        if a[name].shape != b[name].shape:
            raise UsageError(
                f"The two ends differ in size ({len(a[name])} and {len(b[name])} {name}): an interpolation "
                "needs two of one size."
            )
    return a, b
