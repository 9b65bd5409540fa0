"""How good a set of shapes is beside real ones: what `polydiff evaluate pointcloud` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from polydiff.dataset import Dataset, Item
from polydiff.domain import Metric
from polydiff.evaluation import scores
from polydiff.support.files import sha256
from polydiff_pointcloud import metrics as m
from polydiff_pointcloud.cloud import PointCloud
from polydiff_pointcloud.distances import chamfer, chamfer_matrix, earth_mover_matrix, within
from polydiff_pointcloud.frame import Frame
from polydiff_pointcloud.judge import Judge
from polydiff_pointcloud.preview import contact_sheet
from polydiff_pointcloud.regions import inside

if TYPE_CHECKING:
    from polydiff_pointcloud.domain import PointClouds

Array = NDArray[Any]
PICTURED = 16
POINTS, POINTS_MOVED = 2048, 256
"""Points of a shape that Chamfer and earth mover's distances look at."""

A_SIDE = 40
"""At most so many shapes of a category are compared with as many others."""


@dataclass(eq=False)
class Shapes:
    """A set of shapes, each in its own cube; everything is worked out once, when it is first asked for."""

    data: Dataset
    judge: Judge | None = None

    @cached_property
    def clouds(self) -> list[Array]:
        """(POINTS, 3) each."""
        return [normalised(item.load()) for item in self.data]

    @cached_property
    def few(self) -> list[Array]:
        """(POINTS_MOVED, 3) each."""
        order = np.random.default_rng(0).permutation(POINTS)[:POINTS_MOVED]
        return [cloud[order] for cloud in self.clouds]

    @cached_property
    def _seen(self) -> tuple[Array, Array]:
        assert self.judge is not None
        features, answers = self.judge.see(self.data.examples())
        return features.numpy(), answers.numpy()

    @property
    def features(self) -> Array:
        """(n, d), the judge's."""
        return self._seen[0]

    def accuracy(self) -> float:
        """How many shapes the judge sees as what was asked for; nan where nothing was asked."""
        assert self.judge is not None
        choices = self.judge.choices
        right = [
            choices[int(p.argmax())] == str(label)
            for label, p in zip(self.data.labels("category"), self._seen[1], strict=True)
            if str(label) in choices
        ]
        return float(np.mean(right)) if right else float("nan")


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


class Comparisons:
    """Datasets as shapes, and their comparisons, each worked out once and forgotten with its datasets."""

    def __init__(self, judge: Judge | None) -> None:
        self.judge = judge
        self._shapes: WeakKeyDictionary[Dataset, Shapes] = WeakKeyDictionary()
        self._compared: WeakKeyDictionary[Dataset, WeakKeyDictionary[Dataset, dict[str, Comparison]]]
        self._compared = WeakKeyDictionary()

    def see(self, data: Dataset) -> Shapes:
        return self._shapes.setdefault(data, Shapes(data, self.judge))

    def compare(self, a: Dataset, b: Dataset, name: str) -> Comparison:
        found = self._compared.setdefault(a, WeakKeyDictionary()).setdefault(b, {})
        if name not in found:
            found[name] = Comparison.of(self.see(a), self.see(b), name)
        return found[name]


_TITLES = {"cd": "Chamfer", "emd": "earth mover's"}
_FIGURES: dict[str, tuple[Literal["lower", "higher"], str]] = {
    "mmd": ("lower", "{} distance of a real shape to the nearest sample"),
    "cov": ("higher", "real shapes that are some sample's nearest by {} distance"),
    "1nna": ("lower", "shapes whose nearest by {} distance is of their own set; 0.5 is best"),
}


def metrics(judge: str) -> dict[str, Metric]:
    """The figures that rank sets of shapes, each a function of samples and real shapes, whatever their
    categories. judge: the name of a shipped judge, or "" for none."""
    known = Comparisons(Judge.load(judge) if judge else None)

    def figure(name: str, distance: str, a: Dataset, b: Dataset) -> float:
        value: float = getattr(known.compare(a, b, distance), name.removeprefix("1"))
        return value

    found = {
        f"{name}_{distance}": Metric(partial(figure, name, distance), better, text.format(title))
        for distance, title in _TITLES.items()
        for name, (better, text) in _FIGURES.items()
    }
    if judge:
        found["accuracy"] = Metric(
            lambda a, b: known.see(a).accuracy(), "higher", "shapes that the judge sees as asked"
        )
        found["frechet"] = Metric(
            lambda a, b: scores.frechet_distance(known.see(a).features, known.see(b).features),
            "lower",
            "Frechet distance on the judge's features",
        )
    return found


def evaluate(domain: PointClouds, samples: Dataset, reference: Dataset) -> dict[str, float]:
    """All figures of a set of samples, category by category, and their means.

    The real shapes of a category are parted in two, those that were held out of training in the first part.
    Samples, as many as the second part has, are compared with the first; so is the second part itself, which
    gives the floor that real shapes reach (`..._floor`). `novelty` is the median distance of a sample to the
    nearest training shape over that of held-out shapes: 0 means copies. Where samples kept parts of a source
    that is there, `completion` is their Chamfer distance to the source over that of what was kept.
    """
    judge = Judge.load(domain.config.judge) if domain.config.judge else None
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
        figures["accuracy"] = Shapes(samples, judge).accuracy()
        figures["accuracy_real"] = Shapes(_held_out(reference) or reference, judge).accuracy()
    figures |= _completion(domain, samples)
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


def _completion(domain: PointClouds, samples: Dataset) -> dict[str, float]:
    """How near completed shapes come to the whole, beside what was kept of it."""
    shares = []
    for item in samples:
        source = item.record.get("source") or {}
        path = Path(source.get("path") or "")
        if source.get("redo") is None or not path.is_file() or sha256(path) != source["sha256"]:
            continue
        whole, made = domain.load(path).points, item.load().points
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
