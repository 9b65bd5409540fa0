"""Sounds to learn from: folders, tables and the arrays of a .npz file as a Dataset of AudioClips.

Every clip is brought to a peak of -1 dBFS: levels of recordings differ by 20 dB and more between people and
microphones, and a network would spend itself on learning that.
"""

from __future__ import annotations

import operator
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from polydiff.dataset import DataReport, Dataset, Item, fault, labelled_files
from polydiff.errors import UsageError, did_you_mean
from polydiff.support.archives import read_npz
from polydiff_audio import files
from polydiff_audio.clip import AudioClip
from polydiff_audio.loudness import normalise

Labels = Mapping[str, Any]
_HELD_BYTES = 2**28  # clips stay in memory up to this size in all, and are read again beyond it


def read_dataset(
    folder: str | Path,
    pattern: str | None = None,
    *,
    labels: Iterable[str] | Mapping[str, str] | None = None,
    where: str | None = None,
    window: float = 10.0,
    trim: bool = True,
) -> Dataset:
    """Labelled clips from a folder of sound files (`files.READ`), or from a .npz file.

    Args:
        folder: a folder (labels as polydiff.dataset.labelled_files has it: metadata.csv or metadata.jsonl, a
            pattern, the names of folders), or a .npz file with an array `wave` (clips, samples) of integers
            or floats, `sample_rate` or a name that ends in the rate ("digits_8k.npz"), optional `length`,
            and one array a label.
        pattern: names of files, such as "{digit}_{speaker}_{take}.wav".
        labels: which labels to keep; a mapping {new name: name} also renames. By default all.
        where: which clips to keep, by their labels: "take >= 10 and speaker != theo".
        window: seconds; longer files are cut into pieces of this length.
        trim: cut off silence (60 dB under the peak) at the ends of clips, but leave 0.05 s of sound.

    What cannot be read is skipped and named in the report. Raises UsageError in one line where nothing is
    left, or where an argument names a label that the data does not have.
    """
    path = Path(folder)
    if not 0.01 <= window <= 3600:
        raise UsageError(f"data.window: seconds of a piece, from 0.01 to 3600, not {window:g}.")
    if path.suffix == ".npz":
        rows, skipped = _npz_rows(path, trim)
    else:
        pattern = pattern and re.sub(
            rf"({'|'.join(map(re.escape, sorted(files.READ, key=len, reverse=True)))})$", "", pattern
        )
        listed = labelled_files(path, files.READ, "label", pattern)
        rows, skipped = _file_rows(listed, window, trim)
    rows = _chosen(rows, where)
    if not rows:
        why = f"; the first: {skipped[0][1]}" if skipped else f" where {where}" if where else ""
        raise UsageError(f"{path}: no usable audio in it{why}")
    keep = _kept_names(rows, labels)
    items = [
        Item(row.load, {new: row.labels[old] for new, old in keep.items() if old in row.labels}, row.source)
        for row in rows
    ]
    return Dataset(items, DataReport(len(items), tuple(skipped), _details(rows, skipped)))


@dataclass(frozen=True)
class Row:
    """One clip, how to get it, and what the report needs to know of it."""

    load: Callable[[], AudioClip]
    labels: Labels
    source: str
    sample_rate: int
    channels: int
    duration: float
    clipped: int


def sounding(wave: np.ndarray, sample_rate: int) -> int:
    """How many samples there are up to the last that is not 60 dB under the peak, at least 0.05 s of them.

    >>> sounding(np.array([[0.0, 0.5, 1.0, 0.5, 0.0, 0.0]]), 20)
    4
    """
    level = np.abs(wave).max(0)
    loud = np.flatnonzero(level > 1e-3 * level.max())
    return max(int(loud[-1]) + 1 if len(loud) else 0, round(0.05 * sample_rate))


