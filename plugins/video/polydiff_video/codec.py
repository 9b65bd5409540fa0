"""Between frames and tokens: principal components of patches, whitened, or their pixels.

A patch of p × p pixels (or a whole frame, where p is its size) becomes `channels` numbers of mean 0 and
variance 1 over the training data. Patches of a kind of picture lie near a subspace, and a network of moderate
width can only denoise tokens that are not much wider than itself.

Pixels leave nothing out, and every one counts as much as in the squared error of the picture; black is 0.
"""

from __future__ import annotations

import base64
import zlib
from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from polydiff.errors import UsageError
from polydiff_video.config import CodecConfig

_NOT_FITTED = "The video model was not fitted to data; make its config with Video.configure."


class Codec(ABC):
    """Frames to tokens and back, as the config says."""

    def __init__(self, config: CodecConfig) -> None:
        self.config = config

    @property
    def rows(self) -> int:
        """Tokens above each other."""
        return self.config.height // self.config.patch

    @property
    def columns(self) -> int:
        """Tokens beside each other."""
        return self.config.width // self.config.patch

    @property
    def patches(self) -> int:
        """Tokens a frame."""
        return self.rows * self.columns

    @property
    @abstractmethod
    def channels(self) -> int:
        """Numbers a token."""

    @abstractmethod
    def encode(self, frames: Tensor) -> Tensor:
        """uint8 (time, height, width, 3) to float32 (time · patches, channels), frame by frame."""

    @abstractmethod
    def decode(self, tokens: Tensor) -> Tensor:
        """The way back: (time · patches, channels) to uint8 frames."""


def make_codec(config: CodecConfig) -> Codec:
    """The codec of the kind that the config names."""
    return PixelCodec(config) if config.kind == "pixels" else ComponentCodec(config)


class ComponentCodec(Codec):
    """Principal components.

    >>> frames = torch.randint(0, 255, (8, 8, 8, 3), generator=torch.Generator().manual_seed(0)).byte()
    >>> codec = ComponentCodec(fit(CodecConfig(height=8, width=8, patch=4, channels=48), frames))
    >>> tokens = codec.encode(frames)
    >>> tokens.shape, float((codec.decode(tokens).float() - frames.float()).abs().max()) <= 16
    (torch.Size([32, 48]), True)
    """

    @property
    def channels(self) -> int:
        return min(self.config.channels, 3 * self.config.patch**2)

    def encode(self, frames: Tensor) -> Tensor:
        return (_cut(frames, self.config.patch) - self._mean) @ self._inverse

    def decode(self, tokens: Tensor) -> Tensor:
        c = self.config
        pixels = tokens @ self._basis + self._mean
        pixels = pixels.reshape(-1, self.rows, self.columns, c.patch, c.patch, 3).permute(0, 1, 3, 2, 4, 5)
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
        result: Tensor = torch.linalg.pinv(self._basis.double()).float()
        return result


class PixelCodec(Codec):
    """Pixels in units of their root mean square, one number a pixel where films are grey; colour by colour
    in a token, row by row in a colour.

    >>> frames = torch.zeros(2, 8, 8, 3).byte()
    >>> frames[0, 3, 5] = 255
    >>> codec = PixelCodec(fit(CodecConfig(kind="pixels", height=8, width=8, patch=4), frames))
    >>> tokens = codec.encode(frames)
    >>> tokens.shape, round(float(tokens.square().mean()), 3), bool((codec.decode(tokens) == frames).all())
    (torch.Size([8, 16]), 1.0, True)
    """

    @property
    def colours(self) -> int:
        """Numbers a pixel: 1 or 3."""
        return len(self._scale)

    @property
    def channels(self) -> int:
        return self.colours * self.config.patch**2

    def encode(self, frames: Tensor) -> Tensor:
        if self.colours == 1:
            frames = frames[..., :1] if _is_grey(frames) else frames.float().mean(3, keepdim=True)
        pixels = (frames.float() / (255 * self._scale)).permute(0, 3, 1, 2)
        tokens = F.pixel_unshuffle(pixels, self.config.patch)
        return tokens.flatten(2).transpose(1, 2).reshape(-1, self.channels)

    def decode(self, tokens: Tensor) -> Tensor:
        grid = tokens.reshape(-1, self.rows, self.columns, self.channels).permute(0, 3, 1, 2)
        pixels = F.pixel_shuffle(grid, self.config.patch).permute(0, 2, 3, 1) * self._scale
        return (pixels * 255).round().clamp(0, 255).to(torch.uint8).expand(-1, -1, -1, 3).contiguous()

    @cached_property
    def _scale(self) -> Tensor:
        if not self.config.scale:
            raise UsageError(_NOT_FITTED)
        return torch.tensor(self.config.scale)


def fit(config: CodecConfig, frames: Tensor, most: int = 20_000) -> CodecConfig:
    """The config with what these frames, uint8 (n, height, width, 3), give."""
    return _fit_pixels(config, frames) if config.kind == "pixels" else _fit_components(config, frames, most)


def _fit_pixels(config: CodecConfig, frames: Tensor) -> CodecConfig:
    grey = _is_grey(frames)
    squares = (frames[..., :1] if grey else frames).float().div(255).square()
    scale = squares.mean((0, 1, 2), dtype=torch.float64).sqrt().clamp(min=1e-3)
    return config.model_copy(update={"scale": tuple(round(s, 6) for s in scale.tolist())})


def _is_grey(frames: Tensor) -> bool:
    return torch.equal(frames[..., 0], frames[..., 1]) and torch.equal(frames[..., 0], frames[..., 2])


def _fit_components(config: CodecConfig, frames: Tensor, most: int) -> CodecConfig:
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
        raise UsageError(_NOT_FITTED)
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=kind)
