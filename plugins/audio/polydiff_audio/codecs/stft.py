"""Complex spectra as frames: nothing is thrown away, so the waveform comes back exactly.

Magnitudes of sound span five powers of ten; |X| is replaced by |X| ** power, its angle is kept (Richter et
al. 2023, equation 23, where power is 0.5). One token is `patch` neighbouring frames of all channels, real
and imaginary parts side by side.
"""

from __future__ import annotations

import torch
from torch import Tensor

from polydiff_audio.codecs.config import StftConfig


class Stft:
    """Waveforms (channels, samples) to frames (tokens, patch * channels * 2 * bins) and back, exactly.

    The edges are padded by (window - hop) / 2, which makes the number of frames exactly samples / hop and
    keeps every sample where a window is not small.

    >>> codec, wave = Stft(StftConfig()), torch.rand(1, 1000) - 0.5
    >>> codec.encode(wave).shape, bool((codec.decode(codec.encode(wave))[:, :1000] - wave).abs().max() < 1e-5)
    (torch.Size([8, 258]), True)
    """

    def __init__(self, config: StftConfig) -> None:
        self.config = config
        self.bins = config.window // 2 + 1
        self._window = torch.hann_window(config.window)
        self._pad = (config.window - config.hop) // 2
        self._deviation = torch.tensor(config.deviation or [1.0] * self.bins)

    @property
    def features(self) -> int:
        """Features a token."""
        return self.config.patch * self.config.channels * 2 * self.bins

    @property
    def samples_per_token(self) -> int:
        return self.config.patch * self.config.hop

    @property
    def reach(self) -> int:
        """How many samples before and after its own a token takes in."""
        return self._pad

    def tokens(self, samples: int) -> int:
        """Tokens that hold `samples` samples."""
        return max(1, -(-samples // self.samples_per_token))

    def compressed(self, waveform: Tensor) -> Tensor:
        """(channels, samples) to complex (channels, frames, bins), powers applied, not yet scaled."""
        length = self.tokens(waveform.shape[-1]) * self.samples_per_token
        padding = (self._pad, self._pad + length - waveform.shape[-1])
        frames = torch.nn.functional.pad(waveform, padding).unfold(-1, self.config.window, self.config.hop)
        spectrum = torch.fft.rfft(frames * self._window) * (4 / self.config.window)
        return torch.polar(spectrum.abs() ** self.config.power, spectrum.angle())

    def fit(self, waveforms: list[Tensor]) -> StftConfig:
        """The configuration with each bin's deviation over the waveforms; the mean is zero by symmetry."""
        values = torch.cat([self.compressed(wave).flatten(0, 1) for wave in waveforms])
        deviation = (values.abs().square().mean(0) / 2).sqrt().clamp(min=1e-4)
        return self.config.model_copy(update={"deviation": tuple(round(float(v), 6) for v in deviation)})

    def encode(self, waveform: Tensor) -> Tensor:
        """(channels, samples) to (tokens, features), zero mean and unit variance."""
        scaled = torch.view_as_real(self.compressed(waveform)) / self._deviation[:, None]
        patched = scaled.unflatten(1, (-1, self.config.patch))  # channels, tokens, patch, bins, 2
        result: Tensor = patched.permute(1, 2, 0, 3, 4).flatten(1)
        return result

    def decode(self, tokens: Tensor) -> Tensor:
        """(tokens, features) to (channels, tokens * samples_per_token)."""
        config = self.config
        patched = tokens.reshape(len(tokens), config.patch, config.channels, self.bins, 2)
        scaled = patched.permute(2, 0, 1, 3, 4).flatten(1, 2) * self._deviation[:, None]
        compressed = torch.view_as_complex(scaled.contiguous())
        spectrum = torch.polar(compressed.abs() ** (1 / config.power), compressed.angle())
        frames = torch.fft.irfft(spectrum * (config.window / 4), n=config.window) * self._window
        length = len(tokens) * self.samples_per_token + 2 * self._pad
        waves = _overlap_add(frames, config.hop, length)
        envelope = _overlap_add(self._window.square().expand(1, frames.shape[1], -1), config.hop, length)
        inner = slice(self._pad, length - self._pad)
        return waves[:, inner] / envelope[:, inner]

    def join(self, waveform: Tensor, known: Tensor, keep: Tensor) -> Tensor:
        """The waveform with the known samples where `keep` (samples,) is True: its phases fit as they are."""
        return torch.where(keep, known, waveform)


def _overlap_add(frames: Tensor, hop: int, length: int) -> Tensor:
    """(channels, frames, window) to (channels, length)."""
    folded = torch.nn.functional.fold(
        frames.transpose(1, 2), (1, length), (1, frames.shape[-1]), stride=(1, hop)
    )
    return folded[:, 0, 0]
