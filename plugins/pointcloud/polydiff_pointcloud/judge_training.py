"""Training of the judge that ships with the preset `objects`, on training shapes alone.

    python -m polydiff_pointcloud.judge_training --data shapes_cc.npz --out judges/objects

The shapes of the test split measure it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from polydiff.dataset import Dataset
from polydiff.evaluation.judge_training import JudgeTraining, drawn, train_judge
from polydiff.evaluation.judges import Judge
from polydiff_pointcloud.cloud import PointCloud
from polydiff_pointcloud.data import read_dataset
from polydiff_pointcloud.judge import KIND, POINTS, shown

_BATCH = 32


def train(data: Dataset, steps: int, seed: int = 0) -> Judge:
    """A judge of the categories of these shapes; rare ones are drawn more often than they occur."""
    labels = labels_of(data)
    choices = tuple(sorted(set(labels["category"])))
    places = np.array([choices.index(label) for label in labels["category"]])
    return train_judge(
        KIND,
        [item.load for item in data],
        labels,
        {"category": choices},
        _inputs,
        drawn(len(data), _BATCH, steps, 1 / np.sqrt(np.bincount(places)[places])),
        steps,
        JudgeTraining(rate=2e-3, weight_decay=0.05, dropout=0.4, smoothing=0.1, sharpened_on=400),
        seed=seed,
    )


def labels_of(data: Dataset) -> dict[str, list[str]]:
    """The category of each shape."""
    return {"category": [str(label) for label in data.labels("category")]}


def _inputs(clouds: Sequence[PointCloud], random: np.random.Generator) -> tuple[Tensor, ...]:
    return (torch.stack([_changed(cloud, random) for cloud in clouds]),)


def _changed(cloud: PointCloud, random: np.random.Generator) -> Tensor:
    """As `shown`: some points, mirrored, turned by up to 15 degrees, stretched, moved by a little noise."""
    count = int(random.integers(POINTS // 2, POINTS + 1))
    points = cloud.thinned(count, int(random.integers(2**31))).points.astype(np.float64)
    angle = np.radians(random.uniform(-15, 15))
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    points = points @ turn * np.exp(random.normal(0, 0.1, 3)) * (random.choice((-1, 1)), 1, 1)
    return shown(PointCloud(points + random.normal(0, random.uniform(0, 0.03), points.shape)))


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the judge of objects on the training shapes.")
    parser.add_argument("--data", type=Path, required=True, help="shapes_cc.npz")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3000)
    given = parser.parse_args()
    judge = train(read_dataset(given.data), given.steps)
    test = read_dataset(given.data, split="test")
    accuracy = judge.accuracy(test.examples(), labels_of(test))["category"]
    card = {
        "summary": "Names the category of a shape",
        "data": "shapes_cc: 1,232 training shapes under CC0 and CC BY; 145 held out",
        "licence": "CC-BY-4.0",
        "held_out_accuracy": round(accuracy, 4),
    }
    replace(judge, card=card).save(given.out)
    print(card["held_out_accuracy"])


if __name__ == "__main__":
    main()
