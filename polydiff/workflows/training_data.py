"""A dataset as batches for the engine: encoded once where that is possible, padded, in a fixed order."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from polydiff.dataset import DataReport, Dataset, Item
from polydiff.domain import Domain
from polydiff.engine.noise import uniform
from polydiff.errors import UsageError
from polydiff.support.padding import pad_examples
from polydiff.training.loop import Batch
from polydiff.training.order import BatchOrder

MEMORY = 2 * 2**30  # bytes of examples, encoded, that are held; what is beyond is read at each use

Encoded = dict[str, Tensor]  # one example: component -> (N, C), only real nodes


class TrainingData:
    """Batches of a dataset: `data(step)` is a pure function of the step.

    Items that cannot be loaded or whose conditions the domain does not know are left out and named in
    `report`. Augmentation draws from (seed, step, place in the batch of all processes) alone.
    """

    def __init__(
        self, domain: Domain, dataset: Dataset, batch_size: int, seed: int, rank: int = 0, ranks: int = 1
    ) -> None:
        self._domain, self._seed = domain, seed
        self._whole, self._place = batch_size * ranks, slice(rank, None, ranks)
        self._augmented = type(domain).augment is not Domain.augment
        self._items: list[Item] = []
        self._held: list[Any] = []  # encoded; as loaded where they are augmented; None beyond MEMORY
        self._cond: list[dict[str, Tensor]] = []
        lengths: list[int] = []
        skipped: list[tuple[str, str]] = []
        held = 0
        conditions = domain.conditions()
        unused: set[str] = set()
        for item in dataset:
            unused |= {name for name in item.conditions if name not in conditions}
            try:
                example = item.load()
                encoded = self._encode(example)
                row = self._row(item.conditions)
            except (UsageError, OSError) as error:
                skipped.append((item.source, str(error)))
                continue
            size = sum(x.numel() * x.element_size() for x in encoded.values())
            held += size
            self._items.append(item)
            self._held.append(None if held > MEMORY else example if self._augmented else encoded)
            self._cond.append(row)
            lengths.append(max(len(x) for x in encoded.values()))
        if not lengths:
            why = f"; the first: {skipped[0][1]}" if skipped else ""
            raise UsageError(f"There is nothing to train on: no example can be used{why}")
        self.report = _report(dataset.report, len(lengths), skipped, sorted(unused))
        self.null = {name: torch.tensor([values]) for name, values in conditions.null().items()}
        self._order = BatchOrder(lengths, batch_size, seed, rank, ranks)

    @property
    def digest(self) -> str:
        """A short hash of which files there are and how they are labelled, to tell a resumed run by."""
        rows = sorted(f"{Path(item.source).name} {dict(item.conditions)}" for item in self._items)
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self._items)

    def __call__(self, step: int) -> Batch:
        """The batch of step `step` (from 0)."""
        indices = self._order(step)
        if self._augmented:
            draws = uniform(self._seed, "augment", step, (self._whole,))[0][self._place]
            drawn = [self._changed(i, int(u * 2**53)) for i, u in zip(indices, draws, strict=True)]
        else:
            drawn = [(self._unchanged(i), self._cond[i]) for i in indices]
        state, mask = _padded([encoded for encoded, _ in drawn])
        names = self._cond[0].keys()
        return Batch(state, mask, {name: torch.stack([row[name] for _, row in drawn]) for name in names})

    def _unchanged(self, index: int) -> Encoded:
        held: Encoded | None = self._held[index]
        return self._encode(self._items[index].load()) if held is None else held

    def _changed(self, index: int, seed: int) -> tuple[Encoded, dict[str, Tensor]]:
        item, held = self._items[index], self._held[index]
        example = item.load() if held is None else held
        changed, labels = self._domain.augment(example, item.conditions, seed)
        return self._encode(changed), self._row(labels)

    def _row(self, labels: Mapping[str, Any]) -> dict[str, Tensor]:
        conditions = self._domain.conditions()
        known = {name: value for name, value in labels.items() if name in conditions}
        return {name: torch.tensor(values) for name, values in conditions.encode(known).items()}

    def _encode(self, example: Any) -> Encoded:
        state, mask = self._domain.encode([example])
        return {name: x[0][mask[name][0]] if name in mask else x[0] for name, x in state.items()}


def _padded(examples: Sequence[Encoded]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Examples of several lengths as one batch; a component gets a mask only where lengths differ."""
    state, mask = {}, {}
    for name in examples[0]:
        state[name], real = pad_examples([example[name] for example in examples])
        if not bool(real.all()):
            mask[name] = real
    return state, mask


def _report(
    report: DataReport, count: int, skipped: Sequence[tuple[str, str]], unused: Sequence[str]
) -> DataReport:
    details = dict(report.details)
    if unused:
        details["labels that are no condition of this model"] = ", ".join(unused)
    return replace(report, count=count, skipped=(*report.skipped, *skipped), details=details)
