"""How good a set of shapes is beside real ones: what `polydiff evaluate pointcloud` prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal, Protocol
from weakref import WeakKeyDictionary

import numpy as np

from polydiff.dataset import Dataset, Item
from polydiff.domain import Metric
from polydiff.evaluation.evaluated_set import Array, EvaluatedSet, EvaluatedSets, judge_metrics
from polydiff.support.files import sha256
from polydiff_pointcloud import metrics as m
from polydiff_pointcloud.cloud import PointCloud
from polydiff_pointcloud.config import PointCloudConfig
from polydiff_pointcloud.distances import chamfer, chamfer_matrix, earth_mover_matrix, within
from polydiff_pointcloud.frame import Frame
from polydiff_pointcloud.judge import KIND
from polydiff_pointcloud.preview import contact_sheet
from polydiff_pointcloud.regions import inside

PICTURED = 16
POINTS, POINTS_MOVED = 2048, 256
"""Points of a shape that Chamfer and earth mover's distances look at."""

A_SIDE = 40
"""At most so many shapes of a category are compared with as many others."""


class Judged(Protocol):
    """What these figures ask of a domain of clouds."""

    config: PointCloudConfig

    def load(self, path: Path) -> PointCloud: ...


class Shapes(EvaluatedSet):
    """A set of shapes, each in its own cube."""

    @cached_property
    def clouds(self) -> list[Array]:
        """(POINTS, 3) each."""
        return [normalised(cloud) for cloud in self.examples]

    @cached_property
    def few(self) -> list[Array]:
        """(POINTS_MOVED, 3) each."""
        order = np.random.default_rng(0).permutation(POINTS)[:POINTS_MOVED]
        return [cloud[order] for cloud in self.clouds]


def normalised(cloud: PointCloud) -> Array:
    """(POINTS, 3) of a cloud in its own cube; of fewer points some occur twice."""
    points = Frame.around(cloud.points).into(cloud.thinned(POINTS).points)
    return np.resize(points, (POINTS, 3)).astype(np.float32)


@dataclass(frozen=True)
class Comparison:
    """One set of shapes beside another by one distance."""

    mmd: float
    cov: float
    nna: float

    @classmethod
    def of(cls, a: Shapes, b: Shapes, name: str) -> Comparison:
        """Of samples a beside references b, at most A_SIDE each; name: "cd" or "emd"."""
        distance = chamfer_matrix if name == "cd" else earth_mover_matrix
        x, y = ((side.clouds if name == "cd" else side.few)[:A_SIDE] for side in (a, b))
        across = distance(x, y)
        return cls(
            m.minimum_matching_distance(across),
            m.coverage(across),
            m.nearest_neighbour_accuracy(across, within(x, distance), within(y, distance)),
        )


_TITLES = {"cd": "Chamfer", "emd": "earth mover's"}
_FIGURES: dict[str, tuple[Literal["lower", "higher"], str]] = {
    "mmd": ("lower", "{} distance of a real shape to the nearest sample"),
    "cov": ("higher", "real shapes that are some sample's nearest by {} distance"),
    "1nna": ("lower", "shapes whose nearest by {} distance is of their own set; 0.5 is best"),
}


def metrics(judge: str) -> dict[str, Metric]:
    """The figures that rank sets of shapes, each a function of samples and real shapes, whatever their
    categories. judge: the name of a shipped judge, or "" for none."""
    loaded = KIND.load(judge) if judge else None
    see = EvaluatedSets(lambda data: Shapes(data, loaded))
    compared: WeakKeyDictionary[Shapes, WeakKeyDictionary[Shapes, dict[str, Comparison]]]
    compared = WeakKeyDictionary()

    def figure(name: str, distance: str, a: Shapes, b: Shapes) -> float:
        found = compared.setdefault(a, WeakKeyDictionary()).setdefault(b, {})
        if distance not in found:
            found[distance] = Comparison.of(a, b, distance)
        value: float = getattr(found[distance], name.removeprefix("1"))
        return value

    found = {
        f"{name}_{distance}": see.metric(partial(figure, name, distance), better, text.format(title))
        for distance, title in _TITLES.items()
        for name, (better, text) in _FIGURES.items()
    }
    if loaded:
        found["accuracy"] = see.metric(
            lambda a, b: a.accuracy("category"), "higher", "shapes that the judge sees as asked"
        )
        found["frechet"] = judge_metrics(see, loaded, "", "")["frechet"]
    return found


