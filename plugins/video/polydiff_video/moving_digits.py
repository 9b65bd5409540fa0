"""Moving digits (Srivastava et al. 2015): two handwritten digits that bounce off the edges of 64 × 64 pixels.

Read from a table of real 28 × 28 digits, one a row with its label last (`mnist_5k.csv.gz`). Clip number i is
always the same; training clips use the digits of the first nine tenths of the rows, test clips the others.
"""

from __future__ import annotations

import gzip
from functools import cache, partial
from pathlib import Path

import numpy as np

from polydiff.dataset import DataReport, Dataset, Item
from polydiff.errors import UsageError
from polydiff_video.clip import VideoClip

SIZE, DIGIT, FRAMES, FPS = 64, 28, 20, 10.0
SPEED = (2.0, 5.0)  # pixels a frame


def read_moving_digits(path: Path, split: str = "train", clips: int | None = None) -> Dataset:
    """So many clips (10,000 to train on, 1,000 to test on) of 20 frames, without labels."""
    if split not in ("train", "test"):
        raise UsageError(f"split: {split!r} is none of train, test.")
    count = clips or (10_000 if split == "train" else 1_000)
    _digits(path)  # what is wrong with the table shows here
    items = [Item(partial(compose, path, split, i), {}, f"{path}: {split} clip {i}") for i in range(count)]
    return Dataset(items, DataReport(count, (), {"size": f"{FRAMES} frames of {SIZE}x{SIZE}"}))


def compose(path: Path, split: str, number: int) -> VideoClip:
    """One clip; its digits, places and speeds follow from split and number."""
    digits = digits_of(path, split)
    rng = np.random.default_rng([split == "test", number])
    frames = np.zeros((FRAMES, SIZE, SIZE), np.uint8)
    for _ in range(2):
        digit, places = digits[rng.integers(len(digits))], path_of(rng)
        for frame, (top, left) in zip(frames, places, strict=True):
            window = frame[top : top + DIGIT, left : left + DIGIT]
            np.maximum(window, digit, out=window)
    return VideoClip(np.repeat(frames[..., None], 3, axis=-1), FPS)


def path_of(rng: np.random.Generator) -> np.ndarray:
    """(FRAMES, 2) whole-pixel places of the upper left corner; a digit that meets an edge turns back.

    >>> places = path_of(np.random.default_rng(0))
    >>> places.shape, bool((places >= 0).all() and (places <= SIZE - DIGIT).all())
    ((20, 2), True)
    """
    room = SIZE - DIGIT
    angle, speed = rng.uniform(0, 2 * np.pi), rng.uniform(*SPEED)
    straight = rng.uniform(0, room, 2) + speed * np.arange(FRAMES)[:, None] * [np.sin(angle), np.cos(angle)]
    folded = np.abs(straight % (2 * room))
    result: np.ndarray = np.rint(np.minimum(folded, 2 * room - folded)).astype(int)
    return result


def digits_of(path: Path, split: str) -> np.ndarray:
    """(rows, 28, 28) uint8: the digits that clips of a split are made of."""
    digits = _digits(path)
    border = len(digits) * 9 // 10
    return digits[:border] if split == "train" else digits[border:]


@cache
def _digits(path: Path) -> np.ndarray:
    """(rows, 28, 28) uint8."""
    try:
        with gzip.open(path, "rt") as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"{path}: not a table of digits ({error}).") from error
    if table.ndim != 2 or table.shape[1] != DIGIT**2 + 1 or len(table) < 10:
        raise UsageError(f"{path}: a table of digits has {DIGIT**2} pixels and a label in each row.")
    order = np.random.RandomState(0).permutation(len(table))  # the table may be sorted by label
    return table[order, :-1].reshape(-1, DIGIT, DIGIT).astype(np.uint8)
