"""Files in and out: what comes back, what is refused and in which words."""

import os
import struct

import numpy as np
import pytest
import soundfile

from polydiff.errors import PolydiffError, UsageError
from polydiff_audio import files
from polydiff_audio.clip import AudioClip
from polydiff_audio.metrics import spectral_distance


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
@pytest.mark.parametrize("bits", [16, 24])
def test_lossless_files_come_back_bit_for_bit(tmp_path, suffix, bits):
    steps = np.random.default_rng(0).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (2, 3000))
    clip = AudioClip(steps / 2 ** (bits - 1), 22050)
    assert files.write(clip, tmp_path / f"a{suffix}", bits=bits) == []
    assert files.read(tmp_path / f"a{suffix}") == clip


def test_float_files_come_back_bit_for_bit(tmp_path, tone):
    clip = AudioClip(tone.waveform / np.float32(3), 8000)
    files.write(clip, tmp_path / "a.wav", bits=32)
    assert files.read(tmp_path / "a.wav") == clip


@pytest.mark.parametrize("suffix", [".ogg", ".mp3"])
def test_lossy_files_come_back_alike(tmp_path, suffix, clips):
    clip = AudioClip(np.tile(clips[0].waveform, 3), 8000)
    files.write(clip, tmp_path / f"a{suffix}")
    back = files.read(tmp_path / f"a{suffix}")
    assert back.sample_rate == 8000
    assert abs(back.duration - clip.duration) < 0.05
    assert spectral_distance(back, clip) < 6


def test_mp3_knows_only_some_rates(tmp_path):
    clip = AudioClip(np.sin(np.arange(7000) / 5) / 2, 7000)
    assert files.write(clip, tmp_path / "a.mp3") == ["mp3 has no rate of 7000 Hz: resampled to 8000 Hz"]


@pytest.mark.parametrize("suffix", files.SUFFIXES)
def test_nothing_written_clips(tmp_path, suffix):
    loud = AudioClip(np.random.default_rng(0).normal(0, 1, 8000), 8000)
    notes = files.write(loud, tmp_path / f"a{suffix}")
    assert "turned down" in notes[0]
    assert np.abs(soundfile.read(tmp_path / f"a{suffix}")[0]).max() < 1


def test_headroom_is_kept_when_asked_for(tmp_path, tone):
    files.write(tone, tmp_path / "a.wav", headroom_db=-12.0)
    assert files.read(tmp_path / "a.wav").peak == pytest.approx(10 ** (-12 / 20), abs=1e-3)


def refused(path) -> str:
    with pytest.raises(UsageError) as caught:
        files.read(path)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def test_what_is_not_audio_is_named(tmp_path):
    (tmp_path / "text.wav").write_text("dear reader\n")
    (tmp_path / "empty.wav").touch()
    (tmp_path / "noise.wav").write_bytes(os.urandom(500))
    assert "is a text file, not audio" in refused(tmp_path / "text.wav")
    assert "is empty (0 bytes)" in refused(tmp_path / "empty.wav")
    assert "not an audio file" in refused(tmp_path / "noise.wav")
    assert "does not exist" in refused(tmp_path / "none.wav")
    assert "is a folder" in refused(tmp_path)


def test_silence_and_nan_are_named(tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(4000), 8000)
    soundfile.write(tmp_path / "nan.wav", np.r_[np.ones(4000) / 2, np.nan], 8000, subtype="FLOAT")
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 8000)
    assert "is silent (0.50 s of zeros)" in refused(tmp_path / "silent.wav")
    assert "the first at 0.500 s" in refused(tmp_path / "nan.wav")
    assert "holds no samples" in refused(tmp_path / "none.wav")
    assert files.read(tmp_path / "silent.wav", allow_silent=True).peak == 0


@pytest.mark.parametrize("suffix", files.SUFFIXES)
@pytest.mark.parametrize("part", [0.02, 0.5, 0.95])
def test_cut_files_are_named(tmp_path, suffix, part):
    clip = AudioClip(np.random.default_rng(0).normal(0, 0.2, 16000), 8000)
    files.write(clip, tmp_path / f"whole{suffix}")
    data = (tmp_path / f"whole{suffix}").read_bytes()
    (tmp_path / f"cut{suffix}").write_bytes(data[: int(part * len(data))])
    assert any(
        word in refused(tmp_path / f"cut{suffix}") for word in ("truncated", "damaged", "not an audio")
    )


def test_a_stream_of_unknown_length_is_whole(tmp_path, tone):
    files.write(tone, tmp_path / "a.wav")
    data = bytearray((tmp_path / "a.wav").read_bytes())
    data[4:8] = data[40:44] = struct.pack("<I", 0xFFFFFFFF)  # as ffmpeg writes to a pipe
    (tmp_path / "a.wav").write_bytes(bytes(data))
    assert files.read(tmp_path / "a.wav") == tone


def test_other_kinds_of_samples_are_converted_with_a_note(tmp_path):
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, (9600, 6))
    soundfile.write(tmp_path / "six.wav", wave, 96000)
    soundfile.write(tmp_path / "eight.wav", wave[:, 0], 8000, subtype="PCM_U8")
    soundfile.write(tmp_path / "loud.wav", wave[:, 0] * 4, 8000, subtype="FLOAT")
    six = files.read(tmp_path / "six.wav", 8000, 1)
    assert six.notes == ("6 channels mixed to mono", "96000 Hz resampled to 8000 Hz")
    assert six.samples == 800
    assert "8-bit" in files.read(tmp_path / "eight.wav").notes[0]
    loud = files.read(tmp_path / "loud.wav")
    assert loud.peak == 1
    assert "scaled down" in loud.notes[0]


def test_what_cannot_be_written_is_named(tmp_path, tone):
    with pytest.raises(UsageError, match=r"Did you mean '.wav'"):
        files.write(tone, tmp_path / "a.wave")
    with pytest.raises(UsageError, match="32 bits"):
        files.write(tone, tmp_path / "a.flac", bits=32)
    (tmp_path / "file").touch()
    with pytest.raises(PolydiffError, match="cannot be written"):
        files.write(tone, tmp_path / "file" / "a.wav")


def test_a_failed_write_leaves_the_old_file(tmp_path, tone, monkeypatch):
    files.write(tone, tmp_path / "a.wav")
    before = (tmp_path / "a.wav").read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(PolydiffError, match="No space left"):
        files.write(AudioClip(-tone.waveform, 8000), tmp_path / "a.wav")
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
    assert (tmp_path / "a.wav").read_bytes() == before
