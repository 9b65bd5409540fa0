"""Audio files in and out, through soundfile: every failure is one line, every finished file is whole."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from polydiff.errors import UsageError, did_you_mean
from polydiff.support.files import atomic_write
from polydiff_audio.clip import AudioClip
from polydiff_audio.convert import resample, to_channels
from polydiff_audio.decoding import decode
from polydiff_audio.loudness import HEADROOM_DB, amplitude, decibels

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")  # written
READ = (
    *SUFFIXES, ".aif", ".aiff", ".au", ".caf", ".w64", ".opus", ".oga", ".m4a", ".aac", ".webm", ".mka",
)  # fmt: skip
_FORMATS = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".mp3": "MP3"}
_LOSSY = (".ogg", ".mp3")
_SUBTYPES = {16: "PCM_16", 24: "PCM_24", 32: "FLOAT"}
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_SILENCE = 1e-5  # -100 dBFS: below the last bit of a 16-bit file


def read(
    path: str | os.PathLike[str],
    sample_rate: int | None = None,
    channels: int | None = None,
    *,
    allow_silent: bool = False,
) -> AudioClip:
    """Read a file; convert to `sample_rate` (Hz) and `channels` if given, each conversion noted in the clip.

    Raises UsageError, one line, for a missing, empty, truncated, silent or not finite file, and for a file
    that is not audio.
    """
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{path} is a folder, not an audio file.")
    if not path.exists():
        raise UsageError(f"{path} does not exist.")
    if path.stat().st_size == 0:
        raise UsageError(f"{path} is empty (0 bytes); record or copy it again.")
    try:
        wave, rate, subtype = decode(path)
    except EOFError as error:
        raise UsageError(f"{path} is truncated: {error}; copy it again.") from error
    except (soundfile.SoundFileError, OSError, RuntimeError, ValueError, MemoryError) as error:
        raise UsageError(_why_unreadable(path, error)) from error
    if wave.shape[1] == 0:
        raise UsageError(f"{path} holds no samples; record or copy it again.")
    bad = ~np.isfinite(wave).all(0)
    if bad.any():
        raise UsageError(
            f"{path} holds NaN or infinite samples, the first at {bad.argmax() / rate:.3f} s; repair it."
        )
    if not allow_silent and np.abs(wave).max() < _SILENCE:
        raise UsageError(
            f"{path} is silent ({wave.shape[1] / rate:.2f} s of zeros); choose a file with sound."
        )
    notes = []
    if subtype in ("PCM_U8", "PCM_S8", "ULAW", "ALAW"):
        notes.append("8-bit samples: quantisation noise is part of the sound")
    peak = float(np.abs(wave).max())
    if peak > 1:
        notes.append(f"samples up to {peak:.2f} scaled down into [-1, 1]")
        wave = wave / np.float32(peak)
    clip = AudioClip(wave, rate, tuple(notes))
    clip = clip if channels is None else to_channels(clip, channels)
    return clip if sample_rate is None else resample(clip, sample_rate)


def write(
    clip: AudioClip, path: str | os.PathLike[str], *, bits: int = 16, headroom_db: float | None = None
) -> list[str]:
    """Write a clip in the format of the suffix, atomically; returns visible notes.

    bits: 16, 24 (integer) or 32 (float, wav only). headroom_db: turn the clip down so that its peak lies at
    most there, say -1.0; by default only a clip that would clip is turned down. A clip that was read from a
    16-bit file comes back bit for bit in wav and flac.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        raise UsageError(
            f"Cannot write {path.name}: choose one of {', '.join(SUFFIXES)}.{did_you_mean(suffix, SUFFIXES)}"
        )
    if bits not in _SUBTYPES or (bits == 32 and suffix == ".flac"):
        raise UsageError(
            f"{bits} bits cannot be written to {suffix}; choose 16 or 24 (32 is float, wav only)."
        )
    notes: list[str] = []
    if suffix == ".mp3" and clip.sample_rate not in _MP3_RATES:
        target = next((rate for rate in _MP3_RATES if rate >= clip.sample_rate), _MP3_RATES[-1])
        notes.append(f"mp3 has no rate of {clip.sample_rate} Hz: resampled to {target} Hz")
        clip = resample(clip, target)
    if suffix in _LOSSY:
        data, turned_down = _encode_lossy(clip, suffix, HEADROOM_DB if headroom_db is None else headroom_db)
    else:
        clip, turned_down = _peak_safe(clip, headroom_db)
        data = _encode(clip, suffix, bits)
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
    return notes + turned_down


def to_bytes(clip: AudioClip, suffix: str = ".wav", bits: int = 16) -> bytes:
    """The clip as the bytes of a file, turned down if it would clip."""
    return _encode(_peak_safe(clip, None)[0], suffix, bits)


def _encode_lossy(clip: AudioClip, suffix: str, headroom_db: float) -> tuple[bytes, list[str]]:
    """Lossy codecs overshoot: what was encoded is decoded, and turned down further if it clips."""
    safe, notes = _peak_safe(clip, headroom_db)
    while True:
        data = _encode(safe, suffix, 16)
        peak = float(np.abs(soundfile.read(io.BytesIO(data))[0]).max())
        if peak < 1:
            return data, notes
        safe, notes = _peak_safe(clip, decibels(0.98 * safe.peak / peak))


def _encode(clip: AudioClip, suffix: str, bits: int) -> bytes:
    data = clip.waveform.T
    lossy = suffix in _LOSSY
    if not lossy and bits < 32:
        # libsndfile scales floats by 2^15 - 1 on the way out but by 2^15 on the way in; integers written as
        # such make the round trip exact. 24 bits travel in the upper part of 32.
        full = 2.0 ** (bits - 1)
        whole = np.clip(np.rint(data.astype(np.float64) * full), -full, full - 1)
        data = whole.astype(np.int16) if bits == 16 else (whole.astype(np.int64) << 8).astype(np.int32)
    buffer = io.BytesIO()
    soundfile.write(
        buffer, data, clip.sample_rate, format=_FORMATS[suffix], subtype=None if lossy else _SUBTYPES[bits]
    )
    return buffer.getvalue()


def _peak_safe(clip: AudioClip, headroom_db: float | None) -> tuple[AudioClip, list[str]]:
    ceiling = 1.0 if headroom_db is None else amplitude(headroom_db)
    if clip.peak <= ceiling:
        return clip, []
    gain = (amplitude(HEADROOM_DB) if headroom_db is None else ceiling) / clip.peak
    level = decibels(clip.peak * gain)
    note = f"turned down by {-decibels(gain):.1f} dB to keep the peak at {level:.1f} dBFS"
    return replace(clip, waveform=clip.waveform * np.float32(gain)), [note]


def _why_unreadable(path: Path, error: Exception) -> str:
    head = path.read_bytes()[:512] if os.access(path, os.R_OK) else b""
    if not head:
        return f"{path} cannot be read: {getattr(error, 'strerror', None) or error}."
    if head.startswith((b"RIFF", b"fLaC", b"OggS", b"ID3")):
        return f"{path} is a damaged or truncated audio file ({_detail(error)}); copy it again."
    text = all(byte >= 32 or byte in b"\t\r\n\f" for byte in head)
    what = "is a text file, not audio" if text else "is not an audio file that libsndfile can read"
    return f"{path} {what}; give a {', '.join(SUFFIXES)} file."


def _detail(error: Exception) -> str:
    return str(error).split(": ", 1)[-1].strip().rstrip(".")
