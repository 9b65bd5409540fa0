"""How good a set of backbones is beside real ones: what `polydiff evaluate protein` prints."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from polydiff.dataset import Dataset, Item
from polydiff.domain import Metric
from polydiff.evaluation.evaluated_set import Array, EvaluatedSet, EvaluatedSets
from polydiff.support.files import sha256
from polydiff_protein import contigs, files, selfconsistency
from polydiff_protein.gates import GATES
from polydiff_protein.geometry import rmsd, superpose
from polydiff_protein.measures import Measures, figures, measure
from polydiff_protein.similarity import SHORTEST, Library, Pairs, clusters, trace
from polydiff_protein.structure import Backbone

MEASURED, DESIGNED, COMPARED = 2000, 50, 50
"""At most so many real backbones are measured, so many of the set are given to ProteinMPNN (seconds each),
and so many held-out ones are compared with the training set."""

COPY = 0.9
MOTIF = 0.5  # Å
_DRAWN = 3  # N, CA and C; O follows from them


class Judged(EvaluatedSet):
    """A set of backbones with what is measured on them."""

    @cached_property
    def measures(self) -> list[Measures]:
        return [measure(backbone) for backbone in self.examples]

    @cached_property
    def figures(self) -> dict[str, float]:
        return figures(self.measures)

    @cached_property
    def traces(self) -> list[Array]:
        """Longest first, those that are long enough for a TM-score."""
        found = [x for backbone in self.examples if len(x := trace(backbone)) >= SHORTEST]
        return sorted(found, key=len, reverse=True)


_RANKS: dict[str, Literal["lower", "higher"]] = {
    "ca_step_share": "higher",
    "phi_psi_allowed": "higher",
    "clashes": "lower",
}
"""The figures by which one set of backbones is better than another, whatever is real."""


def metrics() -> dict[str, Metric]:
    """The figures that rank sets of backbones, each a function of samples and real ones."""
    sets = EvaluatedSets(Judged)

    def figure(name: str, samples: Judged, _: Judged) -> float:
        return samples.figures[name]

    return {
        name: sets.metric(partial(figure, name), better, GATES[name].help) for name, better in _RANKS.items()
    }


def evaluate(samples: Dataset, reference: Dataset) -> dict[str, float]:
    """All figures of a set of backbones, each beside that of the real ones (`..._real`) where it has one.

    `pair_tm` is over all pairs, or 1,000 of them; clusters are greedy, longest backbone first; `nearest_tm`
    is over the residues of the backbone, by an alignment with the 100 most promising of the training set (see
    `similarity.Library`), which is the reference without what was held out. What a set has nothing of
    (helices, motifs, assemblies) has no figure.
    """
    made, real = Judged(samples), Judged(_some(reference, MEASURED))
    found = made.figures | _diversity(made) | _novelty(samples, reference) | _designed(made)
    found |= _motifs(samples) | _assemblies(samples)
    beside = real.figures | _held_out_novelty(reference)
    if "mpnn_score" in found:
        beside |= _designed(Judged(_some(reference, DESIGNED // 2)))
    beside["pair_tm"] = Pairs(real.traces).mean(most=200)
    rows: dict[str, float] = {}
    for name in GATES:
        for key, value in ((name, found.get(name)), (f"{name}_real", beside.get(name))):
            if value is not None and name in found and np.isfinite(value):
                rows[key] = value
    return rows


def _some(data: Dataset, most: int) -> Dataset:
    """At most so many, drawn the same every time."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(data))[:most])
    return Dataset(data[int(i)] for i in chosen)


def _diversity(made: Judged) -> dict[str, float]:
    """How alike the backbones are to each other."""
    pairs, count = Pairs(made.traces), len(made.traces)
    if count < 2:
        return {}
    groups = {t: max(clusters(count, pairs, t / 100)) + 1 for t in (50, 60)}
    return {"pair_tm": pairs.mean()} | {f"clusters_{t}": n / count for t, n in groups.items()}


def _novelty(samples: Dataset, reference: Dataset) -> dict[str, float]:
    """How near the backbones come to the training set."""
    training = Judged(Dataset(item for item in reference if not item.record.get("held_out"))).traces
    made = Judged(samples).traces
    if not training or not made:
        return {}
    library = Library(training)
    best = np.array([library.nearest(x).tm for x in made])
    return {"nearest_tm": float(best.mean()), "copies": float((best > COPY).mean())}