def clipped_samples(wave: np.ndarray) -> int:
    """Samples in flat tops, the mark of a clipped recording: two neighbours or more at full scale, or four or
    more at the clip's own peak, where it was clipped first and turned down later.

    >>> clipped_samples(np.array([[0.0, 1.0, 1.0, 0.5, -1.0, 0.0]]))
    2
    >>> clipped_samples(0.5 * np.array([[0.0, 1.0, 1.0, 1.0, 1.0, 0.0]]))
    4
    """
    level = np.abs(np.atleast_2d(wave))
    flat = level >= max(float(level.max()) * (1 - 1e-6), 1e-4)
    return int(
        sum((_runs(row >= 1 - 2**-14, 2) | _runs(top, 4)).sum() for row, top in zip(level, flat, strict=True))
    )


def _runs(mask: np.ndarray, least: int) -> np.ndarray:
    """Where `mask` is True for at least so many neighbours."""
    starts = np.convolve(mask, np.ones(least), "valid") == least if len(mask) >= least else np.zeros(0, bool)
    return np.convolve(starts, np.ones(least)) > 0 if len(starts) else np.zeros(len(mask), bool)


def _file_rows(
    listed: Iterable[tuple[Path, Labels]], window: float, trim: bool
) -> tuple[list[Row], list[tuple[str, str]]]:
    rows: list[Row] = []
    skipped: list[tuple[str, str]] = []
    held = 0
    for path, labels in listed:
        try:
            whole = _read(path, trim)
        except Exception as error:  # whatever a damaged file provokes in a decoder
            skipped.append((str(path), fault(error).removeprefix(f"{path} ")))
            continue
        held += whole.waveform.nbytes
        clipped = clipped_samples(whole.waveform)
        size = max(round(window * whole.sample_rate), 1)
        starts = range(0, whole.samples, size)
        if len(starts) > 1 and whole.samples - starts[-1] < size // 2:
            starts = starts[:-1]  # no crumbs
        for start in starts:
            piece = slice(start, start + size)
            if len(starts) > 1 and np.abs(whole.waveform[:, piece]).max() < 0.01 * whole.peak:
                continue  # a pause
            clip = _piece(whole, piece)
            load = _constant(clip) if held <= _HELD_BYTES else _reader(path, trim, piece)
            source = f"{path} from {start / whole.sample_rate:.2f} s" if len(starts) > 1 else str(path)
            rows.append(Row(load, labels, source, clip.sample_rate, clip.channels, clip.duration, clipped))
            clipped = 0
    return rows, skipped


def _piece(whole: AudioClip, piece: slice) -> AudioClip:
    clip = normalise(whole, "peak")
    return clip if piece.stop >= whole.samples and not piece.start else _cut(clip, piece)


def _cut(clip: AudioClip, piece: slice) -> AudioClip:
    return replace(clip, waveform=clip.waveform[:, piece])


def _constant(clip: AudioClip) -> Callable[[], AudioClip]:
    return lambda: clip


def _reader(path: Path, trim: bool, piece: slice) -> Callable[[], AudioClip]:
    return lambda: _piece(_read(path, trim), piece)


def _read(path: Path, trim: bool) -> AudioClip:
    clip = files.read(path)
    return _cut(clip, slice(0, sounding(clip.waveform, clip.sample_rate))) if trim else clip


