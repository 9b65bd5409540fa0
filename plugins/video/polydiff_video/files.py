"""Films in and out, through PyAV and Pillow: every failure is one line, every finished file is whole."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from polydiff.errors import UsageError, did_you_mean
from polydiff.support.archives import read_npz
from polydiff.support.files import atomic_write
from polydiff_video.clip import Frames, VideoClip

_FILMS = {".mp4": ("mp4", "libx264"), ".webm": ("webm", "libvpx-vp9")}
_ANIMATIONS = {".gif": "GIF", ".webp": "WEBP", ".apng": "PNG"}
FOLDER = ".frames"  # what a written folder of pictures is called
SUFFIXES = (".gif", *_FILMS, ".webp", ".apng", ".npz", FOLDER)
READ = (*SUFFIXES, ".mov", ".mkv", ".avi", ".m4v", ".ts")
STILLS = (".png", ".jpg", ".jpeg", ".bmp")
_STILL_FPS = 8.0  # what pictures that say no rate are taken at
_ROUNDED = 10.5  # milliseconds: GIF counts in hundredths
_RATES = (0.1, 1000)  # frames a second that can be written
_GIF_FPS = 50  # viewers show delays under two hundredths of a second at a tenth
_DESCRIPTION = 0x010E  # the EXIF tag
_MOST_PIXELS = 2**31  # uncompressed bytes; a film beyond it is refused before memory runs out


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
    return _read_film(path)


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
        return _write_film(clip, temporary, *_FILMS[suffix])


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


def _write_film(clip: VideoClip, path: Path, container: str, codec: str) -> list[str]:
    frames, notes = clip.frames, []
    odd = (clip.height % 2, clip.width % 2)
    if any(odd):
        frames = np.pad(frames, ((0, 0), (0, odd[0]), (0, odd[1]), (0, 0)), "edge")
        grown = f"{frames.shape[2]}x{frames.shape[1]}"
        notes.append(f"{clip.width}x{clip.height} grown to {grown}: even sizes only")
    options = {"movflags": "+faststart"} if container == "mp4" else {}
    quality = {"crf": "12"} if codec == "libx264" else {"crf": "16", "b:v": "0", "row-mt": "0"}
    with av.open(str(path), "w", format=container, options=options) as file:
        rate = Fraction(clip.fps).limit_denominator(1001)
        stream = cast("av.VideoStream", file.add_stream(codec, rate=rate, options=quality))
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts = number
            picture.time_base = 1 / rate
            file.mux(stream.encode(picture))
        file.mux(stream.encode())
    return notes


def _read_npz(path: Path) -> VideoClip:
    arrays = read_npz(path)
    try:
        frames, fps = arrays["frames"], float(arrays.get("fps", _STILL_FPS))
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
    fps = _STILL_FPS if said is None else said[0]
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
                _check_size(path, frame.width, frame.height, len(frames) + 1)
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
        return _at_one_rate(np.stack(frames), durations, notes)
    fps, length = said
    ends = np.rint(np.cumsum(durations) * fps / 1000)
    counts = np.maximum(np.diff(ends, prepend=0), 1).astype(int)
    if len(frames) == 1:  # all were equal, and some encoders then write no duration
        counts = np.array([length])
        height, width = frames[0].shape[:2]
        _check_size(path, width, height, length)
    return VideoClip(np.repeat(np.stack(frames), counts, axis=0), fps, tuple(notes))


def _read_film(path: Path) -> VideoClip:
    frames: list[Frames] = []
    times: list[float | None] = []
    alpha, turned = False, 0
    try:
        with av.open(str(path)) as file:
            if not file.streams.video:
                raise UsageError(f"{path}: holds no video, only {', '.join(s.type for s in file.streams)}.")
            films = [s for s in file.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
            if not films:
                raise UsageError(f"{path}: holds a cover picture and no film.")
            stream = films[0]
            rate = float(stream.average_rate or stream.guessed_rate or 0)
            promised = stream.frames
            for frame in _decoded(file, stream):
                _check_size(path, frame.width, frame.height, len(frames) + 1)
                turned = frame.rotation
                pixels, clear = _opaque(frame)
                alpha |= clear
                frames.append(np.ascontiguousarray(np.rot90(pixels, round(turned / 90))))
                times.append(frame.time)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read as a film ({_reason(error)}).") from error
    if not frames:
        raise UsageError(f"{path}: holds no frames.")
    notes = ["alpha laid over black"] if alpha else []
    notes += [f"turned by {turned % 360} degrees, as its file asks"] if turned else []
    if promised and len(frames) < promised and _ends_early(path):
        raise UsageError(f"{path}: truncated, {len(frames)} of {promised} frames are there. Copy it again.")
    if len({frame.shape for frame in frames}) > 1:
        raise UsageError(f"{path}: its frames change their size on the way, which no clip here can.")
    if any(time is None for time in times) or len(times) < 2:
        return VideoClip(np.stack(frames), rate or _STILL_FPS, tuple(notes))
    gaps = np.diff(np.array(times, float)) * 1000
    clip = _at_one_rate(np.stack(frames), [*gaps, float(np.median(gaps))], notes)
    # containers round times; the rate that the stream states is the true one where both agree
    return VideoClip(clip.frames, rate, clip.notes) if rate and abs(clip.fps / rate - 1) < 0.02 else clip


def _decoded(file: Any, stream: Any) -> Iterable[av.VideoFrame]:
    """The frames; FFmpeg's own VP9 drops the alpha plane, libvpx keeps it."""
    said = {name.lower(): value for name, value in stream.metadata.items()}
    if said.get("alpha_mode") != "1" or stream.codec_context.name not in ("vp8", "vp9", "libvpx-vp9"):
        yield from file.decode(stream)
        return
    libvpx = cast(
        Any, av.CodecContext.create("libvpx" if "8" in stream.codec_context.name else "libvpx-vp9", "r")
    )
    for packet in file.demux(stream):
        yield from libvpx.decode(packet)


