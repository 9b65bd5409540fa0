"""Samples of a file up to the end of its stream, read in blocks: what a header claims is not trusted."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path
from typing import cast

import numpy as np
import soundfile

from polydiff.errors import UsageError

_BLOCK = 65536
_STREAMED = 2**40  # more samples than this is what a live stream writes for "not known"


def decode(path: Path) -> tuple[np.ndarray, int, str]:
    """float32 (channels, samples), the rate in Hz and libsndfile's name of the kind of samples.

    libsndfile reads first; PyAV, where it is installed, reads what libsndfile cannot, and mp3 files that do
    not state their length. Raises what libsndfile raises, EOFError for a file that is cut, and UsageError for
    streams of ogg, one after the other, that are of several rates or numbers of channels.
    """
    if _mp3_without_length(path) and (found := _by_av(path)) is not None:
        return found
    try:
        wave, promised, rate, subtype = _by_soundfile(path)
    except (soundfile.SoundFileError, OSError, RuntimeError, ValueError):
        if path.suffix.lower() in KNOWN_TO_AV and (found := _by_av(path)) is not None:
            return found
        raise
    if wave.shape[1] < promised < _STREAMED or is_cut(path):
        raise EOFError(f"only {wave.shape[1] / rate:.2f} s of sound are there")
    return wave, rate, subtype


KNOWN_TO_AV = (".m4a", ".aac", ".webm", ".mp4", ".mka", ".wma", ".mp3", ".wav", ".flac", ".ogg", ".opus")


def _by_soundfile(path: Path) -> tuple[np.ndarray, int, int, str]:
    starts = _chained(path)
    if len(starts) < 2:
        return _one_by_soundfile(path)
    data = path.read_bytes()  # libsndfile stops at the end of the first stream
    parts = [_one_by_soundfile(io.BytesIO(data[a:b])) for a, b in pairwise([*starts, len(data)])]
    if len({(len(wave), rate) for wave, _, rate, _ in parts}) > 1:
        raise UsageError(f"{path}: its streams are of several rates or numbers of channels; split it.")
    wave = np.concatenate([part[0] for part in parts], axis=1)
    return wave, sum(part[1] for part in parts), parts[0][2], parts[0][3]


def _one_by_soundfile(source: Path | io.BytesIO) -> tuple[np.ndarray, int, int, str]:
    with soundfile.SoundFile(source) as file:
        blocks = []
        while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
            blocks.append(block)
        wave = np.concatenate(blocks) if blocks else np.zeros((0, file.channels), np.float32)
        promised = len(wave) if file.subtype == "GSM610" else file.frames
        return np.ascontiguousarray(wave.T), promised, file.samplerate, file.subtype


def _by_av(path: Path) -> tuple[np.ndarray, int, str] | None:
    """The first sound of a container, by FFmpeg; None where PyAV is missing or finds no sound."""
    try:
        import av
    except ImportError:
        return None
    try:
        with av.open(str(path)) as file:
            if not file.streams.audio:
                return None
            stream = file.streams.audio[0]
            to_float = av.AudioResampler(format="fltp")
            blocks = [
                cast("np.ndarray", part.to_ndarray())
                for frame in file.decode(stream)
                for part in to_float.resample(frame)
            ]
            rate = stream.rate
    except (av.FFmpegError, ValueError):
        return None
    return (np.concatenate(blocks, axis=1).astype(np.float32), int(rate), "FFMPEG") if blocks else None


def _mp3_without_length(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(10)
        if head[:3] == b"ID3":
            size = (head[6] & 127) << 21 | (head[7] & 127) << 14 | (head[8] & 127) << 7 | head[9] & 127
            file.seek(10 + size)
            head = file.read(10)
        first = head + file.read(1500)
    mp3 = len(first) > 1 and first[0] == 0xFF and first[1] & 0xE6 in (0xE2, 0xE6)
    return mp3 and not any(mark in first for mark in (b"Xing", b"Info", b"VBRI"))


def is_cut(path: Path) -> bool:
    """Whether the file ends inside its own sound: in a WAV's data chunk, or in a page of ogg."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] == b"RIFF" and head[8:] == b"WAVE":
            while len(chunk := file.read(8)) == 8:
                length = int.from_bytes(chunk[4:], "little")
                if chunk[:4] == b"data":  # the top of the range: written by a live stream
                    return length < 0x7FFF0000 and file.tell() + length > size
                file.seek(length + length % 2, 1)
            return False
        if head[:4] == b"OggS":
            file.seek(max(size - 65536 - 300, 0))
            return not _ends_with_whole_page(file.read())
    return False


def _chained(path: Path) -> list[int]:
    """Where each of the streams begins that follow one another in an ogg file (RFC 3533); [] for others.

    Streams that begin together, as the sound and the film of a video, are one.
    """
    starts: list[int] = []
    began, place = False, 0
    with path.open("rb") as file:
        while len(head := file.read(27)) == 27 and head[:4] == b"OggS":
            begins = bool(head[5] & 2)
            if begins and not began:
                starts.append(place)
            began = begins
            place += 27 + head[26] + sum(file.read(head[26]))
            file.seek(place)
    return starts


def _ends_with_whole_page(tail: bytes) -> bool:
    """Whether an ogg stream ends with a complete page (RFC 3533); the mark of the end may be missing."""
    start = tail.rfind(b"OggS")
    page = tail[start:]
    if start < 0 or len(page) < 27 or len(page) < 27 + page[26]:
        return False
    return len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])
