"""A network that predicts by moving what the given frames show."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polydiff.nn.transformer import Block, rotary_angles
from polydiff_video.motion import matched, moved
from polydiff_video.network import PHASES, Window, WindowedNetwork

GROUPS = 8
HEADS = 4
BEFORE = (1, 2, 4, 6, 9)
"""How many frames before the last given one its content is looked for."""
_FIRST_SPEED = 2.5  # pixels a frame that shifts spread over before anything is learned


class MotionNetwork(WindowedNetwork):
    """Pixels of the last given frame, laid where they will be, then corrected at each noise level.

    A U-net over the grid of patches reads all frames as channels (given ones clean, others noisy). Beside
    them it is told where the content of each cell of the last given frame was in earlier ones (block
    matching), and answers with a distribution over shifts of that cell for every frame that is not given
    (Finn et al. 2016). The guess that results is taken as the mean of a Gaussian whose deviation the network
    also says, and weighed against the noisy frame by Bayes' rule.

    Args:
        colours: numbers a pixel; tokens must be pixels in units of their root mean square (see PixelCodec),
            and sigma_data 1. patch: side of a token in pixels; a cell is two patches wide.
        rows, columns: tokens of a frame, even. window: frames seen together.
        condition_widths: encoded width of each condition.
        width, depth: channels of the grid, a multiple of 8, and blocks at its coarse scale.

    >>> network = MotionNetwork(1, 4, 4, 4, 6, {}, width=16, depth=1)
    >>> x = {"frames": torch.randn(2, 6 * 16, 16), "context": torch.zeros(2, 6 * 16, 16 + 1 + PHASES)}
    >>> network(x, torch.zeros(2), {}, {})["frames"].shape
    torch.Size([2, 96, 16])
    """

    def __init__(
        self,
        colours: int,
        patch: int,
        rows: int,
        columns: int,
        window: int,
        condition_widths: Mapping[str, int],
        width: int = 64,
        depth: int = 2,
    ) -> None:
        super().__init__(rows * columns, window, condition_widths, 2 * width)
        if width % GROUPS or rows % 2 or columns % 2:
            raise ValueError(f"width {width} must be a multiple of {GROUPS}, {rows}x{columns} patches even")
        self.colours, self.patch, self.rows, self.columns = colours, patch, rows, columns
        self.reach = 9 * patch * max(rows, columns) // 16
        channels, coarse, shifts = colours * patch**2, 2 * width, 2 * self.reach + 1
        seen = len(BEFORE) * (self.reach // 2 * 2 + 1)
        self.about = nn.Linear(window + PHASES, coarse)
        self.trust = nn.Linear(coarse, window)  # how much the noisy frames are looked at
        self.read = nn.Conv2d(window * channels + 2, width, 3, padding=1)
        self.down = ConvolutionBlock(width, coarse)
        self.shrink = nn.Conv2d(width, coarse, 2, stride=2)
        self.read_matches = nn.Conv2d(2 * seen, coarse, 1)
        self.middle = nn.ModuleList(ConvolutionBlock(coarse, coarse) for _ in range(depth))
        self.attention = nn.ModuleList(Block(coarse, HEADS, expansion=2) for _ in range(depth))
        self.grow = nn.Conv2d(coarse, width, 1)
        self.join = nn.Conv2d(coarse, width, 1)
        self.up = ConvolutionBlock(width, coarse)
        self.norm, self.coarse_norm = nn.GroupNorm(GROUPS, width), nn.GroupNorm(GROUPS, coarse)
        # shifts: along one axis at a time, by the same layers
        self.axes = nn.Conv2d(coarse, 2 * 6 * width, 1)
        self.track = nn.Linear(seen, 6 * width, bias=False)
        self.ahead = nn.Linear(6 * width, 6 * width)
        self.shift = nn.Linear(6 * width, window * shifts)
        # what moving leaves to be corrected, frame by frame
        self.write = nn.Conv2d(width, window * channels, 1)
        self.mend_read = nn.Conv2d(2 * channels, width // 2, 3, padding=1)
        self.mend_seen = nn.Conv2d(width, window * (width // 2), 1)
        self.mend_level = nn.Linear(coarse, width)
        self.mend = nn.Conv2d(width // 2, width // 2, 3, padding=1)
        self.mend_write = nn.Conv2d(width // 2, 2 * channels, 3, padding=1)
        for layer in (self.trust, self.write, self.mend_write):
            _begin_at_zero(layer)
        self._spread_shifts()

    def _spread_shifts(self) -> None:
        """Begin with shifts that are the wider the further a frame is from the middle of the window."""
        away = (torch.arange(self.window) - (self.window - 1) / 2).abs() + 1
        places = torch.arange(-self.reach, self.reach + 1)
        with torch.no_grad():
            self.shift.weight.mul_(0.3)
            self.shift.bias.copy_(-0.5 * (places / (2 + _FIRST_SPEED * away[:, None])).square().flatten())

    def seen(self, view: Window) -> Tensor:
        tokens, context, c, c_noise, real, made = view
        batch, length, channels = tokens.shape
        missing = self.window * self.patches - length  # below 0: what is beyond a window is padding
        if real is not None:
            tokens = tokens * real[..., None].to(tokens.dtype)
        noisy = self._grid(F.pad(tokens, (0, 0, 0, missing)))
        context = F.pad(context, (0, 0, 0, missing))
        clean = self._grid(context[..., :channels])
        about = context.reshape(batch, self.window, self.patches, -1)[:, :, 0, channels:]
        given = about[..., 0] > 0.5
        c = c + self.about(torch.cat([about[..., 0], about[:, 0, 1:]], dim=1))
        ratio = (4 * c_noise).exp()[:, None, None, None, None]  # noise to signal
        # of a frame that is given the answer is that frame, in the form that `precondition` expects
        whole = ((1 + ratio**2).sqrt() * clean - noisy) / ratio
        if made is None:
            made = torch.arange(self.window, device=given.device).expand(batch, -1)
        if made.shape[1]:
            sample = torch.arange(batch, device=given.device)[:, None]
            answer = self._answer(noisy, clean, given, c, ratio, made.clamp(max=self.window - 1))
            room = F.pad(whole, (0, 0) * 3 + (0, 1))  # its last frame is for what is padding of `made`
            answer = room.index_put((sample, made), answer.to(whole.dtype))[:, : self.window]
            whole = torch.where(given[..., None, None, None], whole, answer)
        output = whole.permute(0, 1, 3, 4, 2).reshape(batch, -1, channels)
        output = F.pad(output, (0, 0, 0, -missing))
        return output if real is None else output * real[..., None].to(output.dtype)

    def _grid(self, tokens: Tensor) -> Tensor:
        """(B, window · patches, channels) to (B, window, channels, rows, columns)."""
        shape = len(tokens), self.window, self.rows, self.columns, -1
        return tokens.reshape(shape).permute(0, 1, 4, 2, 3)

    def _pixels(self, grid: Tensor) -> Tensor:
        """(B, frames, channels, rows, columns) to (B, frames, colours, height, width)."""
        return F.pixel_shuffle(grid, self.patch)

    def _answer(
        self, noisy: Tensor, clean: Tensor, given: Tensor, c: Tensor, ratio: Tensor, made: Tensor
    ) -> Tensor:
        """The network's output for the frames `made`, (B, made, channels, rows, columns)."""
        matches, frame = self._matches(clean, given)
        fine, coarse = self._read(noisy, clean, given, c, matches)
        down, right = self._shifts(coarse, matches, made).unbind(1)
        guess = F.pixel_unshuffle(moved(frame, down, right).float(), self.patch)
        shape = guess.shape
        guess = guess + _frames(self.write(fine).reshape(len(guess), self.window, *shape[2:]), made)
        noisy = _frames(noisy, made)
        correction, deviation = self._mended(guess, noisy, fine, c, made)
        guess = guess + correction.reshape(shape)
        variance = (2 * deviation.reshape(shape) - 1).exp()
        # the mean of the Gaussian (guess, variance) times the noisy frame's likelihood, as the
        # preconditioned output: see `precondition` for what it is multiplied with
        weight = ratio / (variance + ratio**2)
        return weight * ((1 + ratio**2).sqrt() * guess + (variance - 1) * noisy)

    def _matches(self, clean: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 2, len(BEFORE), rows / 2, columns / 2, shifts): where the last given frame's content was before
        it, zero where no frame is given; and that frame, (B, colours, height, width)."""
        sample = torch.arange(len(given), device=given.device)
        last = (given * torch.arange(self.window, device=given.device)).amax(1)
        pixels = self._pixels(clean).float()
        frame = pixels[sample, last]
        before = torch.stack([last - frames for frames in BEFORE], dim=1)
        there = (before >= 0) & given.gather(1, before.clamp(min=0))
        past = pixels[sample[:, None], before.clamp(min=0)].mean(2)
        with torch.no_grad(), torch.autocast(frame.device.type, enabled=False):
            found = matched(frame.mean(1), past, 2 * self.patch, self.reach)
        return found * there[:, None, :, None, None, None], frame

    def _read(
        self, noisy: Tensor, clean: Tensor, given: Tensor, c: Tensor, matches: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The U-net's features at the scale of the patches and at half of it."""
        trusted = noisy * self.trust(c)[:, :, None, None, None]
        shown = torch.where(given[..., None, None, None], clean, trusted).flatten(1, 2)
        down = torch.linspace(-1, 1, self.rows, device=c.device)[:, None].expand(self.rows, self.columns)
        right = torch.linspace(-1, 1, self.columns, device=c.device).expand(self.rows, self.columns)
        places = torch.stack([down, right]).expand(len(shown), -1, -1, -1)
        fine = self.down(self.read(torch.cat([shown, places], dim=1)), c)
        coarse = self.shrink(fine) + self.read_matches(matches.permute(0, 1, 2, 5, 3, 4).flatten(1, 3))
        rows, columns = coarse.shape[2:]
        angles = rotary_angles(rows * columns, coarse.shape[1] // HEADS, c.device)
        for block, attention in zip(self.middle, self.attention, strict=True):
            sequence = attention(block(coarse, c).flatten(2).transpose(1, 2), c, None, angles)
            coarse = sequence.transpose(1, 2).unflatten(2, (rows, columns))
        grown = F.interpolate(self.grow(coarse), fine.shape[-2:], mode="nearest")
        fine = self.up(self.join(torch.cat([fine, grown], dim=1)), c)
        return F.silu(self.norm(fine)), coarse

    def _shifts(self, coarse: Tensor, matches: Tensor, made: Tensor) -> Tensor:
        """(B, 2, made, rows / 2, columns / 2, 2 reach + 1): where each cell goes, down and right."""
        hidden = self.axes(F.silu(self.coarse_norm(coarse))).unflatten(1, (2, -1)).permute(0, 1, 3, 4, 2)
        hidden = F.silu(hidden + self.track(matches.permute(0, 1, 3, 4, 2, 5).flatten(4)))
        hidden = hidden + F.silu(self.ahead(hidden))
        weight = self.shift.weight.unflatten(0, (self.window, -1))[made].flatten(1, 2)
        bias = self.shift.bias.unflatten(0, (self.window, -1))[made].flatten(1)
        logits = torch.baddbmm(bias[:, None], hidden.flatten(1, 3), weight.mT)
        logits = logits.unflatten(2, (made.shape[1], -1)).unflatten(1, hidden.shape[1:4])
        result: Tensor = logits.float().softmax(-1).permute(0, 1, 4, 2, 3, 5)
        return result

    def _mended(
        self, guess: Tensor, noisy: Tensor, fine: Tensor, c: Tensor, made: Tensor
    ) -> tuple[Tensor, Tensor]:
        """A correction of each frame of the guess, and the logarithm of its deviation."""
        frames = made.shape[1]
        told = _frames(self.mend_seen(fine).unflatten(1, (self.window, -1)), made).flatten(0, 1)
        x = self.mend_read(torch.cat([guess, noisy], dim=2).flatten(0, 1)) + told
        scale, shift = self.mend_level(c).repeat_interleave(frames, 0)[:, :, None, None].chunk(2, dim=1)
        x = self.mend(F.silu(torch.addcmul(shift, x, 1 + scale)))
        correction, deviation = self.mend_write(F.silu(x)).float().chunk(2, dim=1)
        return correction, deviation


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
        result: Tensor = x + self.second(F.silu(torch.addcmul(shift, hidden, 1 + scale)))
        return result


def _frames(grid: Tensor, made: Tensor) -> Tensor:
    """The frames (B, made) of (B, window, channels, rows, columns)."""
    return grid[torch.arange(len(grid), device=grid.device)[:, None], made]


def _begin_at_zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
