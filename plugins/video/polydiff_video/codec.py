"""Between frames and tokens: principal components of patches, whitened.

A patch of p × p pixels (or a whole frame, where p is its size) becomes `channels` numbers of mean 0 and
variance 1 over the training data. Patches of a kind of picture lie near a subspace, and a network of moderate
width can only denoise tokens that are not much wider than itself.
"""

from __future__ import annotations

import base64
import zlib
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from polydiff.errors import UsageError
from polydiff_video.config import CodecConfig


class Codec:
    """Frames to tokens and back, as the config says.

    >>> frames = torch.randint(0, 255, (8, 8, 8, 3), generator=torch.Generator().manual_seed(0)).byte()
    >>> codec = Codec(fit(CodecConfig(height=8, width=8, patch=4, channels=48), frames))
    >>> tokens = codec.encode(frames)
    >>> tokens.shape, float((codec.decode(tokens).float() - frames.float()).abs().max()) <= 16
    (torch.Size([32, 48]), True)
    """

    def __init__(self, config: CodecConfig) -> None:
        self.config = config

    @property
    def patches(self) -> int:
        """Tokens a frame."""
        c = self.config
        return (c.height // c.patch) * (c.width // c.patch)

    @property
    def channels(self) -> int:
        return min(self.config.channels, 3 * self.config.patch**2)

    def encode(self, frames: Tensor) -> Tensor:
        """uint8 (time, height, width, 3) to float32 (time · patches, channels), frame by frame."""
        return (_cut(frames, self.config.patch) - self._mean) @ self._inverse

    def decode(self, tokens: Tensor) -> Tensor:
        """The way back: (time · patches, channels) to uint8 frames."""
        c = self.config
        rows, columns = c.height // c.patch, c.width // c.patch
        pixels = tokens @ self._basis + self._mean
        pixels = pixels.reshape(-1, rows, columns, c.patch, c.patch, 3).permute(0, 1, 3, 2, 4, 5)
        return ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).reshape(-1, c.height, c.width, 3)

    @cached_property
    def _mean(self) -> Tensor:
        return torch.from_numpy(_unpacked(self.config.mean, np.uint8).astype(np.float32)) / 127.5 - 1

    @cached_property
    def _basis(self) -> Tensor:
        rows = _unpacked(self.config.basis, np.int8).reshape(self.channels, -1).astype(np.float32)
        return torch.from_numpy(rows / 127) * torch.tensor(self.config.scale)[:, None]

    @cached_property
    def _inverse(self) -> Tensor:
        return torch.linalg.pinv(self._basis.double()).float()


def fit(config: CodecConfig, frames: Tensor, most: int = 20_000) -> CodecConfig:
    """The config with mean, basis and scale of these frames, uint8 (n, height, width, 3)."""
    patches = _cut(frames, config.patch)
    if len(patches) > most:
        patches = patches[torch.linspace(0, len(patches) - 1, most).long()]
    mean = ((patches.mean(0) + 1) * 127.5).round().clamp(0, 255)
    centred = patches - (mean / 127.5 - 1)
    channels = min(config.channels, patches.shape[1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        rank = min(channels, *centred.shape)
        _, _, directions = torch.pca_lowrank(centred, q=rank, center=False, niter=4)
    rows = torch.zeros(channels, patches.shape[1])
    rows[:rank] = directions.T
    size = rows.abs().amax(1, keepdim=True).clamp(min=1e-6)
    rounded = (rows / size * 127).round()
    deviation = (centred @ torch.linalg.pinv((rounded / 127).double()).float()).square().mean(0).sqrt()
    return config.model_copy(
        update={
            "mean": _packed(mean.to(torch.uint8).numpy()),
            "basis": _packed(rounded.to(torch.int8).numpy()),
            "scale": tuple(round(float(s), 6) for s in deviation.clamp(min=1e-3)),
        }
    )


def _cut(frames: Tensor, patch: int) -> Tensor:
    """(time, height, width, 3) uint8 to float (time · patches, 3 patch²) in [-1, 1], row by row."""
    time, height, width, _ = frames.shape
    grid = frames.reshape(time, height // patch, patch, width // patch, patch, 3).permute(0, 1, 3, 2, 4, 5)
    return grid.reshape(-1, 3 * patch**2).float() / 127.5 - 1


def _packed(array: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(array.tobytes(), 9)).decode("ascii")


def _unpacked(text: str, kind: type) -> np.ndarray:
    if not text:
        raise UsageError("The video model was not fitted to data; make its config with Video.configure.")
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=kind)
