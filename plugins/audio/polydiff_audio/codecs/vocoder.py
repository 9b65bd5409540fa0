"""From log-mel frames back to sound."""

from __future__ import annotations

import torch
from torch import Tensor

from polydiff_audio.codecs.config import LogMelConfig
from polydiff_audio.codecs.griffin_lim import griffin_lim
from polydiff_audio.codecs.logmel import LogMel
from polydiff_audio.codecs.transform import Transform


class LogMelVocoder(LogMel):
    """Log-mel frames with fast Griffin-Lim as the way back.

    A band says how much sound is in it, not where. So each iteration takes the magnitudes that the waveform
    has by then and scales them to the wanted level band by band, instead of holding them to one guess: half
    the distance to the wanted bands at the same cost, and harmonics find their places.

    >>> codec, tone = LogMelVocoder(LogMelConfig()), torch.sin(torch.arange(4096) * 0.5)[None]
    >>> again = codec.encode(codec.decode(codec.encode(tone)))
    >>> bool((again - codec.encode(tone)).abs().mean() < 5)  # decibels, silent bands included
    True
    """

    def __init__(self, config: LogMelConfig) -> None:
        super().__init__(config)
        self.transform = Transform(config.n_fft, config.window, config.hop)
        self._spread = self._filters.T / self._filters.sum(0).clamp(min=1e-6)[:, None]

    @property
    def reach(self) -> int:
        """How many samples before and after its own a token takes in."""
        return self.config.window // 2

    def decode(self, tokens: Tensor) -> Tensor:
        """(tokens, features) to (channels, tokens * samples_per_token)."""
        bands, magnitude = _closed(self.mel(tokens)), _closed(self.decode_magnitude(tokens))

        def wanted(magnitude: Tensor) -> Tensor:
            ratio = (bands / (self._filters @ magnitude).clamp(min=1e-7)).clamp(0.05, 20)
            return magnitude * (self._spread @ ratio)

        length = len(tokens) * self.samples_per_token
        return griffin_lim(magnitude, self.transform, length, self.config.iterations, wanted=wanted)

    def join(self, waveform: Tensor, known: Tensor, keep: Tensor) -> Tensor:
        """The waveform with the known samples where `keep` (samples,) is True, and around them with phases
        that fit: magnitudes stay as they are."""
        length = waveform.shape[-1]
        inside = _whole_frames(keep, self.transform)
        magnitude = torch.where(
            inside, self.transform.forward(known).abs(), self.transform.forward(waveform).abs()
        )
        return griffin_lim(magnitude, self.transform, length, self.config.iterations, known=known, keep=keep)


def _closed(frames: Tensor) -> Tensor:
    """A last frame of silence appended: `magnitude` leaves out the one that is centred on the end."""
    return torch.nn.functional.pad(frames, (0, 1))


def _whole_frames(keep: Tensor, transform: Transform) -> Tensor:
    """(frames,) True where every sample of a frame that exists is kept."""
    half = transform.window // 2
    padded = torch.nn.functional.pad(keep.float()[None], (half, half), value=1.0)[0]
    return padded.unfold(0, 2 * half, transform.hop).min(-1).values > 0
