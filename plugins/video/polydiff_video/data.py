"""Clips to learn from: folders of files, folders of frames, the Sprites sheets, the digits that move."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from polydiff.dataset import METADATA, DataReport, Dataset, Item, fault, labelled_files, matched
from polydiff.errors import UsageError, did_you_mean
from polydiff_video import files
from polydiff_video.clip import VideoClip
from polydiff_video.moving_digits import read_moving_digits
from polydiff_video.sprites import is_sprites, read_sprites

_HELD_BYTES = 2**28  # clips stay in memory up to this size in all, and are read again beyond it


def read_dataset(
    folder: str | Path,
    pattern: str | None = None,
    *,
    labels: Iterable[str] | None = None,
    split: str = "train",
    window: int = 0,
    clips: int | None = None,
) -> Dataset:
    """Labelled clips.

    Args:
        folder: a folder of clips or of folders of frames (labels as polydiff.dataset.labelled_files has it),
            one clip, the sheets of Sprites, or the table of handwritten digits (`*.csv.gz`) that moving
            digits are made from.
        pattern: names of files, such as "{action}_{take}".
        labels: which labels to keep; by default all.
        split: "train" or "test", of data that has a published split.
        window: frames; longer clips are cut into pieces of this length, each beginning half a piece after the
            last. 0: clips stay whole.
        clips: how many moving digits there are.

    What cannot be read is skipped and named in the report. Raises UsageError where nothing is left.
    """
    path = Path(folder)
    if path.is_dir() and is_sprites(path):
        found = read_sprites(path, split)
    elif path.name.endswith(".csv.gz"):
        found = read_moving_digits(path, split, clips)
    else:
        found = _read_files(path, pattern, window)
    return found if labels is None else _labelled(found, tuple(labels))


def _labelled(found: Dataset, labels: tuple[str, ...]) -> Dataset:
    known = sorted({name for item in found for name in item.conditions})
    for name in labels:
        if name not in known:
            hint = did_you_mean(name, known)
            raise UsageError(f"The data has no label {name!r}.{hint} It has {', '.join(known) or 'none'}.")
    items = [
        replace(item, conditions={name: x for name, x in item.conditions.items() if name in labels})
        for item in found
    ]
    return Dataset(items, found.report)


@dataclass(frozen=True)
class _Piece:
    path: Path
    start: int
    stop: int

    def load(self) -> VideoClip:
        return _part(files.read(self.path), self.start, self.stop)


def _part(clip: VideoClip, start: int, stop: int) -> VideoClip:
    return replace(clip, frames=clip.frames[start:stop])


def _read_files(path: Path, pattern: str | None, window: int) -> Dataset:
    items: list[Item] = []
    skipped: list[tuple[str, str]] = []
    seen: list[VideoClip] = []
    held = 0
    for file, row in _listed(path, pattern):
        try:
            clip = files.read(file)
        except Exception as error:  # whatever a damaged file provokes in a decoder
            skipped.append((str(file), fault(error).removeprefix(f"{file}: ")))
            continue
        seen.append(replace(clip, frames=clip.frames[:1]))
        held += clip.frames.nbytes
        size = min(window or len(clip), len(clip))
        starts = range(0, len(clip) - size + 1, max(size // 2, 1))
        for start in starts:
            stop = start + size
            whole = held <= _HELD_BYTES
            load = partial(_part, clip, start, stop) if whole else _Piece(file, start, stop).load
            source = f"{file} frames {start} to {stop}" if len(starts) > 1 else str(file)
            items.append(Item(load, row, source))
    if not items:
        why = f"; the first: {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
        raise UsageError(f"{path}: no usable clip in it{why}")
    return Dataset(items, DataReport(len(items), tuple(skipped), _details(items, seen)))


def _listed(path: Path, pattern: str | None) -> list[tuple[Path, Mapping[str, Any]]]:
    if path.is_file():
        return [(path, {})]
    folders = {p.parent for p in path.rglob("*") if p.suffix.lower() in files.STILLS}
    films = {p.parent for p in path.rglob("*") if p.suffix.lower() in files.READ}
    frames = sorted(folders - films)
    if frames == [path]:
        return [(path, {})]
    if any((path / name).is_file() for name in METADATA):
        return list(labelled_files(path, files.READ, "label", pattern))  # it names folders of frames too
    if pattern:
        of_frames = [(p, matched(pattern, p)) for p in frames]
    else:
        of_frames = [(p, {"label": p.parent.name} if p.parent != path else {}) for p in frames]
    try:
        return [*labelled_files(path, files.READ, "label", pattern), *of_frames]
    except UsageError:
        if of_frames:
            return list(of_frames)
        raise


def _details(items: list[Item], seen: list[VideoClip]) -> dict[str, str]:
    lengths = sorted(len(item.load()) for item in items[:: max(math.ceil(len(items) / 200), 1)])
    sizes, rates = Counter(f"{c.width}x{c.height}" for c in seen), Counter(f"{c.fps:g}" for c in seen)
    return {
        "frames": f"{lengths[0]} to {lengths[-1]}, median {lengths[len(lengths) // 2]}",
        "size": ", ".join(f"{size} ({count})" for size, count in sizes.most_common(4)),
        "frames a second": ", ".join(f"{rate} ({count})" for rate, count in rates.most_common(4)),
    }
