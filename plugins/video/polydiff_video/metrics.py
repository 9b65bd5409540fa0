"""Figures for clips and for pairs of clips. Pure functions; formulas with their sources."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from polydiff_video.clip import Frames, VideoClip

Array = NDArray[Any]
_SIDE, _TIMES = 16, 4  # of a fingerprint


def psnr(a: Frames, b: Frames) -> float:
    """Peak signal-to-noise ratio in dB of frames uint8 (time, height, width, 3): 10 log10(255² / mse), the
    mean squared error over all frames; capped at 100 where they are equal.

    >>> x = np.zeros((2, 8, 8, 3), np.uint8)
    >>> psnr(x, x), round(psnr(x, x + 255), 3)
    (100.0, 0.0)
    """
    error = np.mean((a.astype(np.float64) - b) ** 2)
    return float(min(10 * np.log10(255**2 / error), 100.0)) if error else 100.0


def ssim(a: Frames, b: Frames) -> float:
    """Structural similarity (Wang et al. 2004), a Gaussian window of 1.5 pixels, mean over colours and
    frames: 1 where they are equal, nan where they are smaller than the window (11 pixels).
    """
    from skimage.metrics import structural_similarity

    if min(a.shape[1:3]) < 11:
        return float("nan")
    how: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    found = [
        structural_similarity(x, y, channel_axis=-1, data_range=255, **how) for x, y in zip(a, b, strict=True)
    ]
    return float(np.mean(found))


def frame_error(a: Frames, b: Frames) -> float:
    """Squared error summed over the pixels of a frame, values 0 to 1, mean over colours and frames: what
    Moving-MNIST is reported in (Srivastava et al. 2015)."""
    error = ((a.astype(np.float64) - b) / 255) ** 2
    return float(error.sum((1, 2)).mean())


def fingerprint(clip: VideoClip) -> Array:
    """Pixels of four frames brought to 16 × 16, in steps of 8 bits: clips of any size and length compare."""
    places = np.linspace(0, len(clip) - 1, _TIMES).round().astype(int)
    small = [Image.fromarray(clip.frames[i]).resize((_SIDE, _SIDE), Image.Resampling.BOX) for i in places]
    return np.concatenate([np.asarray(image, np.float32).ravel() for image in small])


def statistics(clip: VideoClip) -> Array:
    """(192,) of a clip, where there is no judge: means, deviations over time and steps from frame to frame of
    8 × 8 fields of luminance."""
    grey = [Image.fromarray(f).convert("L").resize((8, 8), Image.Resampling.BOX) for f in clip.frames]
    x = np.stack([np.asarray(image, np.float64).ravel() for image in grey]) / 255
    steps = np.abs(np.diff(x, axis=0)).mean(0) if len(x) > 1 else np.zeros(x.shape[1])
    return np.concatenate([x.mean(0), x.std(0), steps])
