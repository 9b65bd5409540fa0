"""Rows of a number and a kind as a domain: two components, one Gaussian and one of categories."""

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
class Rows:
    """A number and a kind in each row: values (rows,), kinds (rows,) as words."""

    values: NDArray[np.float64]
    kinds: tuple[str, ...]


class RowsConfig(Strict):
    """What fixes codec and network. Everything that comes from the data is found by `configure`."""

    kinds: tuple[str, ...] = ("a", "b")
    mean: float = 0.0
    deviation: float = 1.0
    length: int = Field(default=12, ge=1)  # rows of a new sample
    labels: tuple[str, ...] = ()
    width: int = Field(default=64, ge=8, multiple_of=8)
    depth: int = Field(default=2, ge=1)


class RowsOptions(Strict):
    """What may differ from sample to sample."""

    length: int | None = Field(default=None, ge=1, le=10_000, description="Rows of the sample")


class MyData(Domain):
    """The product of two spaces: one node a row in both."""

    name = "mydata"
    Config = RowsConfig
    Options = RowsOptions
    suffixes = (".csv",)
    tolerance = 1e-4
    capabilities = frozenset({"variation", "variable"})
    label = "label"  # the folder that a training file lies in is its label

    # --- files ------------------------------------------------------------------------------------------

    def load(self, path: Path) -> Rows:
        try:
            with Path(path).open(encoding="utf-8-sig", newline="") as file:
                rows = [row for row in csv.reader(file) if row][1:]
            values = np.array([float(row[0]) for row in rows])
            kinds = tuple(row[1].strip() for row in rows)
        except (OSError, ValueError, IndexError, csv.Error) as error:
            raise UsageError(f"{path}: not a CSV file of numbers and kinds under a line of names.") from error
        if not len(values) or not np.isfinite(values).all():
            raise UsageError(f"{path}: needs a line of names and then rows of a finite number and a kind.")
        return Rows(values, kinds)

    def save(self, example: Rows, path: Path) -> list[str]:
        with Path(path).open("w", encoding="utf-8", newline="") as file:
            rows = zip(example.values.round(6).tolist(), example.kinds, strict=True)
            csv.writer(file).writerows([("value", "kind"), *rows])
        return []

    # --- tensors ----------------------------------------------------------------------------------------

    def encode(self, examples: Sequence[Rows]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        import torch

        longest = max(len(example.values) for example in examples)
        level = torch.zeros(len(examples), longest, 1)
        kind = torch.zeros(len(examples), longest, len(self.config.kinds))  # one-hot
        mask = torch.zeros(len(examples), longest, dtype=torch.bool)
        for i, example in enumerate(examples):
            unknown = set(example.kinds) - set(self.config.kinds)
            if unknown:
                raise UsageError(f"unknown kind {min(unknown)!r}; known: {', '.join(self.config.kinds)}.")
            count = len(example.values)
            scaled = (example.values - self.config.mean) / self.config.deviation
            level[i, :count, 0] = torch.from_numpy(scaled)
            kind[i, range(count), [self.config.kinds.index(word) for word in example.kinds]] = 1
            mask[i, :count] = True
        return {"level": level, "kind": kind}, {"level": mask, "kind": mask}

    def decode(self, state: dict[str, Tensor], mask: dict[str, Tensor]) -> list[Rows]:
        values = state["level"][..., 0].double().cpu().numpy() * self.config.deviation + self.config.mean
        chosen = state["kind"].argmax(-1).cpu().numpy()
        real = mask["level"].cpu().numpy() if "level" in mask else np.ones(values.shape, dtype=bool)
        return [
            Rows(x[keep], tuple(self.config.kinds[i] for i in k[keep]))
            for x, k, keep in zip(values, chosen, real, strict=True)
        ]

    def processes(self) -> dict[str, Process]:
        from polydiff.engine.processes import Categorical as Kinds
        from polydiff.engine.processes import Gaussian

        return {"level": Gaussian(), "kind": Kinds()}

    def network(self) -> nn.Module:
        from polydiff_mydata.network import Both

        config = self.config
        network: nn.Module = Both(len(config.kinds), self.conditions().widths, config.width, config.depth)
        return network

    def shapes(self, request: SampleRequest) -> dict[str, tuple[int, ...]]:
        length = request.options.length
        if length is None:
            length = self.config.length if request.source is None else len(request.source.values)
        return {"level": (length, 1), "kind": (length, len(self.config.kinds))}

    # --- conditions, training data ----------------------------------------------------------------------

    def conditions(self) -> ConditionSet:
        labels = self.config.labels
        if not labels:  # nothing is known of the data yet
            return ConditionSet(())
        return ConditionSet((Categorical(name="label", choices=labels, mixable=True, help="Kind of file"),))

    @classmethod
    def configure(cls, dataset: Dataset, overrides: Mapping[str, Any]) -> RowsConfig:
        examples = dataset.examples()
        values = np.concatenate([example.values for example in examples])
        found = {
            "kinds": tuple(sorted({word for example in examples for word in example.kinds})),
            "mean": float(values.mean()),
            "deviation": max(float(values.std()), 1e-8),
            "length": int(np.median([len(example.values) for example in examples])),
            "labels": tuple(sorted({label for label in dataset.labels("label") if label is not None})),
        }
        return RowsConfig(**{**found, **overrides})

    # --- judging and showing ----------------------------------------------------------------------------

    def distance(self, a: Rows, b: Rows) -> float:
        same = a.kinds == b.kinds and a.values.shape == b.values.shape
        return float(np.abs(a.values - b.values).max()) if same else float("inf")

    def metrics(self) -> dict[str, Metric]:
        return {"look_gap": Metric(self._gap, "lower", "Between levels, steps and runs of kinds in two sets")}

    def _gap(self, samples: Dataset, reference: Dataset) -> float:
        return float(np.linalg.norm(self._look(samples) - self._look(reference)))

    def _look(self, data: Dataset) -> NDArray[np.float64]:
        """A set's look: mean, spread and step of its numbers, and how often a kind follows itself."""
        rows = []
        for example in data.examples():
            x, kinds = (example.values - self.config.mean) / self.config.deviation, np.array(example.kinds)
            step, same = (
                (np.abs(np.diff(x)).mean(), (kinds[1:] == kinds[:-1]).mean()) if len(x) > 1 else (0, 1)
            )
            rows.append([x.mean(), x.std(), step, same])
        means: NDArray[np.float64] = np.mean(rows, axis=0)
        return means

    def preview(self, example: Rows) -> bytes:
        figure = new_figure(3, 2)
        axes = figure.add_subplot()
        axes.plot(example.values, color="0.7")
        for word in sorted(set(example.kinds)):
            places = [i for i, kind in enumerate(example.kinds) if kind == word]
            axes.scatter(places, example.values[places], s=12, label=word)
        axes.legend(fontsize=6)
        axes.tick_params(labelsize=7)
        return to_png(figure)
