"""Folders of labelled files as data: what to learn from, and what had to be left out."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, overload

from polydiff.errors import PolydiffError, UsageError

__all__ = ["METADATA", "DataReport", "Dataset", "Item", "checked", "labelled_files"]

METADATA = ("metadata.csv", "metadata.jsonl")


@dataclass(frozen=True)
class Item:
    """One example that is loaded when it is needed: `load()` gives it, `source` says where it lies. `record`:
    how a generated example was made, the fields of polydiff.sampling.provenance.Provenance."""

    load: Callable[[], Any]
    conditions: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DataReport:
    """What was found in a folder: how many examples, which files were skipped and why, and what else is
    worth knowing before hours are spent on training (lengths, rates, silence: the domain decides)."""

    count: int
    skipped: tuple[tuple[str, str], ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    def lines(self, most: int = 5) -> list[str]:
        """The report as lines to print; of the skipped files the first `most` are named."""
        lines = [f"{self.count} examples"]
        lines += [f"{name}: {value}" for name, value in self.details.items()]
        lines += [f"skipped {path}: {why}" for path, why in self.skipped[:most]]
        if len(self.skipped) > most:
            lines.append(f"skipped {len(self.skipped) - most} more")
        return lines


class Dataset(Sequence[Item]):
    """A sequence of items and the report on how it came about.

    >>> data = Dataset.of([1.5, 2.5], [{"digit": "one"}, {"digit": "two"}])
    >>> data.examples(), data.labels("digit"), data.report.count
    ([1.5, 2.5], ['one', 'two'], 2)
    """

    def __init__(self, items: Iterable[Item], report: DataReport | None = None) -> None:
        self.items = tuple(items)
        self.report = report or DataReport(len(self.items))

    @classmethod
    def of(cls, examples: Iterable[Any], conditions: Iterable[Mapping[str, Any]] | None = None) -> Dataset:
        """A dataset of examples that are in memory already."""
        examples = list(examples)
        rows = [{} for _ in examples] if conditions is None else list(conditions)
        return cls(Item(partial(_itself, x), row) for x, row in zip(examples, rows, strict=True))

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Dataset: ...
    def __getitem__(self, index: int | slice) -> Item | Dataset:
        return Dataset(self.items[index]) if isinstance(index, slice) else self.items[index]

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def examples(self) -> list[Any]:
        """Every example, loaded."""
        return [item.load() for item in self.items]

    def labels(self, name: str) -> list[Any]:
        """The value of one condition for every item, None where an item does not have it."""
        return [item.conditions.get(name) for item in self.items]


def _itself(example: Any) -> Any:
    return example


def labelled_files(
    folder: str | Path, suffixes: Iterable[str], label: str | None = None, pattern: str | None = None
) -> list[tuple[Path, dict[str, Any]]]:
    """The files of a training folder with their labels, in the order of their names.

    Labels come from one of three places, the first that applies: `metadata.csv` or `metadata.jsonl` in the
    folder (a column `file_name`, every other column a condition); a `pattern` for file names such as
    `"{digit}_{speaker}_{take}"`; the name of the folder that a file lies in, given to the condition `label`.

    Raises UsageError where the folder, a listed file or every file is missing.
    """
    folder, suffixes = Path(folder), tuple(s.lower() for s in suffixes)
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder. Give the folder that holds the training files.")
    metadata = next((folder / name for name in METADATA if (folder / name).is_file()), None)
    if metadata:
        return [(folder / row.pop("file_name"), row) for row in _rows(metadata)]
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
    if not paths:
        raise UsageError(f"{folder}: no {' '.join(suffixes)} file in it or below it.")
    if pattern:
        return [(path, matched(pattern, path)) for path in paths]
    return [(path, {label: path.parent.name} if label and path.parent != folder else {}) for path in paths]


def _rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            if path.suffix == ".csv":
                rows = list(csv.DictReader(file))
            else:
                rows = [json.loads(line) for line in file if line.strip()]
        except (ValueError, csv.Error, RecursionError) as error:
            raise UsageError(f"{path}: cannot be read ({error}).") from error
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or not row.get("file_name"):
            raise UsageError(f"{path}: row {number} has no file_name, which must name the file of that row.")
    first: dict[str, tuple[int, dict[str, Any]]] = {}
    for number, row in enumerate(rows, start=1):
        before, said = first.setdefault(str(row["file_name"]), (number, row))
        if said != row:
            raise UsageError(
                f"{path}: rows {before} and {number} contradict each other about {row['file_name']}."
            )
    return [{k: v for k, v in row.items() if k is not None and v not in (None, "")} for row in rows]


def matched(pattern: str, path: Path) -> dict[str, str]:
    """Labels from the name of a file or a folder; UsageError where it does not follow the pattern.

    >>> matched("{digit}_{speaker}_{take}", Path("a/7_theo_12.wav"))
    {'digit': '7', 'speaker': 'theo', 'take': '12'}
    """
    words = re.split(r"\{(\w+)\}", pattern)
    regex = "".join(f"(?P<{w}>.+?)" if i % 2 else re.escape(w) for i, w in enumerate(words))
    match = re.fullmatch(regex, path.stem)
    if not match:
        raise UsageError(f"{path}: the name does not follow the pattern {pattern!r}.")
    return match.groupdict()


def fault(error: Exception) -> str:
    """Why a file cannot be read, on one line: ours as they are, a decoder's with the name of its kind.

    >>> fault(ValueError("bad\\nmagic"))
    'cannot be read (ValueError: bad magic)'
    """
    if isinstance(error, PolydiffError | OSError):
        return str(error)
    return f"cannot be read ({' '.join(f'{type(error).__name__}: {error}'.split())[:200]})"


def checked(files: Iterable[tuple[Path, Mapping[str, Any]]], load: Callable[[Path], Any]) -> Dataset:
    """Load every file once, keep those that can be read, and name those that cannot in the report."""
    items: list[Item] = []
    skipped: list[tuple[str, str]] = []
    for path, labels in files:
        try:
            load(path)
        except Exception as error:  # whatever a damaged file provokes in a decoder
            skipped.append((str(path), fault(error)))
        else:
            items.append(Item(partial(load, path), labels, str(path)))
    if not items:
        raise UsageError(f"None of the {len(skipped)} files can be read; the first: {skipped[0][1]}")
    return Dataset(items, DataReport(len(items), tuple(skipped)))