def _npz_rows(path: Path, trim: bool) -> tuple[list[Row], list[tuple[str, str]]]:
    if not path.is_file():
        raise UsageError(f"{path}: no such file. Give the folder or the .npz file that holds the clips.")
    arrays = read_npz(path)
    if "wave" not in arrays or arrays["wave"].ndim not in (2, 3):
        raise UsageError(f"{path}: needs an array `wave` (clips, samples) or (clips, channels, samples).")
    waves = arrays.pop("wave")
    rate = _npz_rate(path, arrays.pop("sample_rate", None))
    lengths = arrays.pop("length", np.full(len(waves), waves.shape[-1]))
    columns = {
        name: [_plain(arrays[f"{name}s"][i]) for i in values] if f"{name}s" in arrays else _plain(values)
        for name, values in arrays.items()
        if values.shape == (len(waves),)
    }
    rows: list[Row] = []
    skipped: list[tuple[str, str]] = []
    full = 2.0 ** (8 * waves.dtype.itemsize - 1) if waves.dtype.kind == "i" else 1.0
    for i, wave in enumerate(waves):
        cut = np.atleast_2d(wave)[:, : int(lengths[i])]
        if not np.isfinite(cut).all() or not cut.any():
            skipped.append(
                (f"{path}[{i}]", "is silent" if not cut.any() else "holds NaN or infinite samples")
            )
            continue
        cut = cut[:, : sounding(cut / full, rate)] if trim else cut

        def load(cut: np.ndarray = cut) -> AudioClip:
            return normalise(AudioClip((cut / full).astype(np.float32), rate), "peak")

        labels = {name: values[i] for name, values in columns.items()}
        clipped = clipped_samples(cut / np.float32(full))
        rows.append(Row(load, labels, f"{path}[{i}]", rate, len(cut), cut.shape[1] / rate, clipped))
    return rows, skipped


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _npz_rate(path: Path, given: Any) -> int:
    named = re.search(r"_(\d+)k\b", path.stem)
    if given is None and not named:
        raise UsageError(f"{path}: says no sample rate; add an array `sample_rate` (Hz).")
    if given is not None:
        return int(given)
    thousands = int(named[1]) if named else 0
    return {11: 11025, 22: 22050, 44: 44100}.get(thousands, 1000 * thousands)


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge, "<=": operator.le, "!=": operator.ne, "==": operator.eq, "=": operator.eq,
    ">": operator.gt, "<": operator.lt,
}  # fmt: skip


def _chosen(rows: list[Row], where: str | None) -> list[Row]:
    for clause in re.split(r"\s+and\s+", where.strip()) if where else []:
        match = re.fullmatch(r"(\w+)\s*(>=|<=|!=|==|=|>|<)\s*(.+?)\s*", clause)
        if not match:
            raise UsageError(f'where: cannot read {clause!r}; write it like "take >= 10".')
        name, compare, text = match[1], _COMPARE[match[2]], match[3].strip("'\"")
        _known(rows, name)
        rows = [row for row in rows if name in row.labels and _test(compare, row.labels[name], text)]
    return rows


def _test(compare: Callable[[Any, Any], bool], value: Any, text: str) -> bool:
    try:
        return compare(float(value), float(text))
    except ValueError:
        return compare(str(value), text)


def _known(rows: list[Row], name: str) -> str:
    names = sorted({name for row in rows for name in row.labels})
    if rows and name not in names:
        raise UsageError(
            f"The data has no label {name!r}.{did_you_mean(name, names)} It has {', '.join(names) or 'none'}."
        )
    return name


def _kept_names(rows: list[Row], labels: Iterable[str] | Mapping[str, str] | None) -> dict[str, str]:
    if labels is None:
        return {name: name for row in rows for name in row.labels}
    chosen = dict(labels) if isinstance(labels, Mapping) else {name: name for name in labels}
    return {new: _known(rows, old) for new, old in chosen.items()}


def _details(rows: list[Row], skipped: list[tuple[str, str]]) -> dict[str, str]:
    seconds = np.array([row.duration for row in rows])
    rates, channels = Counter(row.sample_rate for row in rows), Counter(row.channels for row in rows)
    clipped = [row for row in rows if row.clipped]
    silent = sum(why.startswith("is silent") for _, why in skipped)
    return {
        "length": f"{seconds.min():.2f} to {seconds.max():.2f} s, median {np.median(seconds):.2f} s, "
        f"in all {seconds.sum() / 60:.1f} min",
        "sample rate": ", ".join(f"{rate} Hz ({count})" for rate, count in rates.most_common()),
        "channels": ", ".join(f"{number} ({count})" for number, count in channels.most_common()),
        "silence": f"{silent} silent, left out" if silent else "none",
        "clipping": f"{len(clipped)} with flat tops, such as {clipped[0].source}" if clipped else "none",
    }
