"""What fixes an audio model, and what may differ from clip to clip. Reading it imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from polydiff.conditions import Condition, ConditionSet
from polydiff.domain import Strict
from polydiff_audio.augment import Augmentation
from polydiff_audio.codecs import CodecConfig, LogMelConfig
from polydiff_audio.loudness import Loudness

_GROUP = 8  # a group of fewer recordings says little about their lengths


class NetworkConfig(Strict):
    """Size of the transformer over frames; `width` is a multiple of twice `heads`."""

    width: int = Field(default=256, ge=8)
    depth: int = Field(default=6, ge=1)
    heads: int = Field(default=4, ge=1)


class AudioConfig(Strict):
    """A model of sounds. conditions: what it can be asked for. lengths: for each group of training clips
    (joined "name=choice", "" for all) their lengths in seconds at evenly spaced quantiles. judge: the
    shipped judge that evaluates it."""

    codec: CodecConfig = LogMelConfig()
    network: NetworkConfig = NetworkConfig()
    conditions: tuple[Condition, ...] = ()
    lengths: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    augmentation: Augmentation = Augmentation()
    judge: str = ""


class AudioOptions(Strict):
    """What may be asked of one clip."""

    duration: float | None = Field(
        default=None, gt=0, le=600, description="Seconds; by default as long as the training clips are."
    )
    loop: bool = Field(default=False, description="Make the end go over into the beginning without a seam.")
    loudness: Loudness | None = Field(
        default=None, description="none, peak, rms or lufs; by default peak, and none where a part is kept."
    )
    sample_rate: int | None = Field(
        default=None, ge=1000, le=192_000, description="Hz of the result; by default the model's own."
    )
    channels: int | None = Field(
        default=None, ge=1, le=2, description="1 or 2; by default as many as the model has."
    )


def measure_lengths(
    durations: list[float], labels: list[Mapping[str, Any]], conditions: ConditionSet
) -> dict[str, tuple[float, ...]]:
    """Quantiles 5, 20, 35, 50, 65, 80 and 95 % of the lengths of every group that is large enough: all clips,
    those of each choice, and those of each combination of choices."""
    groups: dict[str, list[float]] = {}
    for duration, row in zip(durations, labels, strict=True):
        keys = _keys(row, conditions)
        for key in {"", *keys, ",".join(keys)}:
            groups.setdefault(key, []).append(duration)
    return {
        key: tuple(round(float(q), 4) for q in np.quantile(values, np.linspace(0.05, 0.95, 7)))
        for key, values in sorted(groups.items())
        if key == "" or len(values) >= _GROUP
    }


def draw_length(lengths: Mapping[str, tuple[float, ...]], wanted: Mapping[str, Any], u: float) -> float:
    """Seconds at the quantile `u` in (0, 1) of the most particular group that fits what is wanted.

    >>> draw_length({"": (1.0, 2.0, 3.0), "hit=kick": (0.2, 0.2, 0.4)}, {"hit": "kick"}, 0.5)
    0.2
    """
    heaviest = {
        name: max(value, key=value.__getitem__) if isinstance(value, Mapping) else value
        for name, value in wanted.items()
    }
    keys = [f"{name}={value}" for name, value in heaviest.items() if isinstance(value, str)]
    for key in (",".join(keys), *keys, ""):
        if key in lengths:
            quantiles = lengths[key]
            return float(np.interp(u, np.linspace(0, 1, len(quantiles)), quantiles))
    return 1.0


def _keys(row: Mapping[str, Any], conditions: ConditionSet) -> list[str]:
    parsed = conditions.parse({name: row[name] for name in conditions.names if name in row})
    return [f"{name}={value}" for name, value in parsed.items() if isinstance(value, str)]
