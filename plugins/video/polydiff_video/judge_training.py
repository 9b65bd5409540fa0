"""Training of the judge that ships with the preset `sprites`, on clips of the training characters alone.

    python -m polydiff_video.judge_training --data DIR/sprites --out judges/sprites

The 296 characters of the published test split measure it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from polydiff.dataset import Dataset
from polydiff.evaluation.judge_training import JudgeTraining, drawn, train_judge
from polydiff.evaluation.judges import Judge
from polydiff_video.clip import VideoClip
from polydiff_video.data import read_dataset
from polydiff_video.judge import KIND, pixels

_BATCH = 32


def train(data: Dataset, kinds: tuple[str, ...], steps: int, seed: int = 0) -> Judge:
    """A judge of every label of these clips."""
    tasks = sorted({name for item in data for name in item.conditions})
    labels = labels_of(data, tasks)
    return train_judge(
        KIND,
        [item.load for item in data],
        labels,
        {task: tuple(sorted(set(labels[task]))) for task in tasks},
        _inputs,
        drawn(len(data), _BATCH, steps),
        steps,
        JudgeTraining(rate=3e-3, weight_decay=0.02, dropout=0.2, smoothing=0.05, sharpened_on=1000),
        {"kinds": kinds},
        seed,
    )


def labels_of(data: Dataset, tasks: Iterable[str]) -> dict[str, list[str]]:
    """What each clip is labelled as, a task."""
    return {task: [str(label) for label in data.labels(task)] for task in tasks}


def _inputs(clips: Sequence[VideoClip], random: np.random.Generator) -> tuple[Tensor, ...]:
    count = int(random.integers(1, 5))
    return (torch.stack([_changed(clip, count, random) for clip in clips]),)


def _changed(clip: VideoClip, count: int, random: np.random.Generator) -> Tensor:
    """(count, 3, side, side): some frames, moved by up to two pixels, softened, brightened and noisy."""
    x = pixels(clip)[np.sort(random.choice(len(clip), count, replace=count > len(clip)))]
    x = torch.roll(x, tuple(int(n) for n in random.integers(-2, 3, 2)), (2, 3))
    if random.random() < 0.3:
        x = F.avg_pool2d(x, 3, 1, 1)
    x = (x + 1) * random.uniform(0.9, 1.1) - 1
    if random.random() < 0.5:
        noise = torch.from_numpy(random.normal(0, random.uniform(0, 0.15), x.shape).astype(np.float32))
        x = x + noise
    return x


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the judge of sprites on the training characters.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the sheets")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1200)
    given = parser.parse_args()
    judge = train(read_dataset(given.data), ("action", "direction"), given.steps)
    test = read_dataset(given.data, split="test")
    held_out = judge.accuracy(test.examples(), labels_of(test, judge.choices))
    card = {
        "summary": "Names action, direction, body and clothes of a character",
        "data": "Sprites benchmark (Liberated Pixel Cup art), 1,000 training characters; 296 held out",
        "licence": "CC-BY-SA-3.0",
        "held_out_accuracy": {task: round(value, 4) for task, value in held_out.items()},
    }
    replace(judge, card=card).save(given.out)
    print(card["held_out_accuracy"])


if __name__ == "__main__":
    main()
