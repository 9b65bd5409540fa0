"""Atomic writes: a file or folder is whole or absent, never half written."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from polydiff.errors import PolydiffError

__all__ = ["atomic_write", "disk_errors", "sha256", "sweep"]

_TEMPORARY = ".writing-"


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """A temporary path to write to, renamed to `path` when the block ends without an error.

    It has the same name, in a hidden folder beside `path`, so that writers which look at the suffix work as
    usual. `path` may be a file or a folder; an older one is replaced. Raises PolydiffError in one line where
    the disk refuses.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(Path(folder) / "a.txt") as temporary:
    ...         _ = temporary.write_text("whole")
    ...     [p.name for p in Path(folder).iterdir()]
    ['a.txt']
    """
    path = Path(path)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        room = path.parent / f"{_TEMPORARY}{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"
        room.mkdir()
        try:
            temporary = room / path.name
            yield temporary
            if temporary.is_file():
                # safetensors makes files that only their owner may read; a model is for sharing
                temporary.chmod(temporary.stat().st_mode | room.stat().st_mode & 0o444)
                _to_disk(temporary)
            elif path.is_dir():
                os.replace(path, room / f"{path.name}.old")  # a folder cannot be replaced in one move
            os.replace(temporary, path)
            _to_disk(path.parent)  # the new name too
        finally:
            shutil.rmtree(room, ignore_errors=True)


@contextmanager
def disk_errors(path: str | Path) -> Iterator[None]:
    """Turn a full disk or a folder without permission into one clear line about `path`."""
    try:
        yield
    except OSError as error:
        raise PolydiffError(
            f"{path}: cannot be written ({error.strerror or error}). Choose another place or make room."
        ) from error


def sweep(folder: str | Path) -> None:
    """Remove the temporary files that killed processes of this machine left in a folder."""
    prefix = f"{_TEMPORARY}{socket.gethostname()}-"
    for room in Path(folder).glob(f"{prefix}*"):
        pid = room.name.removeprefix(prefix).split("-")[0]
        if pid.isdigit() and not _alive(int(pid)):
            shutil.rmtree(room, ignore_errors=True)


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file, in hexadecimal; of a folder, that of the names and sums of its files."""
    path = Path(path)
    if path.is_dir():
        sums = "".join(f"{p.name} {sha256(p)}\n" for p in sorted(path.iterdir()) if p.is_file())
        return hashlib.sha256(sums.encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _alive(pid: int) -> bool:
    if os.name == "nt":  # there, signal 0 would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _to_disk(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # there, a folder cannot be opened
        return
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
