"""A model on disk: `model.json`, which says everything, beside `weights.safetensors`.

Reading model.json imports no torch. Nothing is pickled: unpickling runs code.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from polydiff.domain import Strict
from polydiff.errors import UsageError
from polydiff.support.validate import validated

SCHEMA_VERSION = 1
MANIFEST, WEIGHTS = "model.json", "weights.safetensors"
TABLES = "tables"  # folder of calibrated tables, see polydiff.models.calibrated
_MOST_JSON = 2**24  # bytes of a model.json
_MOST_HEADER = 10**8  # bytes of a weights header, the format's own bound
_NO_WEIGHTS = ("BOOL", "I8", "U8", "C64")  # whole numbers of 64 bits are counters of batches
_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")


class Part(Strict):
    """A component by name, such as the schedule "edm" with its options."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


def with_todays_solver(values: Any) -> Any:
    """What older folders say of their solver, as it is said today: the option `weights` of `adams` is gone,
    and "uniform" is the solver ipndm, "exponential" the read-out that had it.

    >>> with_todays_solver({"solver": "adams", "solver_options": {"weights": "uniform"}})
    {'solver': 'ipndm', 'solver_options': {}}
    """
    if not isinstance(values, Mapping) or values.get("solver") not in (None, "adams", "adams.v1"):
        return values
    options = values.get("solver_options")
    if not isinstance(options, Mapping) or options.get("weights") not in ("uniform", "exponential"):
        return values
    others = {name: value for name, value in options.items() if name != "weights"}
    if options["weights"] == "uniform":
        others.pop("readout", None)
        return {**values, "solver": "ipndm", "solver_options": others}
    return {**values, "solver_options": {"readout": "eps", **others}}


class SamplingDefaults(Strict):
    """How a model is sampled where nothing else is said. None: the engine's own default."""

    solver: str | None = None
    solver_options: dict[str, Any] = Field(default_factory=dict)
    grid: str | None = None
    grid_options: dict[str, Any] = Field(default_factory=dict)
    steps: int = Field(default=20, ge=1, le=100_000)
    guidance: str = "cfg"
    guidance_options: dict[str, Any] = Field(default_factory=dict)
    guidance_scale: float = Field(default=1.0, ge=0)
    guidance_rescale: float = Field(default=0.0, ge=0, le=1)
    guidance_interval: tuple[float, float] | None = None

    @model_validator(mode="before")
    @classmethod
    def _todays_solver(cls, values: Any) -> Any:
        return with_todays_solver(values)

    @property
    def named(self) -> dict[str, Any]:
        """What is said of solver and grid.

        >>> SamplingDefaults(grid="karras", steps=8).named
        {'grid': 'karras'}
        """
        return self.model_dump(
            include={"solver", "solver_options", "grid", "grid_options"}, exclude_defaults=True
        )


class Card(Strict):
    """What a stranger must know before using a model."""

    licence: str = ""
    data: str = ""
    summary: str = ""


class Manifest(Strict):
    """The contents of model.json."""

    schema_version: int = SCHEMA_VERSION
    domain: str
    plugin: str = ""  # the distribution that brings the domain, or the module where there is none
    plugin_version: str = ""
    polydiff_version: str = ""
    config: dict[str, Any] = Field(default_factory=dict)
    schedule: Part = Part(name="edm")
    sigma_data: float = Field(default=1.0, gt=0)
    conditions: tuple[dict[str, Any], ...] = ()
    sampling: SamplingDefaults = SamplingDefaults()
    training: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, Any] = Field(default_factory=dict)
    card: Card = Card()


def read_manifest(folder: str | Path) -> Manifest:
    """The manifest of a model folder; UsageError in one line where there is none that can be used."""
    folder = Path(folder)
    if folder.suffix.lower() in _PICKLES or (not folder.is_dir() and folder.exists()):
        raise UsageError(_not_a_folder(folder))
    path = folder / MANIFEST
    if not path.is_file():
        pickle = next((p for p in folder.glob("*") if p.suffix.lower() in _PICKLES), None)
        if pickle:
            raise UsageError(_not_a_folder(pickle))
        what = "has no model.json" if folder.is_dir() else "does not exist"
        raise UsageError(f"{folder}: not a model folder, it {what}.")
    try:
        if path.stat().st_size > _MOST_JSON:
            raise ValueError(f"{path.stat().st_size} bytes, and at most {_MOST_JSON} are read")
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise UsageError(f"{path}: cannot be read as JSON ({error}). Copy the model folder again.") from error
    version = values.get("schema_version") if isinstance(values, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise UsageError(f"{path}: says no schema_version, so it is no model.json of polydiff.")
    if version > SCHEMA_VERSION:
        raise UsageError(
            f"{path}: written in schema {version}, and this polydiff reads up to {SCHEMA_VERSION}. "
            "Update it: pip install -U polydiff."
        )
    return validated(Manifest, values, str(path))


def check_weights(path: Path) -> None:
    """Raise a UsageError in one line where a weights file is missing, a pickle or cut short.

    A safetensors file is an 8-byte length, a JSON header of that length, and the bytes the header counts.
    The length may begin with the byte of a pickle: what follows it decides.
    """
    if not path.is_file():
        raise UsageError(f"{path}: missing. A model folder needs {MANIFEST} and {WEIGHTS}.")
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(9)
        if head[8:] != b"{" and (head[:2] == b"PK" or head[:1] == b"\x80"):
            raise UsageError(_not_a_folder(path))
        length = struct.unpack("<Q", head[:8])[0] if len(head) == 9 else size
        if length + 8 > size:
            raise UsageError(_truncated(path))
        try:
            if length > _MOST_HEADER:
                raise ValueError("a header of so many bytes is none")
            file.seek(8)
            header = json.loads(file.read(length))
            tensors = {name: value for name, value in header.items() if name != "__metadata__"}
            places = sorted(tuple(map(int, value["data_offsets"])) for value in tensors.values())
            end = max((stop for _, stop in places), default=0)
            kinds = {name: value["dtype"] for name, value in tensors.items()}
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as error:
            raise UsageError(f"{path}: not a safetensors file. Copy the model folder again.") from error
    if length + 8 + end > size:
        raise UsageError(_truncated(path))
    if any(start < before for (_, before), (start, _) in pairwise(places)):
        raise UsageError(f"{path}: damaged, its tensors overlap. Copy the model folder again.")
    odd = next((name for name, kind in kinds.items() if kind in _NO_WEIGHTS), None)
    if odd is not None:
        raise UsageError(
            f"{path}: {odd!r} holds {kinds[odd]} values, and weights are floating-point numbers."
        )


def _truncated(path: Path) -> str:
    return f"{path}: truncated, the file ends before its data does. Copy or download it again."


def _not_a_folder(path: Path) -> str:
    if path.suffix.lower() in _PICKLES or path.name == WEIGHTS:
        return f"{path}: a pickle, which can run code when it is read. polydiff reads safetensors only."
    return f"{path}: a file. Give the model folder that holds {MANIFEST} and {WEIGHTS}."
