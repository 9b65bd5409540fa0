"""Training of the judge that ships with the preset `objects`, on training shapes alone.

    python -m polydiff_pointcloud.judge_training --data shapes_cc.npz --out judges/objects

The shapes of the test split measure it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from polydiff.dataset import Dataset
from polydiff.evaluation.judges import sharpen
from polydiff_pointcloud.cloud import PointCloud
from polydiff_pointcloud.data import read_dataset
from polydiff_pointcloud.judge import POINTS, Judge, JudgeNetwork, shown

_BATCH = 32


def train(data: Dataset, steps: int, seed: int = 0) -> Judge:
    """A judge of the categories of these shapes; rare ones are drawn more often than they occur."""
    labels = [str(label) for label in data.labels("category")]
    choices = tuple(sorted(set(labels)))
    answers = torch.tensor([choices.index(label) for label in labels])
    chances = 1 / np.sqrt(np.bincount(answers)[answers])
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    network = JudgeNetwork(len(choices))
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=2e-3, total_steps=steps)
    start = time.time()
    for step in range(steps):
        index = random.choice(len(data), _BATCH, replace=False, p=chances / chances.sum())
        batch = torch.stack([_changed(data[int(i)].load(), random) for i in index])
        loss = F.cross_entropy(network(batch, dropout=0.4), answers[index], label_smoothing=0.1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if (step + 1) % 50 == 0:
            took = time.time() - start
            print(f"step {step + 1}: loss {float(loss.detach()):.3f}, {took:.0f} s", flush=True)
    judge = Judge(network.eval(), choices, {})
    some = random.choice(len(data), min(len(data), 400), replace=False)
    features, _ = judge.see([data[int(i)].load() for i in some])
    sharpen(network.head, features, answers[some])
    return judge


def _changed(cloud: PointCloud, random: np.random.Generator) -> Tensor:
    """As `shown`: some points, mirrored, turned by up to 15 degrees, stretched, moved by a little noise."""
    count = int(random.integers(POINTS // 2, POINTS + 1))
    points = cloud.thinned(count, int(random.integers(2**31))).points.astype(np.float64)
    angle = np.radians(random.uniform(-15, 15))
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    points = points @ turn * np.exp(random.normal(0, 0.1, 3)) * (random.choice((-1, 1)), 1, 1)
    return shown(PointCloud(points + random.normal(0, random.uniform(0, 0.03), points.shape)))


def accuracy(judge: Judge, data: Dataset) -> float:
    """How many shapes the judge names rightly."""
    answers = judge.see(data.examples())[1].argmax(1).tolist()
    return float(
        np.mean(
            [judge.choices[a] == label for a, label in zip(answers, data.labels("category"), strict=True)]
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the judge of objects on the training shapes.")
    parser.add_argument("--data", type=Path, required=True, help="shapes_cc.npz")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3000)
    given = parser.parse_args()
    judge = train(read_dataset(given.data), given.steps)
    card = {
        "summary": "Names the category of a shape",
        "data": "shapes_cc: 1,232 training shapes under CC0 and CC BY; 145 held out",
        "licence": "CC-BY-4.0",
        "held_out_accuracy": round(accuracy(judge, read_dataset(given.data, split="test")), 4),
    }
    Judge(judge.network, judge.choices, card).save(given.out)
    print(card["held_out_accuracy"])


if __name__ == "__main__":
    main()
