"""A convolutional network for clips in which things move: what it learns in one place it knows in all."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polydiff.nn.transformer import NoiseFilter
from polydiff_video.network import PHASES, WindowedNetwork

GROUPS = 8


class VideoConvolution(WindowedNetwork):
    """A U-net over the grid of patches, with the frames of a window as channels (Gao et al. 2022, SimVP, has
    shown that no more is needed to predict motion).

    Args:
        channels: numbers a token. patches: tokens a frame, in `rows` rows. window: frames seen together.
        condition_widths: encoded width of each condition.
        width, depth: channels of the grid, a multiple of GROUPS, and blocks at each of its two scales.

    >>> network = VideoConvolution(6, 16, 4, 8, {}, width=16, depth=1)
    >>> x = {"frames": torch.randn(2, 8 * 16, 6), "context": torch.zeros(2, 8 * 16, 6 + 1 + PHASES)}
    >>> network(x, torch.zeros(2), {}, {})["frames"].shape
    torch.Size([2, 128, 6])
    """

    def __init__(
        self,
        channels: int,
        patches: int,
        rows: int,
        window: int,
        condition_widths: Mapping[str, int],
        width: int = 128,
        depth: int = 2,
    ) -> None:
        super().__init__(patches, window, condition_widths, 2 * width)
        if width % GROUPS or patches % rows:
            raise ValueError(
                f"width {width} must be a multiple of {GROUPS}, patches {patches} of {rows} rows"
            )
        self.rows = rows
        self.read = nn.Conv2d(window * (2 * channels + 1 + PHASES), width, 3, padding=1)
        self.down = nn.ModuleList(ConvolutionBlock(width, 2 * width) for _ in range(depth))
        self.shrink = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.middle = nn.ModuleList(ConvolutionBlock(2 * width, 2 * width) for _ in range(2 * depth))
        self.grow = nn.Conv2d(2 * width, width, 3, padding=1)
        self.join = nn.Conv2d(2 * width, width, 1)
        self.up = nn.ModuleList(ConvolutionBlock(width, 2 * width) for _ in range(depth))
        self.norm = nn.GroupNorm(GROUPS, width)
        self.write = nn.Conv2d(width, window * channels, 3, padding=1)
        self.filter = NoiseFilter(channels, 2 * width)
        _begin_at_zero(self.write)

    def seen(self, tokens: Tensor, context: Tensor, c: Tensor, real: Tensor | None) -> Tensor:
        batch, length, channels = tokens.shape
        missing = self.window * self.patches - length  # below 0: what is beyond a window is padding
        shown = F.pad(torch.cat([tokens, context], dim=-1), (0, 0, 0, missing))
        grid = shown.reshape(batch, self.window, self.rows, -1, shown.shape[-1]).permute(0, 1, 4, 2, 3)
        x = self.read(grid.flatten(1, 2))
        for block in self.down:
            x = block(x, c)
        small = self.shrink(x)
        for block in self.middle:
            small = block(small, c)
        grown = self.grow(F.interpolate(small, x.shape[-2:], mode="nearest"))
        x = self.join(torch.cat([x, grown], dim=1))
        for block in self.up:
            x = block(x, c)
        x = self.write(F.silu(self.norm(x))).reshape(batch, self.window, channels, self.rows, -1)
        x = F.pad(x.permute(0, 1, 3, 4, 2).reshape(batch, -1, channels), (0, 0, 0, -missing))
        output = x + self.filter(tokens, c)
        return output if real is None else output * real[..., None].to(output.dtype)


class ConvolutionBlock(nn.Module):
    """Two convolutions beside a path that leaves all as it was; noise level and conditions scale and shift
    what passes between them."""

    def __init__(self, width: int, conditioning: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(GROUPS, width), nn.GroupNorm(GROUPS, width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.modulation = nn.Linear(conditioning, 2 * width)
        _begin_at_zero(self.second)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        scale, shift = self.modulation(c)[:, :, None, None].chunk(2, dim=1)
        hidden = self.norm2(self.first(F.silu(self.norm1(x))))
        return x + self.second(F.silu(torch.addcmul(shift, hidden, 1 + scale)))


def _begin_at_zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
