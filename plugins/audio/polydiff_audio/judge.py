"""A judge of sounds: a small log-mel network that names what a clip is, and whose features tell how far
two sets of clips lie apart. Trained on recordings, never on samples.

    python -m polydiff_audio.judge_training digits --data DIR --out judges/digits
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import log2
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polydiff.evaluation.judges import JudgeKind
from polydiff_audio.clip import AudioClip
from polydiff_audio.codecs.mel import mel_filters
from polydiff_audio.convert import resample, to_channels

BANDS = 64


class JudgeNetwork(nn.Module):
    """(B, 1, bands, frames) of log-mel to features (B, width) and, for each task, logits (B, choices).

    Convolutions over both axes, statistics (mean and deviation) over time, so that any length will do.
    """

    def __init__(self, tasks: dict[str, int], width: int = 96) -> None:
        super().__init__()
        sizes = [1, 16, 32, 64, 96]
        self.blocks = nn.ModuleList(_block(a, b) for a, b in pairwise(sizes))
        self.pooled = nn.Linear(2 * sizes[-1] * (BANDS // 16), width)
        self.heads = nn.ModuleDict({name: nn.Linear(width, count) for name, count in tasks.items()})

    def features(self, x: Tensor, mask: Tensor) -> Tensor:
        """mask: (B, frames) True where there is sound; its stride follows the blocks."""
        real = mask[:, None, None, :].to(x.dtype)
        for i, block in enumerate(self.blocks):
            x = block(x) * real
            step = 2 if i < 3 else 1
            x = F.max_pool2d(x, (2, step), ceil_mode=True)
            real = F.max_pool2d(real, (1, step), ceil_mode=True)
        x = x.flatten(1, 2)  # (B, channels * bands / 16, frames / 8)
        real = real[:, 0]
        count = real.sum(-1).clamp(min=1)
        mean = (x * real).sum(-1) / count
        spread = ((x - mean[..., None]).square() * real).sum(-1) / count
        return F.relu(self.pooled(torch.cat([mean, (spread + 1e-5).sqrt()], dim=1)))

    def forward(self, x: Tensor, mask: Tensor, dropout: float = 0.0) -> dict[str, Tensor]:
        features = F.dropout(self.features(x, mask), dropout, self.training)
        return {name: head(features) for name, head in self.heads.items()}


def _block(channels: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU())


def log_mel(clip: AudioClip, sample_rate: int) -> Tensor:
    """(bands, frames) of a clip at the judge's rate: 64 bands, windows of 32 ms every 10 ms, decibels below
    the loudest, brought to about unit range. Level does not matter."""
    mono = resample(to_channels(clip, 1), sample_rate)
    wave = torch.from_numpy(mono.waveform.copy())
    window, hop = 2 ** round_log2(0.032 * sample_rate), round(0.01 * sample_rate)
    n_fft = 2 * window
    wave = F.pad(wave, (0, max(0, hop * 8 - wave.shape[1])))
    spectrum = torch.stft(
        wave, n_fft, hop, window, torch.hann_window(window), pad_mode="constant", return_complex=True
    )
    mel = mel_filters(window + 1, BANDS, sample_rate) @ spectrum.abs()[0]
    decibels = 20 * torch.log10(mel / mel.max().clamp(min=1e-8) + 1e-4)
    return (decibels + 40) / 20


def round_log2(value: float) -> int:
    """The exponent of the power of two that is nearest in ratio."""
    return round(log2(value))


def batch_of(inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(bands, frames) tensors as one batch (B, 1, bands, frames) and its mask (B, frames)."""
    longest = max(x.shape[1] for x in inputs)
    batch = torch.stack([F.pad(x, (0, longest - x.shape[1]), value=-2.0) for x in inputs])
    mask = torch.arange(longest) < torch.tensor([x.shape[1] for x in inputs])[:, None]
    return batch[:, None], mask


def _inputs(clip: AudioClip, facts: Mapping[str, Any]) -> Tensor:
    return log_mel(clip, facts["sample_rate"])


KIND = JudgeKind(Path(__file__).parent / "judges", JudgeNetwork, _inputs, batch_of, batch_size=32)
