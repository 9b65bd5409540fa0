"""What moves where: finding the content of a frame in earlier ones, and laying it at other places.

Frames are cut into square cells, and a cell's shift is a distribution over whole pixels for each of the two
axes. Pure functions of tensors; `row` and `column` count cells, shifts run from -reach to reach.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

TEMPERATURE = 24.0  # of a match, in mean squared pixels: by so much two places must differ to be told apart


def matched(now: Tensor, past: Tensor, cell: int, reach: int) -> Tensor:
    """Where each cell of a frame was in earlier ones: block matching, made soft.

    The window of two cells' side around a cell is compared with every place of a past frame, at half the
    resolution; the softmax of minus the squared differences, summed over one axis, is the shift along the
    other.

    Args:
        now: (B, height, width), pixels of mean square 1. past: (B, frames, height, width).
        cell: pixels, a multiple of 2.

    Returns (B, 2, frames, rows, columns, reach // 2 * 2 + 1): shifts down and right in steps of two pixels.

    >>> now = torch.zeros(1, 16, 16)
    >>> now[:, 4:8, 4:8] = 9.0
    >>> found = matched(now, now.roll(2, 2)[:, None], 4, 4)
    >>> found[0, :, 0, 1, 1].argmax(-1) - 2  # in steps of two pixels
    tensor([0, 1])
    """
    step, reach = cell // 2, reach // 2
    side = 2 * step
    before = step // 2
    pad = (before, side - 1 - before) * 2
    now, past = F.avg_pool2d(now[:, None], 2), F.avg_pool2d(past, 2)
    batch, frames, height, width = past.shape
    rows, columns = height // step, width // step
    window = F.unfold(F.pad(now, (before, side - step - before) * 2), side, stride=step).transpose(1, 2)
    places = F.pad(past.reshape(-1, 1, height, width), pad)
    energy = F.avg_pool2d(places.square(), side, 1).flatten(2) * side**2
    places = torch.cat([F.unfold(places, side), energy], dim=1).reshape(batch, frames, -1, height * width)
    # |window - place|² but for |window|², which is the same at every place
    weights = torch.cat([2 * window, window.new_full((*window.shape[:2], 1), -1.0)], dim=2) / TEMPERATURE
    found = (weights[:, None] @ places).softmax(-1).reshape(batch, frames, rows, columns, height, width)
    return torch.stack([_shifts(found.sum(5), step, reach, 2), _shifts(found.sum(4), step, reach, 3)], dim=1)


def _shifts(places: Tensor, step: int, reach: int, axis: int) -> Tensor:
    """(B, frames, rows, columns, places) to (..., 2 reach + 1), counted from each cell's own place."""
    cells = places.shape[axis]
    index = step * torch.arange(cells, device=places.device)[:, None] + torch.arange(
        2 * reach + 1, device=places.device
    )
    shape = [1, 1, 1, 1, 2 * reach + 1]
    shape[axis] = cells
    padded = F.pad(places, (reach, reach))
    return padded.gather(4, index.reshape(shape).expand(*places.shape[:4], -1))


def moved(frame: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Every cell of a frame laid where its shifts say, all added up (Finn et al. 2016 move pixels so).

    Args:
        frame: (B, colours, height, width).
        down, right: (B, frames, rows, columns, 2 reach + 1), distributions over shifts.

    Returns (B, frames, colours, height, width); what leaves the picture is lost.

    >>> frame = torch.arange(16.0).reshape(1, 1, 4, 4)
    >>> still, one = torch.eye(3)[1].expand(1, 1, 2, 2, 3), torch.eye(3)[2].expand(1, 1, 2, 2, 3)
    >>> torch.equal(moved(frame, still, one)[0, 0, 0, :, 1:], frame[0, 0, :, :3])
    True
    """
    batch, colours, height, width = frame.shape
    frames, rows, columns = down.shape[1:4]
    cell = height // rows
    tall = _placed(down, cell, height, 2)
    wide = _placed(right, cell, width, 3)
    cells = frame.reshape(batch, 1, colours, rows, cell, columns, cell).permute(0, 1, 2, 3, 5, 6, 4)
    columns_moved = cells @ tall[:, :, None]  # (B, frames, colours, rows, columns, cell, height)
    flat = columns_moved.reshape(batch, frames, colours, -1, height).transpose(3, 4)
    return flat @ wide.reshape(batch, frames, 1, -1, width)


def _placed(shifts: Tensor, cell: int, size: int, axis: int) -> Tensor:
    """(B, frames, rows, columns, cell, size): how much of each line of a cell comes to each line of the
    picture; `axis` is that of the cells along it."""
    reach = shifts.shape[4] // 2
    count, device = shifts.shape[axis], shifts.device
    line = cell * torch.arange(count, device=device)[:, None] + torch.arange(cell, device=device)
    index = torch.arange(size, device=device) - line[..., None] + size - 1  # (count, cell, size), from 0
    shape = [1, 1, 1, 1, cell * size]
    shape[axis] = count
    padded = F.pad(shifts, (size - 1 - reach, size - 1 - reach))
    found = padded.gather(4, index.reshape(shape).expand(*shifts.shape[:4], -1))
    return found.reshape(*shifts.shape[:4], cell, size)
