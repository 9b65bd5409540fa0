"""Clips in and out by suffix, and pictures that move through Pillow: every failure is one line, every
finished file is whole.
"""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from polydiff.errors import UsageError, did_you_mean
from polydiff.support.archives import read_npz
from polydiff.support.files import atomic_write
from polydiff_video.clip import Frames, VideoClip
from polydiff_video.films import FILMS, read_film, write_film
from polydiff_video.pace import STILL_FPS, at_one_rate, check_size

_ANIMATIONS = {".gif": "GIF", ".webp": "WEBP", ".apng": "PNG"}
FOLDER = ".frames"  # what a written folder of pictures is called
SUFFIXES = (".gif", *FILMS, ".webp", ".apng", ".npz", FOLDER)
READ = (*SUFFIXES, ".mov", ".mkv", ".avi", ".m4v", ".ts")
STILLS = (".png", ".jpg", ".jpeg", ".bmp")
_RATES = (0.1, 1000)  # frames a second that can be written
_GIF_FPS = 50  # viewers show delays under two hundredths of a second at a tenth
_DESCRIPTION = 0x010E  # the EXIF tag


def read(path: str | os.PathLike[str]) -> VideoClip:
    """Read an mp4, webm, gif, webp, apng or npz file, or a folder of pictures in the order of their names.

    What was changed is noted in the clip: alpha is laid over black, uneven frames are brought to one rate.
    Raises UsageError, one line, for a missing, empty or truncated file, and for one without frames.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    if not path.exists():
        raise UsageError(f"{path}: does not exist.")
    if path.stat().st_size == 0:
        raise UsageError(f"{path}: is empty (0 bytes); copy it again.")
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return _read_npz(path)
    if suffix in _ANIMATIONS or suffix in STILLS:
        return _read_animation(path)
    return read_film(path)


def write(clip: VideoClip, path: str | os.PathLike[str]) -> list[str]:
    """Write a file whose suffix is one of SUFFIXES; returns notes on what had to be changed.

    mp4 is H.264 in yuv420p with the index first, which every browser plays; webm is VP9. Both need even
    sizes: odd ones grow by a pixel. gif holds 256 colours and delays of whole hundredths of a second. A
    name that ends in .frames becomes a folder of frame_0000.png and so on, which say their rate.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        hint = did_you_mean(suffix, SUFFIXES)
        raise UsageError(f"{path}: films are written as {' '.join(SUFFIXES)}.{hint}")
    if not _RATES[0] <= clip.fps <= _RATES[1]:
        raise UsageError(
            f"{path}: {clip.fps:g} frames a second cannot be written; choose {_RATES[0]} to {_RATES[1]}."
        )
    with atomic_write(path) as temporary:
        if suffix == ".npz":
            np.savez_compressed(temporary, frames=clip.frames, fps=clip.fps)
            return []
        if suffix == FOLDER:
            _write_frames(clip, temporary)
            return []
        if suffix == ".gif":
            slow = _slowed(clip)
            temporary.write_bytes(to_gif(slow))
            return _gif_notes(clip)
        if suffix in _ANIMATIONS:
            images = [Image.fromarray(frame) for frame in clip.frames]
            says = _says(clip.fps, len(clip))
            webp = {"lossless": True, "exif": _exif(says)}
            options: dict[str, Any] = webp if suffix == ".webp" else {"pnginfo": _info(says)}
            images[0].save(
                temporary, _ANIMATIONS[suffix], save_all=True, append_images=images[1:], loop=0,
                duration=[round(d) for d in _durations(clip, 1)], **options,
            )  # fmt: skip
            return []
        return write_film(clip, temporary, *FILMS[suffix])


def _write_frames(clip: VideoClip, folder: Path) -> None:
    folder.mkdir()
    for number, frame in enumerate(clip.frames):
        Image.fromarray(frame).save(folder / f"frame_{number:04d}.png", pnginfo=_info(_says(clip.fps, 1)))


def _says(fps: float, frames: int) -> str:
    """Rate and length as files state them: their own times are rounded, and encoders merge equal frames."""
    return f"fps={fps!r} frames={frames}"


def _info(text: str) -> PngInfo:
    info = PngInfo()
    info.add_text("Description", text)
    return info


def _exif(text: str) -> Image.Exif:
    exif = Image.Exif()
    exif[_DESCRIPTION] = text
    return exif


def _said(image: Image.Image) -> tuple[float, int] | None:
    """The rate and the number of frames that a picture states, if it does."""
    info = image.info
    texts = (info.get("comment", b""), info.get("Description", ""), image.getexif().get(_DESCRIPTION, ""))
    text = " ".join(t.decode("latin-1") if isinstance(t, bytes) else str(t) for t in texts)
    match = re.search(r"fps=(\d+(?:\.\d+)?) frames=(\d{1,6})\b", text)
    return (float(match[1]), int(match[2])) if match and float(match[1]) > 0 else None


