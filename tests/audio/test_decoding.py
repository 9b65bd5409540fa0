"""Files as other programs leave them: the stream is read to its end, whatever the header claims."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

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
