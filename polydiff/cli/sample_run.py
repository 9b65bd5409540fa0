"""One run of `polydiff sample`: prepared, executed, reported. Imports torch."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import click

from polydiff.cli.output import echo_json, echo_table
from polydiff.cli.session import progress, set_threads, uninterrupted
from polydiff.errors import UsageError, did_you_mean
from polydiff.model import Model, load
from polydiff.models.refs import ModelFolder
from polydiff.plugins.registry import get_registry
from polydiff.sampling.export import Exporter, exporter_for
from polydiff.sampling.options import SamplingOptions
from polydiff.sampling.plan import Plan
from polydiff.sampling.provenance import Provenance, first_record, manifest_path
from polydiff.sampling.samples import Sample, sample_name
from polydiff.sampling.trajectory import Watcher
from polydiff.support.files import atomic_write, disk_errors, sha256, sweep
from polydiff.support.settings import check_sections, from_assignments, from_file, from_variables, merged

DEFAULT_FOLDER = "samples"
SHEET_MOST = 64  # pictures on one contact sheet
TABLE_MOST = 40  # rows of the printed table


@dataclass(frozen=True)
class Settings:
    """Options of the command itself, beside those of the samples."""

    out: Path | None = None
    suffix: str | None = None
    shard: tuple[int, int] | None = None
    resume: bool = False
    trajectory: bool = False
    config: Path | None = None
    assignments: tuple[str, ...] = ()
    threads: int | None = None

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Every name that there is."""
        return tuple(one.name for one in fields(cls))


@dataclass(frozen=True)
class Written:
    """A file, its record, and the example in it while it is held for the contact sheet."""

    path: Path
    record: Provenance
    example: Any = None


@dataclass(frozen=True)
class Result:
    """What a run wrote."""

    written: tuple[Written, ...]
    skipped: int
    sheet: Path | None
    seconds: float
    interrupted: bool = False
    missing: int = 0

    @property
    def exit_code(self) -> int:
        return 130 if self.interrupted else 0

    def as_json(self) -> dict[str, Any]:
        """The report for programs."""
        return {
            "files": [
                {
                    "path": str(file.path),
                    "provenance": str(manifest_path(file.path)),
                    "seed": file.record.seed,
                    "conditions": file.record.conditions,
                    "notes": list(file.record.notes),
                }
                for file in self.written
            ],
            "skipped": self.skipped,
            "contact_sheet": str(self.sheet) if self.sheet else None,
            "seconds": round(self.seconds, 3),
            "interrupted": self.interrupted,
        }

    def print(self) -> None:
        """The report for people."""
        if self.written:
            shown = self.written[:TABLE_MOST]
            names = list(shown[0].record.conditions)
            rows = [[str(file.path), *_cells(file.record, names)] for file in shown]
            echo_table(["FILE", "SEED", *map(str.upper, names), "NOTES"], rows)
            if len(shown) < len(self.written):
                click.echo(f"... and {len(self.written) - len(shown)} more")
        skipped = f", {self.skipped} were there already" if self.skipped else ""
        click.echo(f"{len(self.written)} written in {self.seconds:.1f} s{skipped}.")
        if self.sheet:
            click.echo(f"Contact sheet: {self.sheet}")
        if self.interrupted:
            click.echo(f"Interrupted: {self.missing} not made. --resume goes on.", err=True)


