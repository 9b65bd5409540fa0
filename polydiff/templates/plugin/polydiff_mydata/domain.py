"""Time series as a domain: CSV files in, tensors through the engine, CSV files out."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from polydiff.conditions import Categorical, ConditionSet
from polydiff.domain import Dataset, Domain, Metric, SampleRequest, Strict
from polydiff.errors import UsageError
from polydiff.support.pictures import new_figure, to_png

if TYPE_CHECKING:  # torch is imported where it is used, so that `polydiff sample mydata --help` is quick
    from torch import Tensor, nn

    from polydiff.engine.processes import Process


@dataclass(frozen=True, eq=False)
class Series:
    """One time series: values of shape (rows, columns), one name a column."""

    values: NDArray[np.float64]
    columns: tuple[str, ...]


class SeriesConfig(Strict):
    """What fixes codec and network. Everything that comes from the data is found by `configure`."""

    columns: tuple[str, ...] = ("value",)
    mean: tuple[float, ...] = (0.0,)
    deviation: tuple[float, ...] = (1.0,)
    length: int = Field(default=12, ge=1)  # rows of a new series
    labels: tuple[str, ...] = ()
    width: int = Field(default=64, ge=8, multiple_of=8)
    depth: int = Field(default=2, ge=1)


class SeriesOptions(Strict):
    """What may differ from sample to sample."""

    length: int | None = Field(default=None, ge=1, le=10_000, description="Rows of the series")


class MyData(Domain):
    """Series of any length, standardised column by column; one node a row."""

    name = "mydata"
    Config = SeriesConfig
    Options = SeriesOptions
    suffixes = (".csv",)
    tolerance = 1e-4
    capabilities = frozenset({"variation", "inpaint", "variable"})
    label = "label"  # the folder that a training file lies in is its label

    # --- files ------------------------------------------------------------------------------------------

    def load(self, path: Path) -> Series:
        try:
            with Path(path).open(encoding="utf-8-sig", newline="") as file:
                rows = [row for row in csv.reader(file) if row]
            values = np.array(rows[1:], dtype=np.float64)
        except (OSError, ValueError, csv.Error) as error:
            raise UsageError(
                f"{path}: not a CSV file of numbers under one line of names ({error})."
            ) from error
        if values.ndim != 2 or not values.size or not np.isfinite(values).all():
            raise UsageError(
                f"{path}: needs a line of names and then rows of finite numbers, all equally long."
            )
        return Series(values, tuple(rows[0]))

    def save(self, example: Series, path: Path) -> list[str]:
        with Path(path).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([example.columns, *example.values.round(6).tolist()])
        return []

    # --- tensors ----------------------------------------------------------------------------------------

    def encode(self, examples: Sequence[Series]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        import torch

        for example in examples:
            if example.values.shape[1] != len(self.config.columns):
                raise UsageError(
                    f"The series has the columns {', '.join(example.columns)}; "
                    f"this model knows {', '.join(self.config.columns)}."
                )
        longest = max(len(example.values) for example in examples)
        state = torch.zeros(len(examples), longest, len(self.config.columns))
        mask = torch.zeros(len(examples), longest, dtype=torch.bool)
        for i, example in enumerate(examples):
            scaled = (example.values - self.config.mean) / self.config.deviation
            state[i, : len(scaled)] = torch.from_numpy(scaled)
            mask[i, : len(scaled)] = True
        return {"rows": state}, {"rows": mask}

    def decode(self, state: dict[str, Tensor], mask: dict[str, Tensor]) -> list[Series]:
        rows = state["rows"].double().cpu().numpy() * self.config.deviation + self.config.mean
        real = mask["rows"].cpu().numpy() if "rows" in mask else np.ones(rows.shape[:2], dtype=bool)
        return [Series(x[keep], self.config.columns) for x, keep in zip(rows, real, strict=True)]

    def processes(self) -> dict[str, Process]:
        from polydiff.engine.processes import Gaussian

        return {"rows": Gaussian()}

    def network(self) -> nn.Module:
        from polydiff.nn import SequenceTransformer

        config = self.config
        widths = self.conditions().widths
        return SequenceTransformer("rows", len(config.columns), widths, config.width, config.depth, heads=4)

    def shapes(self, request: SampleRequest) -> dict[str, tuple[int, ...]]:
        length = request.options.length
        if length is None:
            length = self.config.length if request.source is None else len(request.source.values)
        return {"rows": (length, len(self.config.columns))}

    # --- conditions, kept parts -------------------------------------------------------------------------

    def conditions(self) -> ConditionSet:
        labels = self.config.labels
        if not labels:  # nothing is known of the data yet
            return ConditionSet(())
        return ConditionSet((Categorical(name="label", choices=labels, mixable=True, help="Kind of series"),))

    def known(self, request: SampleRequest) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        import torch

        (length, columns), rows = self.shapes(request)["rows"], len(request.source.values)
        state = torch.zeros(length, columns)
        keep = torch.zeros(length, dtype=torch.bool)
        state[:rows] = self.encode([request.source])[0]["rows"][0, :length]
        keep[kept_rows(request, rows)] = True
        return {"rows": state}, {"rows": keep}

    def finish(self, example: Series, request: SampleRequest) -> Series:
        if request.keep is None and request.redo is None:
            return example
        kept = kept_rows(request, len(request.source.values))
        kept = kept[kept < len(example.values)]
        values = example.values.copy()
        values[kept] = request.source.values[kept]
        return Series(values, example.columns)

    # --- training data ----------------------------------------------------------------------------------

    @classmethod
    def configure(cls, dataset: Dataset, overrides: Mapping[str, Any]) -> SeriesConfig:
        examples = dataset.examples()
        values = np.concatenate([example.values for example in examples])
        found = {
            "columns": examples[0].columns,
            "mean": tuple(values.mean(0).tolist()),
            "deviation": tuple(np.maximum(values.std(0), 1e-8).tolist()),
            "length": int(np.median([len(example.values) for example in examples])),
            "labels": tuple(sorted({label for label in dataset.labels("label") if label is not None})),
        }
        return SeriesConfig(**{**found, **overrides})

    # --- judging and showing ----------------------------------------------------------------------------

    def distance(self, a: Series, b: Series) -> float:
        return float(np.abs(a.values - b.values).max()) if a.values.shape == b.values.shape else float("inf")

    def metrics(self) -> dict[str, Metric]:
        text = "Between the levels, spreads and steps of two sets"
        return {"energy_distance": Metric(energy_distance, "lower", text)}

    def preview(self, example: Series) -> bytes:
        figure = new_figure(3, 2)
        axes = figure.add_subplot()
        axes.plot(example.values)
        axes.tick_params(labelsize=7)
        if len(example.columns) > 1:
            axes.legend(example.columns, fontsize=6)
        return to_png(figure)


def kept_rows(request: SampleRequest, rows: int) -> NDArray[np.int64]:
    """The rows of the source that stay, from regions such as "0:6" or "0:3,9:12"."""
    text = request.keep if request.keep is not None else request.redo or ""
    named = np.zeros(rows, dtype=bool)
    for part in text.split(","):
        start, colon, stop = part.strip().partition(":")
        try:
            first, last = int(start or 0), int(stop or rows)
        except ValueError:
            first = last = -1
        if not colon or not 0 <= first < last <= rows:
            raise UsageError(
                f"{part!r}: a region is FIRST:LAST in rows, from 0 to {rows}, such as 0:{rows // 2}."
            )
        named[first:last] = True
    return np.flatnonzero(named if request.keep is not None else ~named)


def energy_distance(samples: Dataset, reference: Dataset) -> float:
    """Székely and Rizzo's energy distance between what two sets of series look like: for each column its
    level, its spread and its mean step, in units of the reference's deviations. 0 for equal sets."""
    x, y = _features(samples), _features(reference)
    centre, scale = y.mean(0), np.maximum(y.std(0), 1e-8)
    x, y = (x - centre) / scale, (y - centre) / scale

    def mean_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        return float(np.linalg.norm(a[:, None] - b[None], axis=-1).mean())

    return 2 * mean_distance(x, y) - mean_distance(x, x) - mean_distance(y, y)


def _features(data: Dataset) -> NDArray[np.float64]:
    rows = []
    for example in data.examples():
        values = example.values
        steps = np.abs(np.diff(values, axis=0)).mean(0) if len(values) > 1 else np.zeros(values.shape[1])
        rows.append(np.concatenate([values.mean(0), values.std(0), steps]))
    return np.stack(rows)
