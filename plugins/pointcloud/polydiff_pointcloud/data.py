"""Shapes to learn from: folders of clouds and meshes, and the arrays of a .npz file."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from polydiff.dataset import DataReport, Dataset, Item, checked, labelled_files
from polydiff.errors import UsageError, did_you_mean
from polydiff_pointcloud import files
from polydiff_pointcloud.cloud import PointCloud
from polydiff_pointcloud.frame import Frame

SPLITS = {"train": (0,), "test": (2,), "all": (0, 2)}


def read_dataset(folder: str | Path, pattern: str | None = None, *, split: str = "train") -> Dataset:
    """Shapes with their category.

    Args:
        folder: a folder of clouds and meshes (the category is the name of the folder that a file lies in, or
            what polydiff.dataset.labelled_files finds), or a .npz file with an array `points` (shapes,
            points, 3) of floats, or of integers that mean -1 to 1, and optionally `label` with `categories`,
            `split` (0 train, 2 test), `name`, `author` and `licence`.
        pattern: names of files, such as "{category}_{number}".
        split: "train", "test" or "all", of a .npz file that has a split; of all, the records of the test
            shapes say so.

    What cannot be read is skipped and named in the report. Raises UsageError where nothing is left.
    """
    path = Path(folder)
    if split not in SPLITS:
        raise UsageError(
            f"There is no split {split!r}.{did_you_mean(split, SPLITS)} Give train, test or all."
        )
    if path.suffix == ".npz":
        found = _read_arrays(path, split)
    else:
        found = checked(labelled_files(path, files.READ, "category", pattern), _usable)
    counts = Counter(str(item.conditions.get("category", "")) or "none" for item in found)
    shown = ", ".join(f"{name} ({count})" for name, count in counts.most_common(24))
    return Dataset(found.items, DataReport(len(found), found.report.skipped, {"categories": shown}))


def _usable(path: Path) -> PointCloud:
    cloud = files.read(path)
    Frame.around(cloud.points)  # a shape of no size is nothing to learn from
    return cloud


def _read_arrays(path: Path, split: str) -> Dataset:
    arrays = files.read_arrays(path)
    points = arrays.get("points")
    if points is None or points.ndim != 3 or points.shape[2] != 3:
        raise UsageError(f"{path}: needs an array `points` (shapes, points, 3).")
    full = float(np.iinfo(points.dtype).max) if points.dtype.kind == "i" else 1.0
    splits = arrays.get("split")
    chosen = range(len(points)) if splits is None else np.flatnonzero(np.isin(splits, SPLITS[split]))
    items, skipped = [], []
    for i in map(int, chosen):
        cloud = points[i].astype(np.float32) / np.float32(full)
        category = _category(arrays, i)
        about = [str(arrays[key][i]) for key in ("name", "author", "licence") if key in arrays]
        source = f"{path}[{i}] {', '.join(about)}".strip()
        try:
            example = PointCloud(cloud, category=category)
            Frame.around(example.points)
        except UsageError as error:
            skipped.append((source, str(error)))
            continue
        record = {"held_out": True} if splits is not None and splits[i] == SPLITS["test"][0] else {}
        labels = {"category": category} if category else {}
        items.append(Item(partial(_same, example), labels, source, record))
    if not items:
        raise UsageError(f"{path}: no usable shape of the split {split!r} in it.")
    return Dataset(items, DataReport(len(items), tuple(skipped)))


def _category(arrays: dict[str, Any], i: int) -> str:
    if "label" not in arrays:
        return ""
    label = arrays["label"][i]
    return str(arrays["categories"][int(label)] if "categories" in arrays else label)


def _same(cloud: PointCloud) -> PointCloud:
    return cloud
