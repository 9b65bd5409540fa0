"""Calibrated tables of a model: `tables/8.json` in its folder is the one of 8 network calls.

They belong to no hash of the model: a sample's own record holds the table that made it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from polydiff.domain import Strict
from polydiff.engine.table import Table
from polydiff.errors import UsageError
from polydiff.models.manifest import TABLES, Part, with_todays_solver
from polydiff.support.files import atomic_write
from polydiff.support.validate import validated

#: what `--solver` calls the calibrated table of a number of steps, and what such a table calls itself
CALIBRATED = "calibrated"


class Distances(Strict):
    """Distances of end points to those of very many calls, for a known solver and for the table fitted from
    it: root mean square over the samples, and the median, which is not moved by the few samples that end
    in another mode. In units of the samples' deviation."""

    start: float
    calibrated: float
    start_median: float
    calibrated_median: float


class SavedTable(Strict):
    """A table, what it was fitted to, and what it came to on seeds that the fit did not see.

    sources, keep: how many sources the samples were inpainted from, and the region of each that was kept.
    named: what the model said of its solver and grid, in whose stead the table is used.
    `start` is the known solver that the fit began with. distances: to `reference_calls` calls of the default
    solver, of samples with every condition given ("conditioned") and with none ("unconditioned").
    """

    schema_version: int = 1
    table: dict[str, Any]
    schedule: Part
    model: str = ""
    model_hash: str = ""
    guidance_scale: float = 1.0
    seed: int = 0
    seeds: int = 0
    reference_calls: int = 0
    sources: int = 0
    keep: str | None = None
    named: dict[str, Any] = Field(default_factory=dict)
    start: str = ""
    distances: dict[str, Distances] = Field(default_factory=dict)

    @field_validator("named", mode="before")
    @classmethod
    def _todays_solver(cls, named: Any) -> Any:
        return with_todays_solver(named)

    @property
    def better(self) -> bool:
        """Whether half of the samples come nearer than with what it began with, whatever was asked for."""
        return all(found.calibrated_median < found.start_median for found in self.distances.values())

    def solver_table(self, schedule: Part, where: str) -> Table:
        """The table, for a model of this schedule. Raises UsageError where it was made for another."""
        if self.schedule != schedule:
            raise UsageError(
                f"{where}: calibrated for the schedule {_shown(self.schedule)}, and this model has "
                f"{_shown(schedule)}. Calibrate it anew: polydiff calibrate."
            )
        return Table.from_json(json.dumps(self.table))

    def write(self, path: str | Path) -> None:
        """Write the file, whole or not at all."""
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(self.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: str | Path) -> SavedTable:
        """Read a file. Raises UsageError in one line where it holds no table."""
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: cannot be read as a calibrated table ({error}).") from error
        if not isinstance(values, dict) or "table" not in values:
            raise UsageError(f"{path}: not a calibrated table; `polydiff calibrate` writes them.")
        found = validated(cls, values, str(path))
        try:
            Table.from_json(json.dumps(found.table))
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error
        return found


def table_path(folder: str | Path, steps: int) -> Path:
    """The file of the calibrated table of a number of steps in a model folder.

    >>> table_path("model", 8).as_posix()
    'model/tables/8.json'
    """
    return Path(folder) / TABLES / f"{steps}.json"


def tables_in(folder: str | Path) -> dict[int, Path]:
    """The calibrated tables of a model folder by their number of steps; none in a folder without them."""
    found = {int(path.stem): path for path in (Path(folder) / TABLES).glob("*.json") if path.stem.isdigit()}
    return dict(sorted(found.items()))


def _shown(schedule: Part) -> str:
    options = ", ".join(f"{key}={value}" for key, value in schedule.options.items())
    return f"{schedule.name}({options})" if options else schedule.name
