"""Networks over the patches of all frames that see the given frames clean; the transformer of that kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polydiff.nn.embeddings import ConditionEmbedding, NoiseEmbedding, sinusoids
from polydiff.nn.transformer import Block, NoiseFilter, rotary_angles

PHASES = 8  # features that say where in its cycle a frame lies


class Window(NamedTuple):
    """What a network sees at once: `frames` of a clip (of at most a window's length), all their patches.

    tokens: (B, frames · patches, channels), noisy. context: (B, frames · patches, channels + 1 + PHASES).
    c: (B, width), the noise level and the conditions; c_noise: (B,), the level itself. real: (B, frames ·
    patches) bool, which tokens are no padding, None where all are. made: (B, made) int64, which frames are
    not given (the window's length for none), None where any may not be.
    """

    tokens: Tensor
    context: Tensor
    c: Tensor
    c_noise: Tensor
    real: Tensor | None = None
    made: Tensor | None = None


class WindowedNetwork(nn.Module, ABC):
    """x̂0 of "frames" (B, T · patches, channels), given "context" (B, T · patches, channels + 1 + PHASES).

    The context of a token: its clean value or zeros, whether it is given, and the phase of its frame. Clips
    longer than `window` frames go through in windows that overlap by half, and the answers are averaged: so
    a clip may have any length, and every seam lies in the middle of another window.

    "made" (B, made, 1), if there, names the frames that are not given, for a network that does no others.
    """

    def __init__(self, patches: int, window: int, condition_widths: Mapping[str, int], width: int) -> None:
        super().__init__()
        self.patches, self.window = patches, window
        self.noise = NoiseEmbedding(width)
        self.conditions = ConditionEmbedding(condition_widths, width)

    def forward(
        self, x: dict[str, Tensor], c_noise: Tensor, mask: Mapping[str, Tensor], cond: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        tokens, context = x["frames"], x["context"]
        batch, length, _ = tokens.shape
        real = mask.get("frames")
        c = F.silu(self.noise(c_noise) + self.conditions(cond, batch, tokens.device))
        size = self.window * self.patches
        starts = range(0, max(length - size, 0) + 1, max(self.window // 2, 1) * self.patches)
        if len(starts) == 1:
            made = _made(x, mask, self.window)
            return {"frames": self.seen(Window(tokens, context, c, c_noise, real, made))}
        total, count = torch.zeros_like(tokens), torch.zeros_like(tokens[..., :1])
        for start in starts:
            piece = slice(start, start + size)
            if real is None:
                weight = torch.ones_like(tokens[:, :1, :1])
                answer = self.seen(Window(tokens[:, piece], context[:, piece], c, c_noise))
            else:  # a window that reaches into padding has no say, so that company changes nothing
                inside = real[:, piece]
                counts = inside.all(1, keepdim=True) if start else torch.ones_like(inside[:, :1])
                view = Window(tokens[:, piece], context[:, piece], c, c_noise, inside | ~counts)
                answer = self.seen(view)
                weight = counts[..., None].to(answer.dtype)
            total[:, piece] += answer * weight
            count[:, piece] += weight
        output = total / count.clamp(min=1)
        return {"frames": output if real is None else output * real[..., None].to(output.dtype)}

    @abstractmethod
    def seen(self, view: Window) -> Tensor:
        """The answer for one window, (B, frames · patches, channels)."""


def _made(x: Mapping[str, Tensor], mask: Mapping[str, Tensor], window: int) -> Tensor | None:
    if "made" not in x:
        return None
    made = x["made"][..., 0].long()
    return made.masked_fill(~mask["made"], window) if "made" in mask else made


class VideoTransformer(WindowedNetwork):
    """Attention between all patches of all frames of a window.

    Args:
        channels: numbers a token. patches: tokens a frame. window: frames that are seen together.
        condition_widths: encoded width of each condition.
        width, depth, heads: size of the transformer; width must be a multiple of 2 * heads.

    >>> network = VideoTransformer(6, 4, 8, {}, width=32, depth=1, heads=2)
    >>> x = {"frames": torch.randn(2, 12 * 4, 6), "context": torch.zeros(2, 12 * 4, 6 + 1 + PHASES)}
    >>> network(x, torch.zeros(2), {}, {})["frames"].shape
    torch.Size([2, 48, 6])
    """

    def __init__(
        self,
        channels: int,
        patches: int,
        window: int,
        condition_widths: Mapping[str, int],
        width: int = 256,
        depth: int = 6,
        heads: int = 4,
    ) -> None:
        super().__init__(patches, window, condition_widths, width)
        if width % (2 * heads):
            raise ValueError(f"width {width} must be a multiple of twice the number of heads ({heads})")
        self.heads = heads
        self.read = nn.Linear(2 * channels + 1 + PHASES, width)
        self.place = nn.Embedding(patches, width)
        self.time = nn.Linear(64, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 2 * width)
        self.write = nn.Linear(width, channels)
        self.filter = NoiseFilter(channels, width)
        for layer in (self.modulation, self.write):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def seen(self, view: Window) -> Tensor:
        tokens, context, c, _, real, _ = view
        length = tokens.shape[1]
        place = torch.arange(length, device=tokens.device)
        hidden = self.read(torch.cat([tokens, context], dim=-1))
        hidden = hidden + self.place(place % self.patches) + self.time(sinusoids(place // self.patches, 64))
        angles = rotary_angles(length, hidden.shape[-1] // self.heads, tokens.device)
        bias = None if real is None else real[:, None, None, :]
        for block in self.blocks:
            hidden = block(hidden, c, bias, angles)
        shift, scale = self.modulation(c)[:, None].chunk(2, dim=-1)
        output = self.write(torch.addcmul(shift, self.norm(hidden), 1 + scale)) + self.filter(tokens, c)
        result: Tensor = output if real is None else output * real[..., None].to(output.dtype)
        return result
