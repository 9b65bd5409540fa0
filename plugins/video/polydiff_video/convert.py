"""Clips of any size brought to a model's, and enlarged again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from PIL import Image

from polydiff_video.clip import VideoClip


def fit_into(clip: VideoClip, width: int, height: int) -> VideoClip:
    """The clip in frames of this size: scaled as a whole, centred on black, and noted. Whole factors repeat
    pixels.

    >>> clip = fit_into(VideoClip(np.zeros((2, 10, 20, 3), np.uint8), 8), 8, 8)
    >>> clip.frames.shape, clip.notes
    ((2, 8, 8, 3), ('20x10 brought to 8x8',))
    """
    if (clip.width, clip.height) == (width, height):
        return clip
    factor = min(width / clip.width, height / clip.height)
    size = max(round(clip.width * factor), 1), max(round(clip.height * factor), 1)
    if factor >= 1 and factor == int(factor):
        frames = enlarged(clip, int(factor)).frames
    else:
        how = Image.Resampling.BOX if factor < 1 else Image.Resampling.BICUBIC
        frames = np.stack([np.asarray(Image.fromarray(frame).resize(size, how)) for frame in clip.frames])
    spare = (height - frames.shape[1], width - frames.shape[2])
    sides = [(space // 2, space - space // 2) for space in spare]
    frames = np.pad(frames, ((0, 0), *sides, (0, 0)))
    note = f"{clip.width}x{clip.height} brought to {width}x{height}"
    return replace(clip, frames=frames, notes=(*clip.notes, note))


def enlarged(clip: VideoClip, factor: int) -> VideoClip:
    """Every pixel repeated, so that small pictures stay crisp."""
    return replace(clip, frames=clip.frames.repeat(factor, axis=1).repeat(factor, axis=2))


def snapped(frames: np.ndarray, palette: tuple[str, ...]) -> np.ndarray:
    """uint8 (..., 3) with every pixel set to the nearest colour of the palette (hexadecimal, "ff8000").

    >>> snapped(np.array([[250, 120, 3]], np.uint8), ("ff8000", "000000")).tolist()
    [[255, 128, 0]]
    """
    from scipy.spatial import KDTree

    colours = np.array([list(bytes.fromhex(colour)) for colour in palette], np.uint8)
    found, where = np.unique(frames.reshape(-1, 3), axis=0, return_inverse=True)
    _, nearest = KDTree(colours.astype(float)).query(found.astype(float))
    result: np.ndarray = colours[nearest][where.reshape(-1)].reshape(frames.shape)
    return result


def palette_of(clips: Iterable[VideoClip], most: int = 256) -> tuple[str, ...]:
    """The colours of clips as hexadecimal numbers; none where there are more than `most`."""
    found: set[int] = set()
    for clip in clips:
        packed = clip.frames.reshape(-1, 3).astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
        found |= set(np.unique(packed).tolist())
        if len(found) > most:
            return ()
    return tuple(f"{colour:06x}" for colour in sorted(found))
