"""The short-time Fourier transform and its least-squares inverse, as a pair that share their sizes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Transform:
    """Hann windows of `window` samples every `hop` samples, padded with zeros to `n_fft`.

    Frame i is centred on sample i * hop. Magnitudes are scaled so that a full-scale sine reads 1.

    >>> wave = torch.randn(2, 1000)
    >>> transform = Transform(512, 256, 64)
    >>> torch.allclose(transform.inverse(transform.forward(wave), 1000), wave, atol=1e-5)
    True
    """

    n_fft: int
    window: int
    hop: int

    def forward(self, wave: Tensor) -> Tensor:
        """(B, samples) to complex (B, n_fft // 2 + 1, 1 + samples // hop), silence beyond both ends."""
        window = torch.hann_window(self.window, dtype=wave.dtype, device=wave.device)
        spectrum = torch.stft(
            wave, self.n_fft, self.hop, self.window, window, pad_mode="constant", return_complex=True
        )
        return spectrum * (4 / self.window)  # a Hann window sums to half its length

    def inverse(self, spectrum: Tensor, length: int) -> Tensor:
        """Complex (B, bins, frames) to (B, length), by weighted overlap-add (Griffin and Lim 1984, eq. 6)."""
        window = torch.hann_window(self.window, dtype=spectrum.real.dtype, device=spectrum.device)
        wave = torch.istft(spectrum, self.n_fft, self.hop, self.window, window, center=True, length=length)
        return wave * (self.window / 4)
