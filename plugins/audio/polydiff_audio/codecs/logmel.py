"""Log-mel frames: what the ear keeps of a spectrogram, without its phase.

One token is `patch` neighbouring frames of all channels. Magnitudes are scaled so that a full-scale sine
reads 1, cut at `floor_db`, turned to decibels and brought to zero mean and unit variance a band.
"""

from __future__ import annotations

import torch
from torch import Tensor

from polydiff_audio.codecs.config import LogMelConfig
from polydiff_audio.codecs.mel import mel_filters, mel_inverse


class LogMel:
    """Waveforms (channels, samples) to frames (tokens, patch * bands * channels) and back to magnitudes.

    >>> codec = LogMel(LogMelConfig())
    >>> codec.encode(torch.zeros(1, 1000)).shape
    torch.Size([8, 128])
    """

    def __init__(self, config: LogMelConfig) -> None:
        self.config = config
        self._window = torch.hann_window(config.window)
        bins = config.n_fft // 2 + 1
        self._filters = mel_filters(bins, config.bands, config.sample_rate, config.low_hz)
        self._inverse = mel_inverse(bins, config.bands, config.sample_rate, config.low_hz)
        self._mean = torch.tensor(config.mean or [0.0] * config.bands)[:, None]
        self._deviation = torch.tensor(config.deviation or [1.0] * config.bands)[:, None]

    @property
    def features(self) -> int:
        """Features a token."""
        return self.config.patch * self.config.bands * self.config.channels

    @property
    def samples_per_token(self) -> int:
        return self.config.patch * self.config.hop

    def tokens(self, samples: int) -> int:
        """Tokens that hold `samples` samples."""
        return max(1, -(-samples // self.samples_per_token))

    def magnitude(self, waveform: Tensor) -> Tensor:
        """|STFT| (channels, bins, frames) of a waveform padded to whole tokens; frame i sits at i * hop."""
        length = self.tokens(waveform.shape[-1]) * self.samples_per_token
        padded = torch.nn.functional.pad(waveform, (0, length - waveform.shape[-1]))
        spectrum = torch.stft(
            padded,
            self.config.n_fft,
            self.config.hop,
            self.config.window,
            self._window,
            pad_mode="constant",
            return_complex=True,
        )
        return spectrum.abs()[..., :-1] * (2 / self._window.sum())

    def decibels(self, waveform: Tensor) -> Tensor:
        """(channels, bands, frames) in dB re a full-scale sine."""
        mel = self._filters @ self.magnitude(waveform)
        return 20 * torch.log10(mel.clamp(min=10 ** (self.config.floor_db / 20)))

    def fit(self, waveforms: list[Tensor]) -> LogMelConfig:
        """The configuration with each band's mean and deviation over the waveforms."""
        values = torch.cat([self.decibels(wave).transpose(0, 1).flatten(1) for wave in waveforms], dim=1)
        deviation = values.std(1).clamp(min=1.0)
        return self.config.model_copy(
            update={
                "mean": tuple(round(float(v), 3) for v in values.mean(1)),
                "deviation": tuple(round(float(v), 3) for v in deviation),
            }
        )

    def encode(self, waveform: Tensor) -> Tensor:
        """(channels, samples) to (tokens, features), zero mean and unit variance."""
        scaled = (self.decibels(waveform) - self._mean) / self._deviation
        channels, bands, frames = scaled.shape
        patched = scaled.reshape(channels, bands, frames // self.config.patch, self.config.patch)
        return patched.permute(2, 3, 0, 1).flatten(1)

    def mel(self, tokens: Tensor) -> Tensor:
        """(tokens, features) to the mean magnitude of each band, (channels, bands, frames)."""
        config = self.config
        patched = tokens.reshape(len(tokens), config.patch, config.channels, config.bands)
        scaled = patched.permute(2, 3, 0, 1).flatten(2)
        decibels = scaled * self._deviation + self._mean
        mel = 10 ** (decibels.clamp(min=config.floor_db, max=20.0) / 20)
        # bands at the floor stand for silence, so they come back as zero
        return mel - 10 ** (config.floor_db / 20)

    def decode_magnitude(self, tokens: Tensor) -> Tensor:
        """(tokens, features) to |STFT| (channels, bins, frames) in the scale of `magnitude`."""
        return (self._inverse @ self.mel(tokens)).clamp(min=0)
