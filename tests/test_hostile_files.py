"""What kills, strangers and damaged copies leave behind is read for what it is, or refused in one line."""

from __future__ import annotations

import contextlib
import gzip
import json
import struct
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polydiff.cli.output import printable
from polydiff.dataset import checked
from polydiff.errors import UsageError
from polydiff.models.manifest import check_weights
from polydiff.sampling.provenance import Provenance
from polydiff.support.archives import gunzip, read_npz
from polydiff.support.settings import check_sections, from_assignments


def _weights(path: Path, tensors: dict[str, tuple[str, int, int]], pad: int = 0, data: int = 8) -> Path:
    header = {
        name: {"dtype": d, "shape": [b - a], "data_offsets": [a, b]} for name, (d, a, b) in tensors.items()
    }
    text = json.dumps(header).encode()
    text += b" " * (pad - len(text))
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(data))
    return path


@pytest.mark.parametrize("length", [0x80, 0x180, 0x4B50])
def test_a_header_length_that_begins_like_a_pickle_or_a_zip_is_no_pickle(tmp_path: Path, length: int) -> None:
    path = _weights(tmp_path / "weights.safetensors", {"w": ("F32", 0, 8)}, pad=length)
    assert path.read_bytes()[:1] in (b"\x80", b"P")
    check_weights(path)


@pytest.mark.parametrize(
    "data", [b"\x80\x02}q\x00.", b"\x80\x04\x95\x10\0\0\0\0\0\0\0}", b"PK\x03\x04" + bytes(40)]
)
def test_pickles_are_still_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(data)
    with pytest.raises(UsageError, match="a pickle"):
        check_weights(path)


def test_overlapping_tensors_are_damage(tmp_path: Path) -> None:
    path = _weights(tmp_path / "weights.safetensors", {"a": ("F32", 0, 8), "b": ("F32", 4, 8)})
    with pytest.raises(UsageError, match="overlap"):
        check_weights(path)


@pytest.mark.parametrize("kind", ["I8", "BOOL", "C64", "U8"])
def test_weights_that_are_no_floats_are_refused(tmp_path: Path, kind: str) -> None:
    path = _weights(tmp_path / "weights.safetensors", {"a": (kind, 0, 8)})
    with pytest.raises(UsageError, match=f"'a' holds {kind}"):
        check_weights(path)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_as_weights_are_taken_or_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    path.write_bytes(struct.pack("<Q", len(data)) + data if len(data) % 2 else data)
    try:
        check_weights(path)
    except UsageError as error:
        assert str(error).startswith(str(path))  # noqa: PT017


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 300), st.integers(0, 255))
def test_a_damaged_npz_is_bad_input(tmp_path_factory: pytest.TempPathFactory, place: int, value: int) -> None:
    path = tmp_path_factory.getbasetemp() / "any.npz"
    np.savez_compressed(path, frames=np.arange(64, dtype=np.uint8))
    data = bytearray(path.read_bytes())
    data[place % len(data)] = value
    path.write_bytes(data)
    try:
        read_npz(path)
    except UsageError as error:
        assert str(error).startswith(str(path))  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017


def test_archives_are_bounded_before_they_are_unpacked(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "a.npz", "w", ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(2**20))
    with pytest.raises(UsageError, match="at most 0 are read"):
        read_npz(tmp_path / "a.npz", most=2**10)
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(2**22)))
    with pytest.raises(UsageError, match="more than 1 MiB"):
        gunzip(tmp_path / "a.gz", most=2**20)


def test_whatever_a_decoder_raises_is_a_file_passed_over(tmp_path: Path) -> None:
    def load(path: Path) -> None:
        if path.name == "bad":
            raise RuntimeError("decoder\nlost")

    data = checked([(tmp_path / "bad", {}), (tmp_path / "good", {})], load)
    assert data.report.skipped == ((str(tmp_path / "bad"), "cannot be read (RuntimeError: decoder lost)"),)


def _record(**values: object) -> Provenance:
    fields = {"domain": "d", "model_hash": "0", "seed": 1, "solver": "s", "grid": "g", "steps": 2}
    return Provenance.model_validate({**fields, "table": {"rows": [{"t": 1.0}, {"t": 0.5}]}, **values})


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=12) | st.sampled_from(["@0@", "@1@"]))
def test_a_record_comes_back_whatever_a_user_calls_things(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "record.json"
    record = _record(model=name.encode("utf-8", "ignore").decode(), conditions={"kind": "@0@"})
    record.write(path)
    assert Provenance.read(path) == record


def test_a_record_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps({**_record().model_dump(mode="json"), "schema_version": 99}))
    with pytest.raises(UsageError, match="written in schema 99"):
        Provenance.read(path)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_any_set_word_is_settings_or_bad_input(text: str) -> None:
    for word in (text, f"sampling.steps={text}", f"sampling={text}"):
        with contextlib.suppress(UsageError):
            check_sections(from_assignments([word]), ["sampling"], "--set")


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 5000])
def test_values_beyond_what_python_takes_are_bad_input(value: str) -> None:
    try:
        from_assignments([f"sampling.steps={value}"])
    except UsageError as error:
        assert "cannot be read" in str(error)  # noqa: PT017


@given(st.text())
def test_no_control_character_reaches_a_terminal(text: str) -> None:
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in printable(text))