def _held_out_novelty(reference: Dataset) -> dict[str, float]:
    held = Dataset(item for item in reference if item.record.get("held_out"))
    return _novelty(_some(held, COMPARED), reference) if len(held) else {}


def _designed(made: Judged) -> dict[str, float]:
    """What ProteinMPNN says, where it is installed."""
    if not selfconsistency.installed():
        return {}
    found = [selfconsistency.design(x) for x in made.examples[:DESIGNED] if len(x) >= SHORTEST]
    if not found:
        return {}
    return {
        "mpnn_score": float(np.mean([x.score for x in found])),
        "mpnn_entropy": float(np.mean([x.entropy for x in found])),
    }


def _motifs(samples: Dataset) -> dict[str, float]:
    """How well scaffolds hold the motif of their source, where that is still there."""
    found = [x for item in samples if (x := motif_rmsd(item)) is not None]
    if not found:
        return {}
    return {"motif_within": float(np.mean(np.array(found) <= MOTIF)), "motif_rmsd": float(np.mean(found))}


def motif_rmsd(item: Item) -> float | None:
    """Å, of N, CA and C of what a design kept of its source, as its record says (contigs, `keep` or `redo`),
    after superposition; None where it kept nothing, or the source is gone."""
    given: Mapping[str, Any] = item.record.get("source") or {}
    path = Path(given.get("path") or "")
    if not path.is_file() or sha256(path) != given.get("sha256"):
        return None
    source, design = files.read(path), item.load()
    here, there = _kept(item.record, source)
    if not len(here) or here.max() >= len(design):
        return None
    a, b = design.coords[here, :_DRAWN], source.coords[there, :_DRAWN]
    return rmsd(a.reshape(-1, 3), b.reshape(-1, 3))


def _kept(record: Mapping[str, Any], source: Backbone) -> tuple[Array, Array]:
    """Which residues of a design are those of its source, and which those are."""
    notes = record.get("notes", ())
    text = next((note.removeprefix(CONTIG) for note in notes if note.startswith(CONTIG)), "")
    if text:
        layout = contigs.resolve(text, source)
        return np.flatnonzero(layout.fixed), layout.motif
    keep, redo = (record["source"].get(name) for name in ("keep", "redo"))
    if keep is None and redo is None:
        return np.zeros(0, int), np.zeros(0, int)
    kept = contigs.region(keep, source) if keep is not None else ~contigs.region(redo, source)
    return np.flatnonzero(kept), np.flatnonzero(kept)


CONTIG = "contigs "
"""Heads the note that tells which contig was drawn."""


def _assemblies(samples: Dataset) -> dict[str, float]:
    asked = (item for item in samples if (item.record.get("options") or {}).get("symmetry"))
    found = [symmetry_error(item.load()) for item in asked]
    return {"symmetry_error": max(found)} if found else {}


def symmetry_error(assembly: Backbone) -> float:
    """Å, the farthest that any atom of an assembly is from where one is, after the assembly is turned so that
    its first chain lies on another one; the worst over the chains. 0 for one chain, infinite for chains of
    different lengths.

    >>> chain = np.random.default_rng(0).normal(size=(5, 4, 3))
    >>> pair = Backbone(np.concatenate([chain, chain * [-1, -1, 1]]), chains="AAAAABBBBB")
    >>> symmetry_error(pair) < 1e-5, symmetry_error(pair.moved(np.eye(3), [1, 2, 3])) < 1e-5
    (True, True)
    """
    ids = np.array(assembly.chains)
    chains = [assembly.coords[ids == name].astype(np.float64) for name in assembly.chain_ids]
    if len({len(x) for x in chains}) > 1:
        return float("inf")
    worst = 0.0
    for other in chains[1:]:
        turn, shift = superpose(chains[0].reshape(-1, 3), other.reshape(-1, 3))
        for x in chains:
            moved = x @ turn.T + shift
            worst = max(worst, min(float(np.linalg.norm(moved - y, axis=-1).max()) for y in chains))
    return worst


def picture(samples: Dataset, reference: Dataset) -> bytes:
    """Ramachandran plots of both sets, a contact map, length against gyration, and secondary structure."""
    from polydiff_protein.charts import evaluation_sheet

    made, real = Judged(samples), Judged(_some(reference, MEASURED))
    return evaluation_sheet(made.measures, real.measures, made.examples[0])
