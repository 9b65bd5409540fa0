"""Files are whole or absent."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from polydiff.errors import PolydiffError
from polydiff.support.files import atomic_write, sweep


def test_what_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_is_replaced(tmp_path: Path) -> None:
    for text in ("one", "two"):
        with atomic_write(tmp_path / "deep" / "model") as temporary:
            temporary.mkdir()
            (temporary / "x").write_text(text)
    assert (tmp_path / "deep" / "model" / "x").read_text() == "two"
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["model"]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(PolydiffError, match="cannot be written") as error,
        atomic_write(tmp_path / "file" / "x"),
    ):
        pass
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 1


def test_what_the_killed_left_behind_is_swept(tmp_path: Path) -> None:
    code = """
import os, sys
from polydiff.support.files import atomic_write
with atomic_write(sys.argv[1]) as temporary:
    temporary.write_text("half")
    os._exit(9)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "x")], check=False)
    alive = tmp_path / f".writing-{socket.gethostname()}-{os.getpid()}-0"
    alive.mkdir()
    assert len(list(tmp_path.iterdir())) == 2
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [alive]
