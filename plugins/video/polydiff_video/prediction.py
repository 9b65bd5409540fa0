"""Figures of predicted, filled in and continued clips, each beside the frames that were there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from polydiff.dataset import Dataset, Item
from polydiff.domain import SampleRequest
from polydiff.errors import UsageError
from polydiff.support.files import sha256
from polydiff_video import metrics as m
from polydiff_video.clip import Frames, VideoClip
from polydiff_video.config import VideoConfig, VideoOptions

_AVERAGED = "frame_error_average"
_BEST = "frame_error_best"


class KeepsFrames(Protocol):
    """What these figures ask of a domain of clips."""

    config: VideoConfig
    Options: ClassVar[type[VideoOptions]]

    def load(self, path: Path) -> VideoClip: ...

    def fitted(self, clip: VideoClip) -> VideoClip: ...

    def kept_frames(self, request: SampleRequest) -> NDArray[np.bool_]: ...


def figures(made: Sequence[Frames], true: Frames, kept: NDArray[np.bool_]) -> dict[str, float]:
    """Of clips made from one source, uint8 (time, height, width, 3), over the frames not kept, (time,).

    `psnr`, `ssim` and `frame_error` are means over the clips; `frame_error_best` is that of the nearest,
    `frame_error_average` that of their mean. Beside them what costs nothing: a black picture
    (`frame_error_black`), the mean of the kept frames (`frame_error_context`), and the nearest kept frame,
    of two the earlier (`frame_error_copy`).

    >>> true = np.zeros((3, 16, 16, 3), np.uint8)
    >>> true[2] = 255
    >>> found = figures([true], true, np.array([True, True, False]))
    >>> found["frame_error"], found["frame_error_black"], found["frame_error_copy"]
    (0.0, 256.0, 256.0)
    """
    wanted, given = np.flatnonzero(~kept), np.flatnonzero(kept)
    frames, context = true[wanted], true[given]
    nearest = np.abs(wanted[:, None] - given).argmin(1)
    rows = [(m.psnr(x[wanted], frames), m.ssim(x[wanted], frames)) for x in made]
    errors = [m.frame_error(x[wanted], frames) for x in made]
    return {
        "psnr": float(np.mean([row[0] for row in rows])),
        "ssim": float(np.mean([row[1] for row in rows])),
        "frame_error": float(np.mean(errors)),
        _BEST: min(errors),
        _AVERAGED: m.frame_error(np.mean([x[wanted] for x in made], axis=0), frames),
        "frame_error_black": m.frame_error(np.zeros_like(frames), frames),
        "frame_error_context": m.frame_error(np.broadcast_to(context.mean(0), frames.shape), frames),
        "frame_error_copy": m.frame_error(context[nearest], frames),
    }


def over_sources(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each figure.

    >>> over_sources([{"psnr": 20.0}, {"psnr": 30.0}])
    {'psnr': 25.0}
    """
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def figures_beside_sources(domain: KeepsFrames, samples: Dataset) -> dict[str, float]:
    """The figures of samples that kept parts of a source whose file is still there; none where none did.

    Where every source has one sample, there is no best of them and no mean.
    """
    by_source: dict[str, list[tuple[Frames, Frames, NDArray[Any]]]] = {}
    for item in samples:
        found = _beside_source(domain, item)
        if found is not None:
            by_source.setdefault(str(item.record["source"]), []).append(found)
    if not by_source:
        return {}
    groups = by_source.values()
    means = over_sources([figures([made for made, _, _ in group], *group[0][1:]) for group in groups])
    several = any(len(group) > 1 for group in groups)
    return {name: x for name, x in means.items() if several or name not in (_BEST, _AVERAGED)}


def _beside_source(domain: KeepsFrames, item: Item) -> tuple[Frames, Frames, NDArray[np.bool_]] | None:
    """Made frames, true ones, and which were kept; None where there is nothing to compare."""
    source = item.record.get("source") or {}
    path = Path(source.get("path") or "")
    if (source.get("keep") or source.get("redo")) is None or not path.is_file():
        return None
    if sha256(path) != source["sha256"]:
        return None
    options = domain.Options(**item.record["options"])
    truth, clip = domain.load(path), item.load()
    if options.slow != 1 or options.scale != 1:
        return None
    request = SampleRequest(options=options, source=truth, keep=source["keep"], redo=source["redo"])
    try:
        kept = domain.kept_frames(request)
    except UsageError:
        return None
    length = min(len(clip), len(truth))
    true, made, kept = domain.fitted(truth).frames[:length], clip.frames[:length], kept[:length]
    if kept.all() or not kept.any() or made.shape != true.shape:
        return None
    return made, true, kept
