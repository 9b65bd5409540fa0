"""Making a sample again from its record, and comparing the two."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from polydiff.errors import PolydiffError, UsageError
from polydiff.model import Model, load
from polydiff.sampling.export import exporter_for
from polydiff.sampling.options import SamplingOptions
from polydiff.sampling.provenance import Provenance
from polydiff.sampling.samples import Sample
from polydiff.support.files import sha256


@dataclass(frozen=True)
class Replay:
    """A sample made again: `difference` from the file on disk as the domain measures it, and whether the
    two files are the same to the last byte."""

    sample: Sample
    original: Path
    difference: float
    identical: bool

    @property
    def agrees(self) -> bool:
        """Whether the difference is within what the domain calls equal."""
        return self.identical or self.difference <= self.sample.domain.tolerance


def replay(record_path: str | Path, model: str | Path | Model | None = None) -> Replay:
    """Make the sample of a record again, with the recorded table, seed, conditions and source.

    `model`: where the model is now, if not where it was. Raises UsageError where something that the record
    names is gone or has changed.
    """
    return replay_of(Provenance.read(record_path), Path(record_path), model)


def replay_of(record: Provenance, record_path: Path, model: str | Path | Model | None = None) -> Replay:
    """As `replay`, of a record that was read from `record_path` already."""
    original = record_path.with_name(record.file or record_path.name.removesuffix(".json"))
    if not original.exists():
        raise UsageError(f"{original}: the sample itself is gone; there is nothing to compare with.")
    if isinstance(model, Model):
        found = model
    elif model or record.model:
        found = load(model or record.model, record.domain)
    else:
        raise UsageError(f"{record_path}: made with a model that was not saved; give it with --model.")
    if found.hash != record.model_hash:
        raise PolydiffError(
            f"{found.ref or 'the model'}: not the model that made {original.name} (hash {found.hash[:12]}, "
            f"recorded {record.model_hash[:12]}). Give the right one with --model."
        )
    sample = _again(found, record)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / original.name
        if record.exporter:  # such a file need not be one that the domain can read
            exporter_for(record.domain, record.exporter).write(sample.example, copy)
            identical = sha256(copy) == sha256(original)
            return Replay(sample, original, 0.0 if identical else float("inf"), identical)
        found.domain.save(sample.example, copy)
        identical = sha256(copy) == sha256(original)
        difference = found.domain.distance(found.domain.load(copy), found.domain.load(original))
    return Replay(sample, original, difference, identical)


def _again(model: Model, record: Provenance) -> Sample:
    names = ("guidance", "guidance_options", "guidance_rescale", "guidance_interval")
    guidance = {name: getattr(record, name) for name in names}
    if record.guided_by:
        raise UsageError(f"This sample was guided by {record.guided_by}, a function that no record can hold.")
    source = record.source
    if source and not source.path:
        raise UsageError("The source of this sample was never a file, so it cannot be read again.")
    if source and not Path(source.path).exists():
        raise UsageError(f"{source.path}: the source of this sample is gone (paths count from this folder).")
    if source and sha256(source.path) != source.sha256:
        raise UsageError(f"{source.path}: not the source of this sample any more, the file has changed.")
    if source and source.target and sha256(source.target) != source.target_sha256:
        raise UsageError(f"{source.target}: not the file that this sample goes to any more, it has changed.")
    there = record.device == "cpu" or (record.device.startswith("cuda") and torch.cuda.is_available())
    options = replace(SamplingOptions.of_record(record), device=record.device if there else "cpu")
    [sample] = model.with_sampling(guidance).sample(options)
    return sample
