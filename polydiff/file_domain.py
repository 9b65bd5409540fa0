"""Domains whose examples are files: a table of formats, and example types that save and show themselves."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, ClassVar

from polydiff.domain import Domain
from polydiff.errors import UsageError, did_you_mean

__all__ = ["FileDomain", "FileExample", "Format"]


@dataclass(frozen=True)
class Format:
    """The functions for files of one suffix. read: (path) -> example. write: (example, path, **options) ->
    notes on what had to be changed; None where such files are only read."""

    read: Callable[..., Any]
    write: Callable[..., list[str]] | None = None


class FileDomain(Domain):
    """A domain with a table of file formats, whose example type is a FileExample.

    Drawing functions are named "package.module:function", so that their libraries are imported only where
    something is drawn.
    """

    formats: ClassVar[Mapping[str, Format]]  # by suffix, the preferred one first; gives suffixes, also_reads
    picture: ClassVar[str]  # (example) -> bytes of a PNG
    sheet: ClassVar[str] = ""  # (examples, titles) -> bytes of a PNG; by default the pictures in a grid
    notebook: ClassVar[str] = ""  # (example) -> HTML; by default the picture

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        own = vars(cls)
        if "formats" in own:
            written = tuple(suffix for suffix, form in cls.formats.items() if form.write)
            cls.suffixes = own.get("suffixes", written)
            cls.also_reads = tuple(suffix for suffix in cls.formats if suffix not in cls.suffixes)

    def load(self, path: str | Path) -> Any:
        """Read one file; one whose suffix says nothing is read as the preferred format."""
        preferred = self.formats[self.suffixes[0]]
        return self.formats.get(Path(path).suffix.lower(), preferred).read(path)

    def save(self, example: Any, path: str | Path) -> list[str]:
        """Write one file; the notes of the example come before those on how it was written."""
        return [*example.notes, *self.write(example, path)]

    @classmethod
    def write(cls, example: Any, path: str | os.PathLike[str], **options: Any) -> list[str]:
        """Write one file by its suffix, with options of its format; returns notes on how it was written."""
        suffix = Path(path).suffix.lower()
        form = cls.formats.get(suffix)
        if form is None or form.write is None:
            hint = did_you_mean(suffix, cls.suffixes)
            raise UsageError(f"Cannot write {path}: choose one of {', '.join(cls.suffixes)}.{hint}")
        return form.write(example, path, **options)

    def preview(self, example: Any) -> bytes:
        return self.drawn(example)

    def contact_sheet(self, examples: Sequence[Any], titles: Sequence[str]) -> bytes:
        if not self.sheet:
            return super().contact_sheet(examples, titles)
        picture: bytes = resolve_name(self.sheet)(examples, titles)
        return picture

    @classmethod
    def drawn(cls, example: Any) -> bytes:
        """One example as a PNG picture."""
        picture: bytes = resolve_name(cls.picture)(example)
        return picture

    @classmethod
    def embedded(cls, example: Any) -> str:
        """One example as HTML for a notebook, which needs no file beside it."""
        if cls.notebook:
            return str(resolve_name(cls.notebook)(example))
        return f'<img src="data:image/png;base64,{base64.b64encode(cls.drawn(example)).decode("ascii")}"/>'


class FileExample:
    """The base of the example type of a FileDomain: what a user has in hand saves and shows itself.

    The domain is named, not imported: it imports the example type, and so do the files and the pictures.
    """

    domain: ClassVar[str]  # "package.module:Name" of the FileDomain

    def save(self, path: str | os.PathLike[str], **options: Any) -> list[str]:
        """Write to a file by its suffix; options are those of the format. Returns notes on what had to be
        changed. Raises UsageError for a suffix that the domain does not write."""
        return self._kind().write(self, path, **options)

    def preview(self) -> bytes:
        """A PNG picture."""
        return self._kind().drawn(self)

    def _repr_html_(self) -> str:
        """The example in a notebook."""
        return self._kind().embedded(self)

    def _kind(self) -> type[FileDomain]:
        found: type[FileDomain] = resolve_name(self.domain)
        return found
