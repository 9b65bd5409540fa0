"""Files as other programs leave them: the stream is read to its end, whatever the header claims."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from polydiff.cli.main import main
from polydiff.errors import UsageError
from polydiff_audio import files
from polydiff_audio.clip import AudioClip
from polydiff_audio.convert import to_channels
from polydiff_audio.data import read_dataset

WAVE = (0.3 * np.sin(np.arange(24000) * 0.2)).astype(np.float32)


def test_flac_from_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "x.flac"
    soundfile.write(path, WAVE, 16000)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0
    data[22:42] = bytes(20)  # samples and checksum unknown
    path.write_bytes(data)
    assert files.read(path).samples == 24000


def test_gsm_is_read_for_training(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", WAVE, 8000, subtype="GSM610")
    assert read_dataset(tmp_path, trim=False)[0].load().samples >= 24000


@pytest.mark.parametrize("off", [8, -20, 1000])
def test_wrong_riff_size(tmp_path: Path, off: int) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, WAVE, 16000)
    data = bytearray(path.read_bytes())
    data[4:8] = struct.pack("<I", len(data) - 8 + off)
    path.write_bytes(data)
    assert files.read(path).samples == 24000


def test_cut_data_is_truncated(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, WAVE, 16000)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UsageError, match="truncated"):
        files.read(path)


def test_ogg_without_mark_of_its_end(tmp_path: Path) -> None:
    path = tmp_path / "x.ogg"
    soundfile.write(path, WAVE, 16000)
    data = bytearray(path.read_bytes())
    last = data.rfind(b"OggS")
    data[last + 5] &= ~4
    data[last + 22 : last + 26] = bytes(4)
    crc = 0
    for byte in data[last:]:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    data[last + 22 : last + 26] = struct.pack("<I", crc)
    path.write_bytes(data)
    assert files.read(path).samples == pytest.approx(24000, abs=1100)


@pytest.mark.parametrize("suffix", [".aiff", ".au", ".caf", ".w64"])
def test_training_and_sources_read_the_same(tmp_path: Path, suffix: str) -> None:
    soundfile.write(tmp_path / f"x{suffix}", WAVE, 16000)
    assert files.read(tmp_path / f"x{suffix}").samples == 24000
    assert read_dataset(tmp_path)[0].source.endswith(suffix)


def test_channels_that_cancel_are_not_mixed() -> None:
    clip = to_channels(AudioClip(np.stack([WAVE, -WAVE]), 16000), 1)
    assert clip.peak == pytest.approx(0.3, abs=1e-3)
    assert "out of phase" in clip.notes[0]


@pytest.mark.parametrize("window", [0.0, -1.0, 1e9])
def test_window_has_bounds(tmp_path: Path, window: float) -> None:
    with pytest.raises(UsageError, match=r"data\.window"):
        read_dataset(tmp_path, window=window)


def encoded(path: Path, wave: np.ndarray = WAVE) -> bytes:
    soundfile.write(path, wave, 16000)
    return path.read_bytes()


def test_mp3_inside_a_wav(tmp_path: Path) -> None:
    """As some recorders write it: the format tag 0x55, and whole mp3 frames as data."""
    sound = encoded(tmp_path / "x.mp3")
    more = struct.pack("<HIHHH", 1, 2, 576, 1, 1393)
    form = struct.pack("<HHIIHHH", 0x55, 1, 16000, 8000, 1, 0, len(more)) + more
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(sound)) + sound
    (tmp_path / "x.wav").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    clip, alone = files.read(tmp_path / "x.wav"), files.read(tmp_path / "x.mp3")
    assert clip.sample_rate == 16000
    assert clip.samples == pytest.approx(24000, abs=2400)
    assert clip.peak == pytest.approx(alone.peak, abs=0.03)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_chained_ogg(tmp_path: Path, order: tuple[int, int]) -> None:
    """Streams one after the other, as radio recorders leave them, are one sound."""
    parts = [encoded(tmp_path / "a.ogg"), encoded(tmp_path / "b.ogg", WAVE[:16000])]
    (tmp_path / "x.ogg").write_bytes(b"".join(parts[i] for i in order))
    clip = files.read(tmp_path / "x.ogg")
    assert clip.samples == pytest.approx(40000, abs=1100)
    assert np.abs(clip.waveform[:, -8000:]).max() == pytest.approx(0.3, abs=0.05)


def test_chained_ogg_of_two_rates(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "b.ogg", WAVE, 8000)
    parts = encoded(tmp_path / "a.ogg") + (tmp_path / "b.ogg").read_bytes()
    (tmp_path / "x.ogg").write_bytes(parts)
    with pytest.raises(UsageError, match="several rates"):
        files.read(tmp_path / "x.ogg")


def test_chained_ogg_cut_in_its_last_stream(tmp_path: Path) -> None:
    data = encoded(tmp_path / "a.ogg") + encoded(tmp_path / "b.ogg")
    (tmp_path / "x.ogg").write_bytes(data[:-700])
    with pytest.raises(UsageError, match="truncated"):
        files.read(tmp_path / "x.ogg")


@pytest.mark.parametrize(
    ("size", "samples"),
    [(0xFFFFFFFF, 24000), (0x7FFFFFFF, 24000), (20000, 10000)],
    ids=["unknown", "unknown-signed", "less"],
)
def test_wrong_data_size(tmp_path: Path, size: int, samples: int) -> None:
    """A live stream's sizes mean the end of the file; a size that is too small is believed."""
    data = bytearray(encoded(tmp_path / "x.wav"))
    place = data.find(b"data") + 4
    data[place : place + 4] = struct.pack("<I", size)
    (tmp_path / "x.wav").write_bytes(data)
    assert files.read(tmp_path / "x.wav").samples == samples


def test_data_size_beyond_the_file(tmp_path: Path) -> None:
    data = bytearray(encoded(tmp_path / "x.wav"))
    place = data.find(b"data") + 4
    data[place : place + 4] = struct.pack("<I", 60000)
    (tmp_path / "x.wav").write_bytes(data)
    with pytest.raises(UsageError, match="truncated"):
        files.read(tmp_path / "x.wav")


@pytest.mark.parametrize("suffix", ["aiff", "au", "caf"])
def test_a_source_in_other_containers(tmp_path: Path, suffix: str) -> None:
    encoded(tmp_path / f"x.{suffix}", WAVE[:8000])
    words = ["--strength", "0.5", "-n", "1", "--steps", "2", "--seed", "0", "-o", str(tmp_path / "out.wav")]
    assert main(["sample", "audio", "--from", str(tmp_path / f"x.{suffix}"), *words]) == 0
    made = files.read(tmp_path / "out.wav")
    assert made.duration == pytest.approx(0.5, abs=0.05)
    assert made.peak > 0.01