def to_gif(clip: VideoClip) -> bytes:
    """The bytes of a GIF file that repeats for ever. Up to 256 colours in all frames are kept exactly."""
    flat = clip.frames.reshape(len(clip), -1, 3)
    sheet = Image.fromarray(flat)
    colours = sheet.getcolors(256)
    if colours is not None:
        palette = Image.new("P", (1, 1))
        palette.putpalette([value for _, colour in colours for value in cast("tuple[int, ...]", colour)])
    else:
        palette = sheet.quantize(256, dither=Image.Dither.NONE)
    images = [Image.fromarray(f).quantize(palette=palette, dither=Image.Dither.NONE) for f in clip.frames]
    buffer = io.BytesIO()
    images[0].save(
        buffer, "GIF", save_all=True, append_images=images[1:], loop=0, disposal=1,
        duration=_durations(clip, 10), comment=_says(clip.fps, len(clip)),
    )  # fmt: skip
    return buffer.getvalue()


def _slowed(clip: VideoClip) -> VideoClip:
    if clip.fps <= _GIF_FPS:
        return clip
    length = max(round(len(clip) * _GIF_FPS / clip.fps), 1)
    places = ((np.arange(length) + 0.5) * clip.fps / _GIF_FPS).astype(int).clip(max=len(clip) - 1)
    return VideoClip(clip.frames[places], _GIF_FPS, clip.notes)


def _gif_notes(clip: VideoClip) -> list[str]:
    many = Image.fromarray(clip.frames.reshape(len(clip), -1, 3)).getcolors(256) is None
    notes = ["more than 256 colours, brought down to 256"] if many else []
    return notes + (
        [f"a GIF shows at most {_GIF_FPS} frames a second: resampled to that"] if clip.fps > _GIF_FPS else []
    )


def _durations(clip: VideoClip, unit: int) -> list[int]:
    """Milliseconds of each frame in whole `unit`s, so that their sum stays true."""
    ends = [round(1000 * (i + 1) / clip.fps / unit) * unit for i in range(len(clip))]
    return [max(end - start, unit) for start, end in zip([0, *ends], ends, strict=False)]


def _read_npz(path: Path) -> VideoClip:
    arrays = read_npz(path)
    try:
        frames, fps = arrays["frames"], float(arrays.get("fps", STILL_FPS))
    except (TypeError, ValueError, KeyError) as error:
        raise UsageError(f"{path}: is no .npz file with an array `frames` ({error}).") from error
    try:
        return VideoClip(frames, fps)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def _read_folder(folder: Path) -> VideoClip:
    paths = sorted((p for p in folder.iterdir() if p.suffix.lower() in STILLS), key=_as_people_sort)
    if not paths:
        raise UsageError(f"{folder}: no pictures ({' '.join(STILLS)}) in this folder.")
    clips = [_read_animation(path) for path in paths]
    if len({clip.frames.shape[1:] for clip in clips}) > 1:
        raise UsageError(f"{folder}: its pictures are of several sizes; bring them to one.")
    notes = list(dict.fromkeys(note for clip in clips for note in clip.notes))
    with Image.open(paths[0]) as first:
        said = _said(first)
    fps = STILL_FPS if said is None else said[0]
    if said is None:
        notes.append(f"pictures that say no rate, taken at {fps:g} fps")
    return VideoClip(np.concatenate([clip.frames for clip in clips]), fps, tuple(notes))


def _as_people_sort(path: Path) -> tuple[tuple[str | int, ...], str]:
    """1, 2, 10: the numbers in a name count as numbers."""
    parts = re.split(r"(\d+)", path.stem)
    return tuple(int(part) if i % 2 else part.lower() for i, part in enumerate(parts)), path.name


def _eight_bits(image: Image.Image) -> Image.Image:
    """Pillow clips 16-bit grey at 255; the upper 8 bits are the picture."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))


def _read_animation(path: Path) -> VideoClip:
    frames: list[Frames] = []
    durations: list[float] = []
    alpha = False
    said: tuple[float, int] | None = None
    try:
        with Image.open(path) as image:
            said = _said(image)
            for frame in ImageSequence.Iterator(image):
                check_size(path, frame.width, frame.height, len(frames) + 1)
                pixels = ImageOps.exif_transpose(_eight_bits(frame)).convert("RGBA")
                alpha |= bool((np.asarray(pixels)[..., 3] < 255).any())
                black = Image.new("RGBA", pixels.size, (0, 0, 0, 255))
                frames.append(np.asarray(Image.alpha_composite(black, pixels).convert("RGB")))
                durations.append(float(frame.info.get("duration") or 0))
    except (UnidentifiedImageError, OSError, SyntaxError, EOFError, ValueError) as error:
        why = str(error) or "it ends early"
        raise UsageError(f"{path}: cannot be read as a moving picture ({why}).") from error
    if not frames:
        raise UsageError(f"{path}: holds no frames.")
    notes = ["alpha laid over black"] if alpha else []
    if said is None and path.suffix.lower() == ".gif":
        durations = [100.0 if d < 20 else d for d in durations]  # as every viewer does
    if said is None:
        return at_one_rate(np.stack(frames), durations, notes)
    fps, length = said
    ends = np.rint(np.cumsum(durations) * fps / 1000)
    counts = np.maximum(np.diff(ends, prepend=0), 1).astype(int)
    if len(frames) == 1:  # all were equal, and some encoders then write no duration
        counts = np.array([length])
        height, width = frames[0].shape[:2]
        check_size(path, width, height, length)
    return VideoClip(np.repeat(np.stack(frames), counts, axis=0), fps, tuple(notes))