def evaluate(domain: Judged, samples: Dataset, reference: Dataset) -> dict[str, float]:
    """All figures of a set of samples, category by category, and their means.

    The real shapes of a category are parted in two, those that were held out of training in the first part.
    Samples, as many as the second part has, are compared with the first; so is the second part itself, which
    gives the floor that real shapes reach (`..._floor`). `novelty` is the median distance of a sample to the
    nearest training shape over that of held-out shapes: 0 means copies. Where samples kept parts of a source
    that is there, `completion` is their Chamfer distance to the source over that of what was kept.
    """
    judge = KIND.load(domain.config.judge) if domain.config.judge else None
    figures: dict[str, float] = {}
    rows: list[dict[str, float]] = []
    for category in sorted({_category(item) for item in samples}):
        made, real = (_of(data, category) for data in (samples, reference))
        if len(real) < 4:
            continue
        row = _beside(Shapes(made), real)
        rows.append(row)
        figures |= {f"{category or 'all'} {name}": x for name, x in row.items()}
    figures |= {name: float(np.nanmean([row[name] for row in rows if name in row])) for name in _names(rows)}
    if rows:
        parts = [Shapes(data).clouds for data in (samples, *_halves(reference))]
        figures["jsd"] = m.occupancy_divergence(parts[0], parts[1])
        figures["jsd_floor"] = m.occupancy_divergence(parts[2], parts[1])
    if judge:
        figures["accuracy"] = Shapes(samples, judge).accuracy("category")
        figures["accuracy_real"] = Shapes(_held_out(reference) or reference, judge).accuracy("category")
    figures |= _completion(domain.load, samples)
    return {name: value for name, value in figures.items() if np.isfinite(value)}


def _beside(made: Shapes, real: Dataset) -> dict[str, float]:
    """The figures of one category."""
    first, second = (Shapes(half) for half in _halves(real))
    as_many = Shapes(Dataset(made.data.items[: len(second.data)]))
    row: dict[str, float] = {}
    for name in _TITLES:
        for end, side in (("", as_many), ("_floor", second)):
            found = Comparison.of(side, first, name)
            row |= {
                f"mmd_{name}{end}": found.mmd,
                f"cov_{name}{end}": found.cov,
                f"1nna_{name}{end}": found.nna,
            }
    held, trained = _held_out(real), Dataset(item for item in real if not item.record.get("held_out"))
    if held and len(trained):
        known = Shapes(trained).clouds
        usual = np.median(chamfer_matrix(Shapes(held).clouds, known).min(1))
        row["novelty"] = float(np.median(chamfer_matrix(made.clouds, known).min(1)) / max(usual, 1e-12))
    return row


def _names(rows: Sequence[dict[str, float]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _category(item: Item) -> str:
    label = item.conditions.get("category")
    return label if isinstance(label, str) else ""


def _of(data: Dataset, category: str) -> Dataset:
    return Dataset(item for item in data if not category or _category(item) == category)


def _held_out(data: Dataset) -> Dataset | None:
    held = [item for item in data if item.record.get("held_out")]
    return Dataset(held) if held else None


def _halves(real: Dataset) -> tuple[Dataset, Dataset]:
    """Two sets of real shapes of one size, at most A_SIDE; those held out of training come first."""
    order = [int(i) for i in np.random.default_rng(0).permutation(len(real))]
    order.sort(key=lambda i: not real[i].record.get("held_out"))
    count = min(len(order) // 2, A_SIDE)
    rest = order[count:]
    picked = np.random.default_rng(1).permutation(len(rest))[:count]
    return Dataset(real[i] for i in order[:count]), Dataset(real[rest[int(i)]] for i in picked)


def _completion(load: Callable[[Path], PointCloud], samples: Dataset) -> dict[str, float]:
    """How near completed shapes come to the whole, beside what was kept of it."""
    shares = []
    for item in samples:
        source = item.record.get("source") or {}
        path = Path(source.get("path") or "")
        if source.get("redo") is None or not path.is_file() or sha256(path) != source["sha256"]:
            continue
        whole, made = load(path).points, item.load().points
        kept = whole[~inside(source["redo"], whole)]
        shares.append(chamfer(made, whole) / max(chamfer(kept, whole), 1e-12))
    return {"completion": float(np.mean(shares))} if shares else {}


def picture(samples: Dataset, reference: Dataset) -> bytes:
    """Up to PICTURED samples, each beside the training shape of its category that lies nearest to it."""
    shown = samples[:PICTURED]
    clouds: list[PointCloud] = []
    titles: list[str] = []
    for item in shown:
        real = _of(reference, _category(item))
        trained = Dataset(x for x in real if not x.record.get("held_out")) if len(real) else reference
        [(nearest, distance)] = nearest_training([item.load()], trained)
        clouds += [item.load(), nearest.load()]
        titles += [Path(item.source).name, f"nearest of training ({distance:.4f})"]
    return contact_sheet(clouds, titles)


def nearest_training(samples: Sequence[PointCloud], training: Dataset) -> list[tuple[Item, float]]:
    """The nearest training shape of each sample, and how far it is (Chamfer)."""
    distances = chamfer_matrix([normalised(x) for x in samples], Shapes(training).clouds)
    return [(training[int(row.argmin())], float(row.min())) for row in distances]