def _opaque(frame: av.VideoFrame) -> tuple[Frames, bool]:
    """The picture over black, and whether any of it was transparent."""
    if not any(kind in frame.format.name for kind in ("yuva", "rgba", "argb", "bgra", "abgr", "gbrap")):
        return cast("Frames", frame.to_ndarray(format="rgb24")), False
    pixels = frame.to_ndarray(format="rgba").astype(np.uint16)
    laid = (pixels[..., :3] * pixels[..., 3:] + 127) // 255
    return laid.astype(np.uint8), bool((pixels[..., 3] < 255).any())


def _ends_early(path: Path) -> bool:
    """Whether a box of an mp4 or mov goes beyond its end; an edit list leaves frames out by right."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        if head[4:] not in (b"ftyp", b"moov", b"mdat", b"wide", b"free"):
            return True
        start = 0
        while start + 8 <= size:
            file.seek(start)
            head = file.read(16)
            length = int.from_bytes(head[:4], "big")
            length = int.from_bytes(head[8:], "big") if length == 1 else length or size - start
            start += max(length, 8)
    return start != size


def _at_one_rate(frames: Frames, durations: Sequence[float], notes: Iterable[str]) -> VideoClip:
    """Frames that stay on longer are repeated. `durations` are in milliseconds, 0 for unknown."""
    shown = np.array([d if d > 0 else 1000 / _STILL_FPS for d in durations])
    base = float(shown.min())
    if base < 0.5 * float(np.percentile(shown, 10)):
        base = float(np.median(shown))  # one short gap sets no rate; the bulk of the gaps does
    times = np.maximum(np.rint(shown / base), 1)
    base = float(shown.sum() / times.sum())  # the shortest frame was rounded, the mean is truer
    times = np.maximum(np.rint(shown / base), 1)
    if np.abs(shown - times * base).max() <= _ROUNDED:
        fps = _neat(1000 * times.sum() / shown.sum())
        return VideoClip(np.repeat(frames, times.astype(int), axis=0), fps, tuple(notes))
    fps = _neat(1000 * len(frames) / shown.sum())
    middle = (np.arange(max(round(shown.sum() / 1000 * fps), 1)) + 0.5) * 1000 / fps
    places = np.searchsorted(np.cumsum(shown), middle).clip(max=len(frames) - 1)
    return VideoClip(frames[places], fps, (*notes, f"uneven frame lengths brought to {fps:g} fps"))


def _neat(fps: float) -> float:
    """A rate without the crumbs of rounding: 7.99987 is 8."""
    whole = Fraction(fps).limit_denominator(4)
    return float(whole) if abs(float(whole) / fps - 1) < 2e-3 and whole else round(fps, 3)


def _check_size(path: Path, width: int, height: int, frames: int) -> None:
    if 3 * width * height * frames > _MOST_PIXELS:
        raise UsageError(f"{path}: more than {frames - 1} frames of {width}x{height} are too many; cut it.")


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).splitlines()[0].lower()
