"""Compressed files of others: read within bounds, so that a small file cannot fill the memory."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np

from polydiff.errors import UsageError

__all__ = ["gunzip", "read_npz"]

MOST_TEXT = 2**30
"""Bytes that a compressed text may unpack to."""

MOST_ARRAYS = 2**36
"""Bytes that an archive of arrays may say that it holds."""


def gunzip(path: Path, most: int = MOST_TEXT) -> bytes:
    """The bytes in a gz file. Raises UsageError where it is none, is cut short, or has more than `most`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "a.gz"
    ...     _ = path.write_bytes(gzip.compress(b"abc"))
    ...     gunzip(path)
    b'abc'
    """
    try:
        with gzip.open(path) as file:
            data = file.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path}: is no gzip file, or not a whole one; copy it again.") from error
    if len(data) > most:
        raise UsageError(f"{path}: unpacks to more than {most >> 20} MiB; unpack and split it.")
    return data


def read_npz(path: Path, most: int = MOST_ARRAYS) -> dict[str, Any]:
    """The arrays of a .npz file by name. Raises UsageError where it is none, damaged or too large.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "a.npz"
    ...     np.savez(path, x=np.arange(3))
    ...     read_npz(path)
    {'x': array([0, 1, 2])}
    """
    try:
        with ZipFile(path) as archive:  # numpy would take a lone array or a pickle by the same suffix
            size = sum(entry.file_size for entry in archive.infolist())
        if size > most:
            raise ValueError(f"it unpacks to {size >> 20} MiB, and at most {most >> 20} are read")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except Exception as error:  # of zip, of zlib, of numpy's own header
        raise UsageError(f"{path}: cannot be read, not a .npz file of arrays ({_brief(error)}).") from error


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
