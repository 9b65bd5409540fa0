"""Samples: generated examples with their provenance, which save and show themselves."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

from polydiff.dataset import Dataset, checked
from polydiff.domain import Domain
from polydiff.errors import UsageError, did_you_mean
from polydiff.sampling.export import Exporter
from polydiff.sampling.provenance import Provenance, manifest_path
from polydiff.support.files import atomic_write, sha256


@dataclass(frozen=True)
class Sample:
    """One generated example with its provenance."""

    example: Any
    provenance: Provenance
    domain: Domain

    @property
    def seed(self) -> int:
        """The seed that makes this sample, whatever run it came from."""
        return self.provenance.seed

    @property
    def title(self) -> str:
        """A short caption: what was asked for, and the seed."""
        asked = " ".join(_short(value) for value in self.provenance.conditions.values() if value is not None)
        return f"{asked} · seed {self.seed}".removeprefix(" · ")

    def save(self, path: str | Path, exporter: Exporter | None = None) -> list[str]:
        """Write the file and, beside it, `path`.json with the provenance. Returns the notes of the domain, or
        of the exporter that writes in its stead."""
        return list(self.write(path, exporter).notes[len(self.provenance.notes) :])

    def write(self, path: str | Path, exporter: Exporter | None = None) -> Provenance:
        """As `save`, and returns the record as it was written."""
        path = Path(path)
        if exporter is None and path.suffix.lower() not in self.domain.suffixes:
            hint = did_you_mean(path.suffix, self.domain.suffixes)
            raise UsageError(
                f"{path}: {self.domain.name} samples are written as {' '.join(self.domain.suffixes)}.{hint}"
            )
        with atomic_write(path) as temporary:
            notes = (exporter.write if exporter else self.domain.save)(self.example, temporary)
        facts = {"file": path.name, "sha256": sha256(path), "notes": (*self.provenance.notes, *notes)}
        if exporter:
            facts["exporter"] = exporter.info.full_name
        record = self.provenance.model_copy(update=facts)
        record.write(manifest_path(path))
        return record

    def preview(self) -> bytes:
        """A PNG picture."""
        return self.domain.preview(self.example)

    def _repr_html_(self) -> str:
        picture = base64.b64encode(self.preview()).decode()
        inner = getattr(self.example, "_repr_html_", str)()
        return (
            f'<figure style="display:inline-block;margin:4px"><img src="data:image/png;base64,{picture}"/>'
            f"{inner}<figcaption>{html.escape(self.title)}</figcaption></figure>"
        )


class Samples(Sequence[Sample]):
    """A list of samples of one run."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._samples = tuple(samples)

    def __len__(self) -> int:
        return len(self._samples)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Samples: ...
    def __getitem__(self, index: int | slice) -> Sample | Samples:
        return Samples(self._samples[index]) if isinstance(index, slice) else self._samples[index]

    def __iter__(self) -> Iterator[Sample]:
        return iter(self._samples)

    def __repr__(self) -> str:
        return f"Samples({[sample.title for sample in self]})"

    @property
    def examples(self) -> list[Any]:
        """The bare examples."""
        return [sample.example for sample in self]

    def dataset(self) -> Dataset:
        """The samples with their conditions and records, as `Domain.evaluate` wants them."""
        found = Dataset.of(self.examples, [sample.provenance.conditions for sample in self])
        records = [sample.provenance.model_dump() for sample in self]
        return Dataset(replace(item, record=record) for item, record in zip(found, records, strict=True))

    def save(self, folder: str | Path, suffix: str | None = None) -> list[Path]:
        """Write 0000, 0001, ... with provenance and `contact.png`; returns the paths of the samples."""
        paths = []
        for sample in self:
            path = Path(folder) / sample_name(sample.provenance.index, suffix or sample.domain.suffixes[0])
            sample.save(path)
            paths.append(path)
        if self:
            with atomic_write(Path(folder) / "contact.png") as temporary:
                temporary.write_bytes(self.contact_sheet())
        return paths

    def contact_sheet(self) -> bytes:
        """All samples as one PNG picture."""
        return self[0].domain.contact_sheet(self.examples, [sample.title for sample in self])

    def _repr_html_(self) -> str:
        return "".join(sample._repr_html_() for sample in self)


def read_folder(domain: Domain, folder: str | Path, options: Mapping[str, Any] | None = None) -> Dataset:
    """The files of a folder with their conditions: from provenance files where there are any, else as the
    domain reads training data (with its `options`)."""
    records = [path for path in sorted(Path(folder).glob("*.json")) if path.with_suffix("").exists()]
    if not records:
        return domain.dataset(folder, **(options or {}))
    known = {str(path.with_suffix("")): Provenance.read(path).model_dump() for path in records}
    found = checked([(Path(path), dict(record["conditions"])) for path, record in known.items()], domain.load)
    return Dataset([replace(item, record=known[item.source]) for item in found], found.report)


def sample_name(index: int, suffix: str) -> str:
    """The file name of sample `index` in a folder.

    >>> sample_name(3, ".wav")
    '0003.wav'
    """
    return f"{index:04d}{suffix}"


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "+".join(f"{name}:{weight:g}" for name, weight in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)
