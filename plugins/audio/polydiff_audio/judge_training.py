"""Training of the judges that ship with the presets, on recordings alone; some minutes on one core.

    python -m polydiff_audio.judge_training digits --data DIR --out judges/digits

The clips that judge are not the clips that teach: digits keep takes 5 to 9 aside, drums and notes a fifth of
the recordings (a hit that is there as mp3 and as ogg is one recording).
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from polydiff.dataset import Item
from polydiff.evaluation.judge_training import JudgeTraining, in_rounds, train_judge
from polydiff.evaluation.judges import Judge
from polydiff_audio.augment import Augmentation, augment
from polydiff_audio.clip import AudioClip
from polydiff_audio.data import read_dataset
from polydiff_audio.judge import BANDS, KIND, batch_of, log_mel

_BATCH = 48


@dataclass(frozen=True)
class Recipe:
    """What one judge learns: the file, the labels that are its tasks, and which recordings are held out."""

    file: str
    summary: str
    tasks: dict[str, str]  # task -> label in the file
    sample_rate: int
    data: str
    licence: str
    epochs: int
    augmentation: Augmentation
    held_out: str  # a label: rows are held out by its value
    vocabulary: dict[str, tuple[str, ...]]


WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RECIPES = {
    "digits": Recipe(
        "spoken_digits_8k.npz", "Names the digit and the speaker of a spoken digit",
        {"digit": "digit", "speaker": "speaker"}, 8000,
        "Free Spoken Digit Dataset, takes 10 to 49; takes 5 to 9 held out", "CC-BY-SA-4.0",
        16, Augmentation(speed=0.03, shift=0.03), "take", {"digit": WORDS},
    ),
    "drums": Recipe(
        "drum_hits_22k.npz", "Names the kind of a drum hit", {"class": "label"}, 22050,
        "smpldsnds/drum-machines, oramics/sampled, sonic-pi-samples; a fifth held out",
        "public domain, CC0, CC-BY-3.0, CC-BY-SA-3.0",
        80, Augmentation(speed=0.06, shift=0.01), "name", {},
    ),
    "notes": Recipe(
        "instrument_notes_16k.npz", "Names the instrument of a note", {"instrument": "instrument"}, 16000,
        "tonejs-instrument packages; a fifth held out", "CC-BY-3.0",
        80, Augmentation(speed=0.03, shift=0.01), "midi", {},
    ),
}  # fmt: skip


def is_held_out(item: Item, recipe: Recipe) -> bool:
    """Whether a recording judges (True) or teaches (False)."""
    value = item.conditions[recipe.held_out]
    if recipe.held_out == "take":
        return bool(value < 10)
    recording = Path(str(value)).with_suffix("") if recipe.held_out == "name" else Path(item.source)
    return hashlib.sha256(str(recording).encode()).digest()[0] < 256 // 5


def train(recipe: Recipe, folder: Path, seed: int = 0) -> tuple[Judge, dict[str, float]]:
    """A judge and its accuracy on held-out recordings, a task."""
    items = [*read_dataset(folder / recipe.file)]
    teach = [item for item in items if not is_held_out(item, recipe)]
    held_out = [item for item in items if is_held_out(item, recipe)]
    choices = {
        task: recipe.vocabulary.get(task) or tuple(sorted({str(i.conditions[label]) for i in items}))
        for task, label in recipe.tasks.items()
    }

    def labels(of: Sequence[Item]) -> dict[str, list[str]]:
        return {
            task: [_name(item.conditions[label], choices[task]) for item in of]
            for task, label in recipe.tasks.items()
        }

    def inputs(clips: Sequence[AudioClip], random: np.random.Generator) -> tuple[Tensor, ...]:
        return batch_of([_input(clip, recipe, random) for clip in clips])

    judge = train_judge(
        KIND,
        [item.load for item in teach],
        labels(teach),
        choices,
        inputs,
        in_rounds(len(teach), _BATCH, recipe.epochs),
        recipe.epochs * (len(teach) // _BATCH),
        JudgeTraining(rate=3e-3, weight_decay=0.02, dropout=0.3, smoothing=0.1, sharpened_on=len(teach)),
        {"sample_rate": recipe.sample_rate},
        seed,
    )
    return judge, judge.accuracy([item.load() for item in held_out], labels(held_out))


def _name(value: object, choices: tuple[str, ...]) -> str:
    """The choice that a label means: itself, or for a number the one at that place."""
    return choices[value] if isinstance(value, int) else str(value)


def _input(clip: AudioClip, recipe: Recipe, random: np.random.Generator) -> Tensor:
    """A log-mel picture of a changed clip: speed, place, noise, tilt, and a stripe hidden each way."""
    clip = augment(clip, int(random.integers(2**62)), recipe.augmentation)
    if random.random() < 0.5:
        level = clip.peak * 10 ** (-random.uniform(20, 60) / 20)
        clip = AudioClip(clip.waveform + level * random.normal(size=clip.waveform.shape), clip.sample_rate)
    x = log_mel(clip, recipe.sample_rate)
    if random.random() < 0.5:
        x = x + torch.linspace(-1, 1, BANDS)[:, None] * random.uniform(-0.4, 0.4)
    low, wide = int(random.integers(BANDS)), int(random.integers(10))
    x[low : low + wide] = -2.0
    begin, long = int(random.integers(x.shape[1])), int(random.integers(max(x.shape[1] // 6, 1)))
    x[:, begin : begin + long] = -2.0
    return x


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a judge on recordings.")
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz files")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    recipe = RECIPES[given.name]
    judge, held_out = train(recipe, given.data, given.seed)
    card = {
        "summary": recipe.summary,
        "data": recipe.data,
        "licence": recipe.licence,
        "held_out_accuracy": {task: round(value, 4) for task, value in held_out.items()},
    }
    replace(judge, card=card).save(given.out)
    print(card["held_out_accuracy"])


if __name__ == "__main__":
    main()
