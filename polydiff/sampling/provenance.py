"""What a sample was made from: enough to make it again. Stored beside every file as FILE.json."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from uuid import uuid4

from pydantic import Field

from polydiff.domain import Strict
from polydiff.errors import UsageError
from polydiff.support.files import atomic_write
from polydiff.support.validate import validated

SCHEMA_VERSION = 1

# Fields that say where and how a sample was computed, not which sample it is.
_INCIDENTAL = {"model", "batch_size", "device", "threads", "versions", "notes", "file", "sha256", "exporter"}


class Source(Strict):
    """The file that a variation started from or kept parts of; of an interpolation, the one that it goes to,
    and how far this sample goes."""

    path: str = ""
    sha256: str = ""
    strength: float | None = None
    keep: str | None = None
    redo: str | None = None
    denoise: bool = False
    target: str = ""
    target_sha256: str = ""
    share: float | None = None


class Provenance(Strict):
    """The record of one sample. `table` is the solver's full table of coefficients: the sample does not
    depend on what the solver's name means in another version."""

    schema_version: int = SCHEMA_VERSION
    domain: str
    model: str = ""  # what load() was given
    model_hash: str
    seed: int
    index: int = 0
    conditions: dict[str, Any] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)
    solver: str
    grid: str
    steps: int
    guidance: str = "cfg"
    guidance_options: dict[str, Any] = Field(default_factory=dict)
    guided_by: str = ""  # a function of the caller's, which no record can hold
    guidance_scale: float = 1.0
    guidance_rescale: float = 0.0
    guidance_interval: tuple[float, float] | None = None
    table: dict[str, Any]
    source: Source | None = None
    batch_size: int = 1
    device: str = "cpu"
    threads: int = 1
    versions: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    file: str = ""
    sha256: str = ""
    exporter: str = ""  # the plugin's component that wrote the file, if not the domain

    def write(self, path: str | Path) -> None:
        """Write the record as JSON, whole or not at all; the rows of the table take a line each."""
        values = self.model_dump(mode="json")
        rows = values["table"].get("rows", [])
        mark = f"@{uuid4().hex}"  # no text of a user's can hold it
        values["table"] = {**values["table"], "rows": [f"{mark}{i}" for i in range(len(rows))]}
        text = json.dumps(values, indent=1, ensure_ascii=False)
        for i, row in enumerate(rows):
            text = text.replace(f'"{mark}{i}"', json.dumps(row), 1)
        with atomic_write(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")

    def differs_from(self, other: Provenance) -> str:
        """The first field that would make another sample of `other`; "" where both describe the same."""
        for name in type(self).model_fields:
            if name not in _INCIDENTAL and getattr(self, name) != getattr(other, name):
                return name
        return ""

    @classmethod
    def read(cls, path: str | Path) -> Provenance:
        """Read a record; UsageError in one line where the file is not one."""
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise UsageError(f"{path}: cannot be read as a provenance file ({error}).") from error
        if not isinstance(values, dict) or "model_hash" not in values:
            raise UsageError(f"{path}: not a provenance file; give the .json beside a sample.")
        version = values.get("schema_version", SCHEMA_VERSION)
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise UsageError(
                f"{path}: written in schema {version}, and this polydiff reads up to {SCHEMA_VERSION}. "
                "Update it: pip install -U polydiff."
            )
        return validated(cls, values, str(path))


def manifest_path(path: str | Path) -> Path:
    """Where the record of a sample's file lies.

    >>> manifest_path("out/0003.wav").name
    '0003.wav.json'
    """
    path = Path(path)
    return path.with_name(path.name + ".json")


def first_record(folder: str | Path) -> Provenance | None:
    """The record of the first sample in a folder, None where there is none."""
    for path in sorted(Path(folder).glob("*.json")):
        try:
            return Provenance.read(path)
        except UsageError:
            continue
    return None


def versions(*distributions: str) -> dict[str, str]:
    """Versions of python, polydiff, torch and whatever else took part."""
    found = {"python": platform.python_version()}
    for name in ("polydiff", "torch", *distributions):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
