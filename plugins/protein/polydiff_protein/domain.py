"""Protein backbones as a domain: structures in, atoms through the engine, structures out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from polydiff.conditions import ConditionSet, Real
from polydiff.dataset import Dataset
from polydiff.domain import Domain, Gate, Metric, SampleRequest
from polydiff.support.settings import merged
from polydiff.support.validate import validated
from polydiff_protein import files
from polydiff_protein.config import ProteinConfig, ProteinOptions
from polydiff_protein.contigs import chain_id
from polydiff_protein.data import read_dataset
from polydiff_protein.geometry import superpose
from polydiff_protein.idealise import idealised
from polydiff_protein.lesson import LETTERS, UNKNOWN, Lesson, draw_lesson
from polydiff_protein.request import Task, along_chains, assembly_chains, task_of
from polydiff_protein.secondary import secondary_structure
from polydiff_protein.structure import Backbone

if TYPE_CHECKING:
    from torch import Tensor, nn

    from polydiff.engine.denoisers import Denoiser
    from polydiff.engine.processes import Process
    from polydiff.engine.schedules import Schedule

DRAWN = 3  # atoms of a residue that the network draws: N, CA, C; the oxygen follows from them
KEPT, MADE = 100.0, 0.0  # B-factors of residues


class Proteins(Domain):
    """Backbones. The state is {"atoms": N, CA and C of each residue about their common centre, in deviations
    (residues, 3, 3); "context": what is shown of each residue, as polydiff_protein.network has it; "copies":
    the rotations that make an assembly}; context and copies are carried, never noised.
    """

    name: ClassVar[str] = "protein"
    Config = ProteinConfig
    Options = ProteinOptions
    suffixes = files.SUFFIXES
    also_reads = (".gz",)
    tolerance = 0.15  # Å: bonds become ideal on the way
    capabilities = frozenset({"variation", "inpaint", "variable"})

    # --- files ------------------------------------------------------------------------------------------

    def load(self, path: str | Path) -> Backbone:
        """Read the first model of a structure file."""
        return files.read(path)

    def save(self, example: Backbone, path: str | Path) -> list[str]:
        """Write a structure file; the notes of the structure come first."""
        return [*example.notes, *files.write(example, path)]

    # --- tensors ----------------------------------------------------------------------------------------

    def encode(self, examples: Sequence[Backbone | Lesson]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        import torch

        lessons = [x if isinstance(x, Lesson) else Lesson.free(x) for x in examples]
        longest = max(len(lesson.backbone) for lesson in lessons)
        lengths = torch.tensor([len(lesson.backbone) for lesson in lessons])
        atoms = torch.zeros(len(lessons), longest, DRAWN, 3)
        context = torch.zeros(len(lessons), longest, _width())
        for row, lesson in enumerate(lessons):
            n, backbone = len(lesson.backbone), lesson.backbone
            atoms[row, :n] = self._atoms(backbone.coords)
            shape = np.where(lesson.motif[:, None, None], backbone.coords[:, :DRAWN], 0)
            context[row, :n] = self._context(
                backbone.chains, along_chains(backbone), lesson.structure, lesson.motif, shape
            )
        copies = _copies(np.eye(3)).expand(len(lessons), -1, -1)
        state = {"atoms": atoms, "context": context, "copies": copies}
        if bool((lengths == longest).all()):
            return state, {}
        real = torch.arange(longest) < lengths[:, None]
        return state, {"atoms": real, "context": real}

    def _atoms(self, coords: NDArray[np.floating]) -> Tensor:
        """(residues, 3, 3) about the centre, out of coordinates (residues, 3 or 4, 3) in Å."""
        import torch

        drawn = np.asarray(coords, np.float64)[:, :DRAWN]
        return torch.from_numpy(((drawn - drawn.mean((0, 1))) / self.config.scale).astype(np.float32))

    def _context(
        self,
        chains: Sequence[str],
        along: NDArray[np.int_],
        structure: NDArray[np.int_],
        motif: NDArray[np.bool_],
        shape: NDArray[np.floating],
    ) -> Tensor:
        """(residues, CONTEXT); `shape` are the atoms (residues, 3, 3) in Å, zero outside the motif."""
        import torch

        ids = {name: k for k, name in enumerate(dict.fromkeys(chains))}
        given = np.eye(len(LETTERS) + 1)[np.where(structure == UNKNOWN, len(LETTERS), structure)]
        known = (structure != UNKNOWN)[:, None]
        middle = shape[motif].reshape(-1, 3).mean(0) if motif.any() else np.zeros(3)
        placed = (shape - middle) * motif[:, None, None] / self.config.scale
        columns = [
            np.asarray(along, np.float64)[:, None],
            np.array([[ids[name]] for name in chains], np.float64),
            given[:, : len(LETTERS)],
            known,
            motif[:, None],
            placed.reshape(len(placed), -1),
        ]
        return torch.from_numpy(np.concatenate(columns, axis=1).astype(np.float32))

    def decode(self, state: Mapping[str, Tensor], mask: Mapping[str, Tensor]) -> list[Backbone]:
        """Assemblies about the origin, with ideal bonds; what is drawn of a motif stays as it is."""
        decoded = []
        for row, atoms in enumerate(state["atoms"].float().cpu().numpy()):
            context = state["context"][row].cpu().numpy()
            if "context" in mask:
                real = mask["context"][row].cpu().numpy()
                atoms, context = atoms[real], context[real]
            copies = state["copies"][row].cpu().numpy()
            if "copies" in mask:
                copies = copies[mask["copies"][row].cpu().numpy()]
            decoded.append(self._decoded(atoms, context, copies))
        return decoded

    def _decoded(
        self, atoms: NDArray[np.float32], context: NDArray[np.float32], copies: NDArray[np.float32]
    ) -> Backbone:
        drawn = atoms * self.config.scale
        along, chain = context[:, 0].round().astype(int), context[:, 1].round().astype(int)
        linked = (np.diff(chain) == 0) & (np.diff(along) == 1)
        coords = idealised(drawn, linked, context[:, 6] > 0.5)
        turns = copies.reshape(-1, 3, 3)
        every = np.concatenate([coords @ turn.T for turn in turns])
        order = {k: chain_id(i) for i, k in enumerate(dict.fromkeys(chain.tolist()))}
        names = assembly_chains(tuple(order[k] for k in chain.tolist()), len(turns))
        return Backbone(every, chains=names)

    def processes(self) -> dict[str, Process]:
        from polydiff.engine.processes import Fixed, Gaussian

        return {"atoms": Gaussian(pose_free=True), "context": Fixed(), "copies": Fixed()}

    def network(self) -> nn.Module:
        from polydiff_protein.network import BackboneNetwork

        return BackboneNetwork(self.conditions().widths, **self.config.network.model_dump())

    def conditions(self) -> ConditionSet:
        return ConditionSet(self.config.conditions)

    # --- requests ---------------------------------------------------------------------------------------

    def shapes(self, request: SampleRequest) -> dict[str, tuple[int, ...]]:
        return {"atoms": (len(task_of(request, self.config)), DRAWN, 3)}

    def carried(self, request: SampleRequest) -> dict[str, Tensor]:
        """What is shown of each residue, and the copies."""
        task = task_of(request, self.config)
        context = self._context(
            task.chains, task.along, task.structure, task.kept, self._motif(task, request)
        )
        return {"context": context, "copies": _copies(task.copies)[0]}

    def guided(self, denoiser: Denoiser, schedule: Schedule) -> Denoiser:
        """Residues do not overlap."""
        from polydiff_protein.volume import with_excluded_volume

        return with_excluded_volume(denoiser, schedule, self.config.scale)

    def keeps(self, options: ProteinOptions) -> bool:
        return options.contigs is not None

    def init(self, request: SampleRequest) -> dict[str, Tensor]:
        return {"atoms": self._atoms(request.source.coords)}

    def known(self, request: SampleRequest) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The atoms of the kept residues: where they lie does not count, only how they lie to each other."""
        import torch

        task = task_of(request, self.config)
        shape = self._motif(task, request)
        middle = shape[task.kept].mean((0, 1))
        shape = np.where(task.kept[:, None, None], (shape - middle) / self.config.scale, 0)
        return {"atoms": torch.from_numpy(shape.astype(np.float32))}, {"atoms": torch.from_numpy(task.kept)}

    def _motif(self, task: Task, request: SampleRequest) -> NDArray[np.float32]:
        """(residues, 3, 3) in Å: the kept residues of the source, zero elsewhere."""
        shape = np.zeros((len(task), DRAWN, 3), np.float32)
        if task.kept.any():
            shape[task.kept] = request.source.coords[task.places[task.kept], :DRAWN]
        return shape

    def paired(self, a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Noise b turned as a whole onto noise a: direction means nothing."""
        import torch

        from polydiff.engine.states import superposed

        every = b["atoms"].new_ones(1, len(b["atoms"]), dtype=torch.bool)
        return {**b, "atoms": superposed(b["atoms"][None], a["atoms"][None], every)[0]}

    def finish(self, example: Backbone, request: SampleRequest) -> Backbone:
        """Where the source lies, with the kept residues as they are there, side chains and all."""
        task, source = task_of(request, self.config), request.source
        notes = () if source is None else tuple(f"source: {note}" for note in source.notes)
        longest = max(task.chains.count(name) for name in set(task.chains))
        if longest > self.config.longest:
            notes += (f"{longest} residues: the model has seen chains of at most {self.config.longest}",)
        if task.contig:
            notes += (f"contigs {task.contig}",)
        if source is None:
            return replace(example, notes=notes)
        chains, numbers = task.chains, task.numbers
        if not task.kept.any():
            moved = example.moved(*superpose(example.ca, source.ca))
            return replace(moved, chains=chains, numbers=numbers, insertions=source.insertions, notes=notes)
        here = np.flatnonzero(task.kept)
        there = task.places[here]
        goal = source.coords[there]
        drawn = example.coords[here, :DRAWN].reshape(-1, 3)
        moved = example.moved(*superpose(drawn, goal[:, :DRAWN].reshape(-1, 3)))
        coords = moved.coords.copy()
        coords[here] = goal
        sequence = np.array(list("X" * len(example)))
        sequence[here] = np.array(list(source.sequence))[there]
        sides = {int(i): source.side_chains[int(j)] for i, j in zip(here, there, strict=True)
                 if int(j) in source.side_chains}  # fmt: skip
        scores = np.where(task.kept, KEPT, MADE).astype(np.float32)
        insertions = source.insertions if len(task) == len(source) and not task.contig else ()
        return Backbone(coords, "".join(sequence), chains, numbers, insertions, scores, sides, notes=notes)

    # --- data -------------------------------------------------------------------------------------------

    @classmethod
    def dataset(
        cls,
        folder: str | Path,
        pattern: str | None = None,
        split: str = "train",
        shortest: int = 4,
        longest: int = 1024,
        whole: bool = False,
    ) -> Dataset:
        """See polydiff_protein.data.read_dataset."""
        return read_dataset(folder, pattern, split=split, shortest=shortest, longest=longest, whole=whole)

    @classmethod
    def configure(cls, dataset: Dataset, overrides: Mapping[str, Any]) -> ProteinConfig:
        """The fractions of secondary structure as conditions, the scale as measured, the longest chain."""
        given = dict(overrides)
        examples = [item.load() for item in dataset]
        if "conditions" not in given:
            help_text = "Share of the residues in {}, 0 to 1."
            kinds = {"helix": "helices", "strand": "strands", "loop": "loops"}
            given["conditions"] = tuple(
                Real(name=name, low=0, high=1, help=help_text.format(words)) for name, words in kinds.items()
            )
        if "scale" not in given:
            squares = [float(np.var(x.coords[:, :DRAWN].reshape(-1, 3), axis=0).mean()) for x in examples]
            given["scale"] = round(float(np.sqrt(np.mean(squares))), 3)
        given.setdefault("longest", max(len(x) for x in examples))
        return validated(ProteinConfig, given, "config")

    @classmethod
    def fine_tuned(
        cls, config: ProteinConfig, dataset: Dataset, overrides: Mapping[str, Any]
    ) -> ProteinConfig:
        """Scale, network and conditions as they were; the longest chain that either data has."""
        inherited = config.model_dump(mode="json")
        inherited["longest"] = max(config.longest, *(len(item.load()) for item in dataset))
        return cls.configure(dataset, merged(inherited, overrides))

    def augment(
        self, example: Backbone, conditions: Mapping[str, Any], seed: int
    ) -> tuple[Lesson, Mapping[str, Any]]:
        """A lesson; turning the backbone would change nothing, since the network turns with it."""
        rng = np.random.default_rng(seed)
        letters = secondary_structure(example).replace("-", LETTERS[0])
        structure = np.array([LETTERS.index(letter) for letter in letters])
        config = self.config
        return draw_lesson(example, structure, rng, config.shown_structure, config.shown_motif), conditions

    # --- judging and showing ----------------------------------------------------------------------------

    def distance(self, a: Backbone, b: Backbone) -> float:
        """Root mean square distance in Å of N, CA and C after superposition; infinite for other lengths."""
        from polydiff_protein.geometry import rmsd

        if len(a) != len(b):
            return float("inf")
        return rmsd(a.coords[:, :DRAWN].reshape(-1, 3), b.coords[:, :DRAWN].reshape(-1, 3))

    def metrics(self) -> dict[str, Metric]:
        from polydiff_protein.evaluation import metrics

        return metrics()

    def gates(self) -> Mapping[str, Gate]:
        from polydiff_protein.gates import GATES

        return GATES

    def evaluate(self, samples: Dataset, reference: Dataset) -> dict[str, float]:
        """See polydiff_protein.evaluation.evaluate."""
        from polydiff_protein.evaluation import evaluate

        return evaluate(samples, reference)

    def evaluation_picture(self, samples: Dataset, reference: Dataset) -> bytes | None:
        from polydiff_protein.evaluation import picture

        return picture(samples, reference)

    def preview(self, example: Backbone) -> bytes:
        return example.preview()

    def contact_sheet(self, examples: Sequence[Backbone], titles: Sequence[str]) -> bytes:
        from polydiff_protein.preview import contact_sheet

        return contact_sheet(examples, titles)


def _width() -> int:
    from polydiff_protein.network import CONTEXT

    return CONTEXT


def _copies(rotations: NDArray[np.floating]) -> Tensor:
    """(1, copies, 9) float32."""
    import torch

    return torch.from_numpy(np.asarray(rotations, np.float32).reshape(1, -1, 9))
