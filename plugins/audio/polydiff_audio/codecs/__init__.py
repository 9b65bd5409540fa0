"""Codecs: waveforms to frames of unit variance, which a network can learn, and back.

logmel, vocoder   log-mel magnitudes; the phase is found again by Griffin-Lim
stft              power-compressed complex spectra; exact
"""

from __future__ import annotations

from math import log2
from typing import TYPE_CHECKING, Any, Protocol

from polydiff_audio.codecs.config import CodecConfig, LogMelConfig, StftConfig

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Codec", "CodecConfig", "LogMelConfig", "StftConfig", "default_config", "make_codec"]


class Codec(Protocol):
    """What every codec answers. Waveforms are (channels, samples) at the rate of its config."""

    config: Any

    @property
    def features(self) -> int:
        """Features a token."""
        ...

    @property
    def samples_per_token(self) -> int: ...

    @property
    def reach(self) -> int:
        """How many samples before and after its own a token takes in."""
        ...

    def tokens(self, samples: int) -> int:
        """Tokens that hold `samples` samples."""
        ...

    def fit(self, waveforms: list[Tensor]) -> Any:
        """The config with the statistics of the waveforms."""
        ...

    def encode(self, waveform: Tensor) -> Tensor:
        """(channels, samples) to (tokens, features)."""
        ...

    def decode(self, tokens: Tensor) -> Tensor:
        """(tokens, features) to (channels, tokens * samples_per_token)."""
        ...

    def join(self, waveform: Tensor, known: Tensor, keep: Tensor) -> Tensor:
        """The waveform with the known samples where `keep` (samples,) is True, joined to the rest."""
        ...


def make_codec(config: LogMelConfig | StftConfig) -> Codec:
    """The codec that a config describes."""
    if isinstance(config, StftConfig):
        from polydiff_audio.codecs.stft import Stft

        return Stft(config)
    from polydiff_audio.codecs.vocoder import LogMelVocoder

    return LogMelVocoder(config)


def default_config(sample_rate: int, channels: int = 1) -> LogMelConfig:
    """Log-mel frames that suit a rate: windows of about 32 ms, a quarter of that from frame to frame.

    >>> default_config(8000).window, default_config(22050).window, default_config(44100).bands
    (256, 512, 96)
    """
    window = 2 ** round(log2(0.032 * sample_rate))
    bands = 64 if sample_rate < 16000 else 80 if sample_rate < 32000 else 96
    return LogMelConfig(
        sample_rate=sample_rate,
        channels=channels,
        n_fft=2 * window,
        window=window,
        hop=window // 4,
        bands=bands,
    )
