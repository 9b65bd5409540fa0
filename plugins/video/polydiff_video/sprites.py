"""The Sprites benchmark (Li and Mandt 2018): characters composed of sheets of the Liberated Pixel Cup.

A folder `sprites/` holds one folder a part; a sheet has 13 columns of cells of 64 × 64 pixels. 6 bodies,
6 bottoms, 6 tops and 6 hairs make 1,296 characters, who walk, cast a spell and slash to the left, front
and right in 8 frames. 1,000 characters are for training, the other 296 for testing.
"""

from __future__ import annotations

import itertools
from functools import cache, partial
from pathlib import Path

import numpy as np

from polydiff.dataset import DataReport, Dataset, Item
from polydiff.errors import UsageError
from polydiff_video.clip import VideoClip

CELL, FPS = 64, 8.0
PARTS = ("body", "bottomwear", "topwear", "hair", "shoes")  # painted in this order
DIRECTIONS = ("left", "front", "right")
ATTRIBUTES = ("body", "bottom", "top", "hair")
_FIRST = {"walk": (118, 131, 144), "spellcast": (13, 26, 39), "slash": (169, 182, 195)}
_ORDER = {
    "walk": (7, 0, 1, 2, 3, 4, 5, 6),
    "spellcast": (0, 1, 2, 3, 4, 5, 4, 6),
    "slash": (0, 1, 2, 3, 4, 5, 4, 0),
}
ACTIONS = tuple(_FIRST)


def is_sprites(folder: Path) -> bool:
    """Whether a folder holds the sheets."""
    return all((folder / part).is_dir() for part in PARTS)


def read_sprites(folder: Path, split: str = "train") -> Dataset:
    """9 clips a character of a split ("train", "test" or "all"), labelled with what they show."""
    if split not in ("train", "test", "all"):
        raise UsageError(f"split: {split!r} is none of train, test, all.")
    items = []
    for character in characters(split):
        for action, direction in itertools.product(ACTIONS, DIRECTIONS):
            labels = {
                "action": action,
                "direction": direction,
                **dict(zip(ATTRIBUTES, map(str, character), strict=True)),
            }
            load = partial(compose, folder, character, action, direction)
            items.append(Item(load, labels, f"{folder}: {'-'.join(labels.values())}"))
    details = {"split": f"{split}, {len(items) // 9} characters", "size": f"8 frames of {CELL}x{CELL}"}
    return Dataset(items, DataReport(len(items), (), details))


def characters(split: str = "train") -> list[tuple[int, ...]]:
    """(body, bottom, top, hair) of the characters of a split.

    >>> len(characters("train")), len(characters("test"))
    (1000, 296)
    """
    every = list(itertools.product(range(6), repeat=4))
    order = np.random.RandomState(423).permutation(len(every))
    chosen = {"train": order[:1000], "test": order[1000:], "all": order}[split]
    return [every[i] for i in chosen]


def compose(folder: Path, character: tuple[int, ...], action: str, direction: str) -> VideoClip:
    """One clip: the parts laid over each other on black."""
    first = _FIRST[action][DIRECTIONS.index(direction)]
    cells = [first + offset for offset in _ORDER[action]]
    frames: np.ndarray = np.zeros((len(cells), CELL, CELL, 3), np.float32)
    for part, number in zip(PARTS, (*character, 1), strict=True):
        layer = _sheet(folder / part / f"{number}.png")[cells].astype(np.float32)
        alpha = layer[..., 3:] / np.float32(255)
        frames = frames * (1 - alpha) + layer[..., :3] * alpha
    return VideoClip(frames.round().astype(np.uint8), FPS)


@cache
def _sheet(path: Path) -> np.ndarray:
    """(cells, 64, 64, 4), row by row."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGBA"))
    except (OSError, UnidentifiedImageError) as error:
        raise UsageError(f"{path}: not a sheet of sprites ({error}).") from error
    rows, columns = pixels.shape[0] // CELL, pixels.shape[1] // CELL
    grid = pixels[: rows * CELL, : columns * CELL].reshape(rows, CELL, columns, CELL, 4)
    return np.ascontiguousarray(grid.swapaxes(1, 2).reshape(-1, CELL, CELL, 4))