@dataclass(frozen=True)
class SampleRun:
    """A plan and where its samples go."""

    plan: Plan
    paths: Mapping[int, Path]  # index -> file
    folder: Path
    sheet: Path | None
    finished: tuple[int, ...] = ()
    trajectory: bool = False
    exporter: Exporter | None = None

    @classmethod
    def prepare(cls, found: ModelFolder, options: SamplingOptions, own: Settings) -> SampleRun:
        """Check every argument of the command and resolve it, before anything is computed or written."""
        set_threads(own.threads, default=1)
        model = _with_settings(load(found), own, options)
        out = _default_folder(own.resume) if own.out is None else own.out
        if own.resume and options.seed is None:
            record = first_record(out)
            options = replace(options, seed=record.seed - record.index) if record else options
        whole = model.plan(options)
        part, parts = own.shard or (0, 1)
        plan = replace(whole, requests=whole.requests[part::parts])
        suffix, exporter = _format(model, own.suffix)
        folder, paths, sheet = _places(model, out, suffix, exporter, plan, own.shard)
        finished = _finished(plan, paths, own.resume)
        todo = replace(plan, requests=tuple(one for one in plan.requests if one[0] not in finished))
        if own.trajectory:
            todo = replace(todo, batch_size=1)
        return cls(todo, paths, folder, sheet, finished, own.trajectory, exporter)

    def describe(self, as_json: bool) -> None:
        """What would be done."""
        plan = self.plan.describe()
        for sample in plan["samples"]:
            sample["path"] = str(self.paths[sample["index"]])
        plan["finished"] = len(self.finished)
        if as_json:
            echo_json(plan)
            return
        rows = [[s["path"], str(s["seed"]), *map(_cell, s["conditions"].values())] for s in plan["samples"]]
        names = list(plan["samples"][0]["conditions"]) if rows else []
        echo_table(["FILE", "SEED", *map(str.upper, names)], rows)
        shown = ("model", "solver", "grid", "steps", "network_calls", "guidance", "guidance_scale", "device")
        for key in shown:
            click.echo(f"{key}: {plan[key]}")
        click.echo("Dry run: nothing was made.")

    def execute(self, quiet: bool) -> Result:
        """Make the samples and write each as soon as it is done."""
        begin = time.perf_counter()
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        sweep(self.folder)
        written: list[Written] = []
        interrupted = False
        registry = get_registry()
        info = self.plan.info(lambda: self._write_all(written, quiet), str(self.folder))
        try:
            registry.run(info)
        except KeyboardInterrupt:
            interrupted = True
        sheet = self._write_sheet(written)
        registry.finished(info, [str(file.path) for file in written])
        return Result(
            tuple(written),
            len(self.finished),
            sheet,
            time.perf_counter() - begin,
            interrupted,
            len(self.plan) - len(written),
        )

    def _write_all(self, written: list[Written], quiet: bool) -> None:
        for sample in progress(self._stream(), len(self.plan), "sampling", quiet):
            path = self.paths[sample.provenance.index]
            held = sample.example if self.sheet and len(written) < SHEET_MOST else None
            with uninterrupted():
                written.append(Written(path, sample.write(path, self.exporter), held))

    def _stream(self) -> Iterator[Sample]:
        watcher = Watcher(self.plan.model.domain) if self.trajectory else None
        for sample in self.plan.stream(watch=watcher):
            if watcher:
                path = self.paths[sample.provenance.index]
                with atomic_write(path.with_suffix(".trajectory.png")) as temporary:
                    temporary.write_bytes(watcher.picture())
            yield sample

    def _write_sheet(self, written: Sequence[Written]) -> Path | None:
        """A sheet of all that is in the folder of this run, what an earlier run finished included. A picture
        that fails is worth a word and not the run."""
        if self.sheet is None or not (written or self.finished):
            return None
        domain, shown = self.plan.model.domain, {file.path: file for file in written}
        try:
            for path in (self.paths[index] for index in self.finished):
                shown[path] = Written(path, Provenance.read(manifest_path(path)), domain.load(path))
            files = [file for _, file in sorted(shown.items()) if file.example is not None][:SHEET_MOST]
            titles = [Sample(file.example, file.record, domain).title for file in files]
            picture = domain.contact_sheet([file.example for file in files], titles)
        except Exception as error:
            click.echo(f"No contact sheet: {error}", err=True)
            return None
        with atomic_write(self.sheet) as temporary:
            temporary.write_bytes(picture)
        return self.sheet


