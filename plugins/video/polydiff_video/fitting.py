"""The configuration that a dataset asks for: sizes, rate, window, palette, components."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from polydiff.dataset import Dataset
from polydiff.support.validate import validated
from polydiff_video.clip import VideoClip
from polydiff_video.codec import fit
from polydiff_video.config import CodecConfig, VideoConfig, conditions_of
from polydiff_video.convert import fit_into, palette_of

_SEEN_CLIPS, _SEEN_FRAMES = 1000, 8000  # so many are enough to find sizes and principal components
_SEEN_BYTES = 2**30
_MOST_WINDOW = 32
_MOST_SIDE = 64  # of frames, where the config names no size: what a processor learns in an hour


def config_of(dataset: Dataset, overrides: Mapping[str, Any]) -> VideoConfig:
    """Size, rate and window as most clips have, components and palette measured, labels as conditions."""
    given = dict(overrides)
    conditions = given.pop("conditions", None) or conditions_of([item.conditions for item in dataset])
    # a fixed shuffle: data often repeats itself at even steps
    order = np.random.default_rng(0).permutation(len(dataset))[:_SEEN_CLIPS]
    clips = _loaded(dataset, order)
    codec = dict(given.pop("codec", {}))
    found = {
        "frames": _window([len(clip) for clip in clips]),
        "fps": Counter(clip.fps for clip in clips).most_common(1)[0][0],
        "palette": palette_of(clips),
    }
    size = Counter((clip.height, clip.width) for clip in clips).most_common(1)[0][0]
    codec = {**_frame_size(*size, codec.get("patch", CodecConfig().patch)), **codec}
    values = {**found, "codec": codec, "conditions": conditions, **given}
    config = validated(VideoConfig, values, "config")
    if not config.codec.scale:
        codec_size = config.codec.width, config.codec.height
        frames = np.concatenate([fit_into(clip, *codec_size).frames for clip in clips])
        frames = frames[:: max(len(frames) // _SEEN_FRAMES, 1)]
        config = config.model_copy(update={"codec": fit(config.codec, torch.from_numpy(frames))})
    return config


def _loaded(dataset: Dataset, order: Iterable[int]) -> list[VideoClip]:
    """Clips in this order, as many as fit into memory."""
    clips: list[VideoClip] = []
    held = 0
    for i in order:
        clips.append(dataset[int(i)].load())
        held += clips[-1].frames.nbytes
        if held > _SEEN_BYTES:
            break
    return clips


def _window(lengths: Sequence[int]) -> int:
    """Frames that are seen together: as many as most clips have; of a single clip half, so that its windows
    differ."""
    if len(lengths) == 1:
        return max(min(lengths[0] // 2, _MOST_WINDOW // 2), 1)
    return min(Counter(lengths).most_common(1)[0][0], _MOST_WINDOW)


def _frame_size(height: int, width: int, patch: int) -> dict[str, int]:
    """Whole patches that hold a frame, which is made smaller where it is larger than _MOST_SIDE.

    >>> _frame_size(1080, 1920, 16)
    {'height': 48, 'width': 64}
    """
    factor = min(_MOST_SIDE / max(height, width), 1)
    sides = {"height": height * factor, "width": width * factor}
    return {name: -(-round(side) // patch) * patch for name, side in sides.items()}
