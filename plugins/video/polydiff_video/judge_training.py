"""Training of the judge that ships with the preset `sprites`, on clips of the training characters alone.

    python -m polydiff_video.judge_training --data DIR/sprites --out judges/sprites

The 296 characters of the published test split measure it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from polydiff.dataset import Dataset
from polydiff.evaluation.judges import sharpen
from polydiff_video.clip import VideoClip
from polydiff_video.data import read_dataset
from polydiff_video.judge import Judge, JudgeNetwork, pixels

_BATCH = 32


def train(data: Dataset, kinds: tuple[str, ...], steps: int, seed: int = 0) -> Judge:
    """A judge of every label of these clips."""
    tasks = sorted({name for item in data for name in item.conditions})
    choices = {task: tuple(sorted({str(label) for label in data.labels(task)})) for task in tasks}
    answers = {
        task: torch.tensor([choices[task].index(str(label)) for label in data.labels(task)]) for task in tasks
    }
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    network = JudgeNetwork({task: len(names) for task, names in choices.items()})
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=3e-3, total_steps=steps)
    start = time.time()
    for step in range(steps):
        index = random.choice(len(data), _BATCH, replace=False)
        count = int(random.integers(1, 5))
        batch = torch.stack([_changed(data[int(i)].load(), count, random) for i in index])
        logits = network(batch, dropout=0.2)
        losses = [F.cross_entropy(logits[t], answers[t][index], label_smoothing=0.05) for t in tasks]
        loss = torch.stack(losses).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if (step + 1) % 50 == 0:
            took = time.time() - start
            print(f"step {step + 1}: loss {float(loss.detach()):.3f}, {took:.0f} s", flush=True)
    judge = Judge(network.eval(), choices, kinds, {})
    some = random.choice(len(data), min(len(data), 1000), replace=False)
    features, _ = judge.see([data[int(i)].load() for i in some])
    for task, head in network.heads.items():
        sharpen(cast("torch.nn.Linear", head), features, answers[task][some])
    return judge


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


def accuracy(judge: Judge, data: Dataset) -> dict[str, float]:
    """How many clips the judge names rightly, a task."""
    _, seen = judge.see(data.examples())
    return {
        task: _share(p.argmax(1).tolist(), [judge.choices[task].index(str(x)) for x in data.labels(task)])
        for task, p in seen.items()
    }


def _share(found: Sequence[int], true: Sequence[int]) -> float:
    return float(np.mean(np.equal(found, true)))


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the judge of sprites on the training characters.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the sheets")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1200)
    given = parser.parse_args()
    judge = train(read_dataset(given.data), ("action", "direction"), given.steps)
    held_out = accuracy(judge, read_dataset(given.data, split="test"))
    card = {
        "summary": "Names action, direction, body and clothes of a character",
        "data": "Sprites benchmark (Liberated Pixel Cup art), 1,000 training characters; 296 held out",
        "licence": "CC-BY-SA-3.0",
        "held_out_accuracy": {task: round(value, 4) for task, value in held_out.items()},
    }
    Judge(judge.network, judge.choices, judge.kinds, card).save(given.out)
    print(card["held_out_accuracy"])


if __name__ == "__main__":
    main()