def _with_settings(model: Model, own: Settings, options: SamplingOptions) -> Model:
    """The model with [sampling] settings of a file, of variables and of --set in place of its defaults.

    Options that they give to no solver, grid or guidance are for the one that a flag names.
    """
    layers = [
        (str(own.config), from_file(own.config) if own.config else {}),
        ("environment", from_variables(["sampling"])),
        ("--set", from_assignments(own.assignments)),
    ]
    for where, layer in layers:
        fixed = [name for name in layer if name in type(model.manifest).model_fields and name != "sampling"]
        if fixed:
            raise UsageError(f"{where}: {fixed[0]} is fixed by the model; train another to change it.")
        check_sections(layer, ["sampling"], where)
    changes = merged(*(layer.get("sampling", {}) for _, layer in layers))
    named = {"solver": options.solver, "grid": options.grid, "guidance": options.guidance}
    meant = {part: name for part, name in named.items() if name and f"{part}_options" in changes}
    return model.with_sampling({**meant, **changes})


def _default_folder(resume: bool) -> Path:
    """samples, or the first of samples-2, samples-3, ... that is free; to resume, the last that is not."""
    folder, number = Path(DEFAULT_FOLDER), 1
    while folder.exists():
        number += 1
        last, folder = folder, Path(f"{DEFAULT_FOLDER}-{number}")
    return last if resume and number > 1 else folder


def _format(model: Model, name: str | None) -> tuple[str | None, Exporter | None]:
    """What `--format` asks for: a suffix, and the exporter if the domain does not write it itself."""
    if name is None or (suffix := "." + name.lower().removeprefix(".")) in model.domain.suffixes:
        return (None if name is None else suffix), None
    exporter = exporter_for(model.domain.name, name, model.domain.suffixes)
    return exporter.suffix, exporter


def _places(
    model: Model,
    out: Path,
    suffix: str | None,
    exporter: Exporter | None,
    plan: Plan,
    shard: tuple[int, int] | None,
) -> tuple[Path, dict[int, Path], Path | None]:
    """The folder, the file of each sample, and where the contact sheet goes."""
    suffixes = (exporter.suffix,) if exporter else model.domain.suffixes
    if out.suffix.lower() in suffixes:
        if len(plan) > 1:
            raise UsageError(
                f"-o {out}: a file is for one sample, and {len(plan)} are asked for. Give a folder."
            )
        return out.parent, {plan.requests[0][0]: out}, None
    if out.exists() and not out.is_dir():
        raise UsageError(f"-o {out}: not a folder.")
    if not out.exists() and re.fullmatch(r"\.(?!v\d)[a-z]\w{1,4}", out.suffix.lower()):
        hint = did_you_mean(out.suffix, suffixes)
        raise UsageError(
            f"-o {out}: {model.domain.name} writes {' '.join(suffixes)}, no {out.suffix}.{hint} "
            "Give one of them, or a folder's name without a suffix."
        )
    paths = {index: out / sample_name(index, suffix or suffixes[0]) for index, _ in plan.requests}
    name = "contact.png" if shard is None else f"contact-{shard[0]}of{shard[1]}.png"
    return out, paths, out / name


def _finished(plan: Plan, paths: Mapping[int, Path], resume: bool) -> tuple[int, ...]:
    """The samples that are in the folder already; those of another run are an error, never overwritten."""
    finished = []
    for index, request in plan.requests:
        path = paths[index]
        if not path.exists():
            continue
        if not resume:
            raise UsageError(f"{path} exists. Choose another folder with -o, or go on with --resume.")
        record_path = manifest_path(path)
        if not record_path.exists():
            continue  # stopped between the file and its record: made again
        record, wanted = Provenance.read(record_path), plan.provenance(index, request)
        differing = wanted.differs_from(record)
        if differing:
            raise UsageError(
                f"{path} is of another run ({differing} differs). Choose another folder with -o, or give "
                f"the arguments of that run (--seed {record.seed - record.index}) to go on with it."
            )
        if record.sha256 == sha256(path):
            finished.append(index)
    return tuple(finished)


def _cells(record: Provenance, names: Sequence[str]) -> list[str]:
    conditions = [_cell(record.conditions.get(name)) for name in names]
    return [str(record.seed), *conditions, "; ".join(record.notes)]


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return "+".join(f"{name}:{weight:g}" for name, weight in value.items())
    return "any" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
