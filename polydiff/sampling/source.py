"""The source of a run, to vary or inpaint, and the target to interpolate to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polydiff.domain import Domain, SampleRequest
from polydiff.errors import UsageError, did_you_mean
from polydiff.sampling.options import SamplingOptions, check_source, check_target
from polydiff.sampling.provenance import Source
from polydiff.support.files import sha256

if TYPE_CHECKING:
    from polydiff.engine.denoisers import State


def source_of(domain: Domain, options: SamplingOptions) -> tuple[Any, Source | None]:
    """The source as an example, and the record of it; None and None where there is none."""
    source, keep, redo = options.source, options.keep, options.redo
    check_source(options)
    if source is None:
        return None, None
    need = "inpaint" if keep is not None or redo is not None else "variation"
    if need not in domain.capabilities:
        what = "keep a part of" if need == "inpaint" else "vary"
        raise UsageError(f"{domain.name} cannot {what} a source.")
    record = Source(strength=options.strength, keep=keep, redo=redo, denoise=options.denoise)
    if not isinstance(source, str | Path):
        return source, record
    path = Path(source)
    return _loaded(domain, path), record.model_copy(update={"path": str(path), "sha256": sha256(path)})


def target_of(domain: Domain, options: SamplingOptions, origin: Source | None) -> tuple[Any, Source | None]:
    """The target of an interpolation as an example, and the record of source and target."""
    check_target(options)
    if options.target is None or origin is None:
        return None, origin
    if not isinstance(options.target, str | Path):
        return options.target, origin
    path = Path(options.target)
    example = _loaded(domain, path)
    return example, origin.model_copy(update={"target": str(path), "target_sha256": sha256(path)})


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
