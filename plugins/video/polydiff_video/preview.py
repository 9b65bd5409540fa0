"""Pictures of clips: their frames beside each other, and many clips below each other."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from polydiff_video.clip import VideoClip
from polydiff_video.files import to_gif

_MOST, _LEAST_SIDE, _GAP, _TITLE = 12, 96, 2, 14


def filmstrip(clip: VideoClip) -> bytes:
    """The frames of a clip (twelve of a longer one) beside each other, as PNG; small ones are enlarged."""
    return _png(_strip(clip))


def contact_sheet(clips: Sequence[VideoClip], titles: Sequence[str]) -> bytes:
    """Filmstrips below each other, each under its title, as PNG."""
    strips = [_strip(clip) for clip in clips]
    width = max(strip.shape[1] for strip in strips)
    sheet = Image.new("RGB", (width, sum(strip.shape[0] + _TITLE for strip in strips)), "white")
    draw, top = ImageDraw.Draw(sheet), 0
    for strip, title in zip(strips, titles, strict=True):
        draw.text((2, top + 1), title, fill="black")
        sheet.paste(Image.fromarray(strip), (0, top + _TITLE))
        top += strip.shape[0] + _TITLE
    return _png(np.asarray(sheet))


def moving(clip: VideoClip) -> str:
    """The clip for notebooks, as a GIF inside the page."""
    data = base64.b64encode(to_gif(clip)).decode("ascii")
    return (
        f"<div>{len(clip)} frames, {clip.fps:g} fps</div>"
        f'<img src="data:image/gif;base64,{data}" style="image-rendering:pixelated"/>'
    )


def _strip(clip: VideoClip) -> np.ndarray:
    places = np.unique(np.linspace(0, len(clip) - 1, min(len(clip), _MOST)).round().astype(int))
    factor = max(_LEAST_SIDE // max(clip.height, clip.width), 1)
    frames = clip.frames[places].repeat(factor, axis=1).repeat(factor, axis=2)
    frames = np.pad(frames, ((0, 0), (0, 0), (0, _GAP), (0, 0)), constant_values=255)
    return np.concatenate(list(frames), axis=1)


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
