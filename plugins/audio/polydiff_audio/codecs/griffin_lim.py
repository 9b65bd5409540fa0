"""Phase from magnitudes: the fast Griffin-Lim algorithm, with samples that are known already.

Griffin and Lim (1984) go to and fro between two sets: spectrograms of the wanted magnitude, and spectrograms
that some waveform has. Perraudin, Balazs and Sondergaard (2013) add momentum:

    c_n = consistent(wanted(t_{n-1})),    t_n = c_n + momentum * (c_n - c_{n-1})

Between the two, the waveform is at hand, and so is the place to put known samples back: the phase of new
sound then joins the phase of the old at every seam. The first phases follow the spectral peaks from frame to
frame (Beauregard, Harish and Wyse 2015), which saves half of the iterations; nothing is random.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from polydiff_audio.codecs.transform import Transform


def griffin_lim(
    magnitude: Tensor,
    transform: Transform,
    length: int,
    iterations: int = 32,
    momentum: float = 0.99,
    wanted: Callable[[Tensor], Tensor] | None = None,
    known: Tensor | None = None,
    keep: Tensor | None = None,
) -> Tensor:
    """A waveform (B, length) whose short-time Fourier magnitudes are close to `magnitude`.

    Args:
        magnitude: (B, bins, frames); the entries (clips or channels) are independent of each other.
        length: samples of the result; frames = 1 + length // hop.
        wanted: the magnitude nearest to a given one among those allowed, (B, bins, frames) -> same. By
            default only `magnitude` itself is allowed; a mel codec allows all that agree in every band.
        known, keep: (B, length) samples and (length,) bool; where keep is True the known samples are put
            back in every iteration and are exact in the result.

    >>> tone, transform = torch.sin(torch.arange(2048) * 0.3)[None], Transform(256, 256, 64)
    >>> magnitude = transform.forward(tone).abs()
    >>> again = transform.forward(griffin_lim(magnitude, transform, 2048)).abs()
    >>> bool((again - magnitude).norm() < 0.1 * magnitude.norm())
    True
    """

    def waveform(spectrum: Tensor) -> Tensor:
        wave = transform.inverse(spectrum, length)
        return wave if known is None or keep is None else torch.where(keep, known, wave)

    spectrum = torch.polar(magnitude, peak_phases(magnitude, transform))
    previous: Tensor | None = None
    for _ in range(iterations):
        consistent = transform.forward(waveform(spectrum))
        moved = consistent if previous is None else consistent + momentum * (consistent - previous)
        allowed = magnitude if wanted is None else wanted(moved.abs())
        spectrum, previous = torch.polar(allowed, moved.angle()), consistent
    return waveform(spectrum)


def peak_phases(magnitude: Tensor, transform: Transform) -> Tensor:
    """Phases (B, bins, frames) in which every bin turns at the frequency of its nearest spectral peak."""
    left, middle, right = magnitude[:, :-2], magnitude[:, 1:-1], magnitude[:, 2:]
    peak = (middle > left) & (middle >= right)
    # the vertex of a parabola through three bins
    offset = 0.5 * (left - right) / (left - 2 * middle + right).clamp(max=-1e-12)
    bins = torch.arange(1, middle.shape[1] + 1, device=magnitude.device)[:, None].expand_as(middle)
    beyond = 4 * middle.shape[1]
    below = torch.where(peak, bins, -beyond).cummax(1).values
    above = torch.where(peak, bins, beyond).flip(1).cummin(1).values.flip(1)
    nearest = torch.where(bins - below <= above - bins, below, above)
    lonely = (nearest < 1) | (nearest > middle.shape[1])  # a frame without peaks
    nearest = torch.where(lonely, bins, nearest)
    frequency = nearest + torch.where(lonely, 0.0, offset.gather(1, nearest - 1))
    frequency = torch.cat([frequency[:, :1], frequency, frequency[:, -1:]], dim=1).double()
    turns = (frequency * (transform.hop / transform.n_fft)).cumsum(-1) % 1.0
    return (2 * math.pi * turns).to(magnitude.dtype)
