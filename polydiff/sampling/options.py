"""What can be asked of one run of sampling: every name once, with its default, its meaning and its checks."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from polydiff.engine.denoisers import Denoiser
from polydiff.engine.table import Table
from polydiff.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from polydiff.sampling.provenance import Provenance

__all__ = ["SamplingOptions", "Wrap", "check_options"]

Wrap = Callable[[Denoiser], Denoiser]


@dataclass(frozen=True)
class SamplingOptions:
    """All that is asked of one run of sampling; what is None is left to the model or the machine.

    Attributes:
        n: how many samples; by default one, or as many as the longest list among the conditions.
        seed: sample i gets seed + i and is the same in whatever run; drawn and recorded if None.
        steps: network calls a sample (twice that with heun).
        conditions: name -> value, or a list of values of which sample i gets the i-th, in turn.
        solver: a name ("adams"), "calibrated" or the file of a calibrated table, or a Table, which is used as
            it is. By default the model's calibrated table where it has one of so many steps.
        grid: a name ("karras"): at which times the network is called.
        guidance_scale: 1 follows the conditions as learned, more exaggerates them.
        guidance: the method of guidance by name ("cfg", "cfg_zero", "apg"), or a function that gets the
            denoiser, guided by name already, and returns the one to use.
        source: an example or a file, to vary (`strength`), or of which to `keep` a region and make the rest,
            or `redo` a region and keep the rest.
        target: an example or a file of the source's size, to interpolate to: the n samples lie between the
            noises of both, the first at the source, the last at the target, or each `share` of the way.
        share: where between source and target each sample lies, 0 to 1.
        strength: how far to leave the source: above 0, and 1 forgets it. 0.5 where nothing of it is kept.
        denoise: treat the source as already noisy, by `strength`: noise is taken away and none added.
        keep: the region of the source that stays, in the domain's words ("0:0.3s").
        redo: the region of the source that is made anew.
        indices: which of the n to make (a shard), counted from 0; all by default.
        batch_size: samples in one network call. By default 1 on a CPU, where a sample then has the same bits
            in any run; on a GPU what `memory` holds, 64 at most.
        memory: a GPU's, in bytes or as "4GiB"; half of what is free by default.
        graphs: on a GPU, whether rows are replayed as a CUDA graph; the samples are the same either way.
        device: "cpu", "cuda", ...; the GPU where there is one.
        options: the domain's own, such as {"duration": 2.0} for audio.

    >>> SamplingOptions.from_dict({"n": 2, "steps": 10}).to_dict()
    {'n': 2, 'steps': 10}
    """

    n: int | None = None
    seed: int | None = None
    steps: int | None = None
    conditions: Mapping[str, Any] = field(default_factory=dict)
    solver: str | Table | None = None
    grid: str | None = None
    guidance_scale: float | None = None
    guidance: str | Wrap | None = None
    source: Any = None
    target: Any = None
    share: float | None = None
    strength: float | None = None
    denoise: bool = False
    keep: str | None = None
    redo: str | None = None
    indices: Sequence[int] | None = None
    batch_size: int | None = None
    memory: int | str | None = None
    graphs: bool = True
    device: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Every name that there is, in order."""
        return tuple(one.name for one in fields(cls))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SamplingOptions:
        """Options from plain data, as `to_dict` gives and JSON holds; None counts as absent.

        Raises UsageError for a name that there is not; `check_options` says what is wrong with a value.

        >>> SamplingOptions.from_dict({"stesp": 10})
        Traceback (most recent call last):
        polydiff.errors.UsageError: sampling: unknown name 'stesp'. Did you mean 'steps'?
        """
        names = cls.names()
        for name in values:
            if name not in names:
                raise UsageError(f"sampling: unknown name {name!r}.{did_you_mean(name, names)}")
        said = {name: value for name, value in values.items() if value is not None}
        if isinstance(said.get("solver"), Mapping):
            said["solver"] = Table.from_json(json.dumps(said["solver"]))
        return cls(**said)

    def to_dict(self) -> dict[str, Any]:
        """What is not the default, as plain data that JSON can hold.

        Raises UsageError for what is no data: a function, or an example that is in no file.
        """
        said = {one.name: getattr(self, one.name) for one in fields(self) if not _is_default(self, one)}
        return {name: _plain(name, value) for name, value in said.items()}

    @classmethod
    def of(
        cls, n: int | SamplingOptions | None, seed: int | None, arguments: Mapping[str, Any]
    ) -> SamplingOptions:
        """Options from what `Model.sample` is called with: made already, or one by one, where a name that is
        none of these is an option of the domain."""
        if isinstance(n, SamplingOptions):
            if seed is not None or arguments:
                name = "seed" if seed is not None else next(iter(arguments))
                raise UsageError(
                    f"{name} beside SamplingOptions: put it in, dataclasses.replace(options, {name}=...)."
                )
            return n
        names = cls.names()
        known = {name: value for name, value in arguments.items() if name in names}
        others = {name: value for name, value in arguments.items() if name not in known}
        if known.get("device") is not None:
            known["device"] = str(known["device"])  # a torch.device is as good
        options = {**(known.get("options") or {}), **others}
        return cls.from_dict({"n": n, "seed": seed, **known, "options": options})

    @classmethod
    def of_record(cls, record: Provenance) -> SamplingOptions:
        """What makes the sample of a record again, with its model set to the guidance of the record."""
        source = record.source
        start = {} if source is None else source.model_dump(include=set(cls.names()) - {"target"})
        return cls(
            n=1,
            seed=record.seed,
            conditions=record.conditions,
            solver=Table.from_json(json.dumps(record.table)),
            guidance_scale=record.guidance_scale,
            source=source.path if source else None,
            target=(source.target or None) if source else None,
            batch_size=1,
            device=record.device,
            options=record.options,
            **start,
        )


