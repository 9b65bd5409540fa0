"""The settings of codecs, apart from the codecs, so that reading them does not import torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class LogMelConfig(BaseModel):
    """n_fft, window and hop in samples; mean and deviation in dB, one a band, filled by `fit`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["logmel"] = "logmel"
    sample_rate: int = 8000
    channels: int = 1
    n_fft: int = 512
    window: int = 256
    hop: int = 64
    bands: int = 64
    low_hz: float = 0.0
    patch: int = 2
    floor_db: float = -80.0
    iterations: int = 32
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()


class StftConfig(BaseModel):
    """window and hop in samples; deviation: one a frequency bin, filled by `fit`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["stft"] = "stft"
    sample_rate: int = 8000
    channels: int = 1
    window: int = 256
    hop: int = 128
    patch: int = 1
    power: float = 0.5
    deviation: tuple[float, ...] = ()


CodecConfig = Annotated[LogMelConfig | StftConfig, Field(discriminator="kind")]