def check_options(options: SamplingOptions) -> None:
    """Raise UsageError, in one line, for what no model could make: a value of the wrong kind or out of range,
    or two that exclude each other."""
    check_kinds(options)
    check_count(options)
    check_source(options)
    check_target(options)
    if options.memory is not None and options.batch_size is not None:
        raise UsageError("memory chooses the batch_size: give one of them.")
    if options.batch_size is not None and options.batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, got {options.batch_size}.")
    if options.guidance_scale is not None:
        check_guidance_scale(options.guidance_scale)


def check_kinds(options: SamplingOptions) -> None:
    """Raise UsageError where a value is not of the kind that its annotation says."""
    for name, kinds in _kinds().items():
        value = getattr(options, name)
        if value is None and NoneType in kinds:
            continue
        words = [_WORDS[kind] for kind in kinds if kind in _WORDS]
        fitting = tuple(_ACCEPTED.get(kind, kind) for kind in kinds)
        if not isinstance(value, fitting) or (isinstance(value, bool) and bool not in kinds):
            raise UsageError(f"{name} must be {' or '.join(words)}, got {value!r}.")


def check_count(options: SamplingOptions) -> None:
    """Raise UsageError for no samples, an empty list of values, or indices that no sample has."""
    for name, value in options.conditions.items():
        if isinstance(value, list | tuple) and not value:
            raise UsageError(f"{name}: an empty list of values.")
    if options.n is not None and options.n < 1:
        raise UsageError(f"n must be a whole number of at least 1, got {options.n}.")
    if options.indices is not None:
        count = count_of(options)
        for index in options.indices:
            if not isinstance(index, Integral) or not 0 <= int(index) < count:
                raise UsageError(f"indices: there is no sample {index!r}, they count from 0 to {count - 1}.")


def check_source(options: SamplingOptions) -> None:
    """Raise UsageError where what is said of a source is out of range or at odds, or there is no source."""
    strength, denoise = options.strength, options.denoise
    keep, redo = options.keep, options.redo
    wanted = {"strength": strength, "denoise": denoise or None, "keep": keep, "redo": redo}
    given = [name for name, value in wanted.items() if value is not None]
    if options.source is None:
        if given:
            raise UsageError(f"{given[0]} needs a source to start from (--from FILE, source=...).")
        return
    if strength is not None and not 0 < strength <= 1:
        raise UsageError(f"strength must be above 0 and at most 1, got {strength}.")
    if denoise and (strength is None or strength == 1):
        raise UsageError(
            "denoise needs a strength below 1: how much noise the source holds (--strength 0.05)."
        )
    if denoise and (keep is not None or redo is not None):
        raise UsageError("denoise takes noise off the whole source: leave keep and redo out.")
    if keep is not None and redo is not None:
        raise UsageError("keep and redo exclude each other: give the region that stays or the one that goes.")


def check_target(options: SamplingOptions) -> None:
    """Raise UsageError where what is said of an interpolation is out of range or at odds."""
    if options.target is None:
        if options.share is not None:
            raise UsageError(
                "share needs an example to go to: the second end of an interpolation (--to FILE, target=...)."
            )
        return
    if options.source is None:
        raise UsageError(
            "An interpolation needs two ends: beside --to (target) give the first (--from FILE, source=...)."
        )
    if options.denoise or any(x is not None for x in (options.strength, options.keep, options.redo)):
        raise UsageError(
            "strength, denoise, keep and redo say nothing about an interpolation: leave them out."
        )
    if options.share is not None and not 0 <= options.share <= 1:
        raise UsageError(f"share must lie between 0 and 1, got {options.share}.")


def check_guidance_scale(scale: float) -> None:
    """Raise UsageError for a scale that is negative or no number."""
    if not (math.isfinite(scale) and scale >= 0):
        raise UsageError(f"guidance_scale must be a number of 0 or more, got {scale}.")


def count_of(options: SamplingOptions) -> int:
    """How many samples the run has.

    >>> count_of(SamplingOptions(conditions={"digit": [1, 2, 3], "speaker": "theo"}))
    3
    """
    if options.n is not None:
        return options.n
    lists = (value for value in options.conditions.values() if isinstance(value, list | tuple))
    return max((len(values) for values in lists), default=1)


#: what a kind is called in an error, and what else is as good
_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    Mapping: "names with values",
    Sequence: "a list",
    Callable: "a function",
    Table: "a Table",
}
_ACCEPTED: dict[Any, Any] = {int: Integral, float: Real, Sequence: Collection}


@cache
def _kinds() -> dict[str, tuple[Any, ...]]:
    """What each name may be, as its annotation says; names that may be anything are left out."""
    hints = get_type_hints(SamplingOptions)
    unions = {
        name: get_args(hint) if isinstance(hint, UnionType) else (hint,) for name, hint in hints.items()
    }
    return {
        name: tuple(get_origin(kind) or kind for kind in union)
        for name, union in unions.items()
        if Any not in union
    }


def _is_default(options: SamplingOptions, of: Field[Any]) -> bool:
    """Whether nothing is said; an example is not compared, it may be an array."""
    value = getattr(options, of.name)
    return value is None or (of.default is not None and value == getattr(SamplingOptions(), of.name))


def _plain(name: str, value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Table):
        return json.loads(value.to_json())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(f"{name}.{key}", one) for key, one in value.items()}
    if name == "indices":  # any collection of numbers
        return [int(index) for index in value]
    if isinstance(value, list | tuple):
        return [_plain(name, one) for one in value]
    if isinstance(value, bool | str | None):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    what = "a file" if name in ("source", "target") else "a name"
    raise UsageError(f"{name}: {type(value).__name__} is no plain data; give {what} in its stead.")
