"""Protein backbones as a domain: structures in, atoms through the engine, structures out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from polydiff.conditions import Real
from polydiff.dataset import Dataset
from polydiff.domain import ConfiguredDomain, Gate, Metric, SampleRequest
from polydiff.file_domain import FileDomain, Format
from polydiff.support.validate import validated
from polydiff_protein import files
from polydiff_protein.config import ProteinConfig, ProteinOptions
from polydiff_protein.contigs import chain_id
from polydiff_protein.data import read_dataset
from polydiff_protein.geometry import superpose
from polydiff_protein.idealise import idealised
from polydiff_protein.resolved import ResolvedRequest, along_chains, assembly_chains, resolve
from polydiff_protein.secondary import secondary_structure
from polydiff_protein.structure import Backbone
from polydiff_protein.training_view import LETTERS, UNKNOWN, TrainingView, draw_view

if TYPE_CHECKING:
    from torch import Tensor, nn

    from polydiff.engine.denoisers import Denoiser
    from polydiff.engine.processes import Process
    from polydiff.engine.schedules import Schedule

DRAWN = 3  # atoms of a residue that the network draws: N, CA, C; the oxygen follows from them
KEPT, MADE = 100.0, 0.0  # B-factors of residues


class Proteins(ConfiguredDomain, FileDomain):
    """Backbones. The state is {"atoms": N, CA and C of each residue about their common centre, in deviations
    (residues, 3, 3); "context": what is shown of each residue, a packed polydiff_protein.context.Context;
    "copies": the rotations that make an assembly}; context and copies are carried, never noised.
    """

    name: ClassVar[str] = "protein"
    Config = ProteinConfig
    Options = ProteinOptions
    formats = dict.fromkeys((*files.SUFFIXES, files.COMPRESSED), Format(files.read, files.write))
    suffixes = files.SUFFIXES
    picture = "polydiff_protein.preview:views"
    sheet = "polydiff_protein.preview:contact_sheet"
    inherit = ("network", "scale", "length", "shown_structure", "shown_motif", "conditions")
    tolerance = 0.15  # Å: bonds become ideal on the way
    capabilities = frozenset({"variation", "inpaint", "variable"})

    # --- tensors ----------------------------------------------------------------------------------------

    def encode(
        self, examples: Sequence[Backbone | TrainingView]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        from polydiff.support.padding import pad_examples

        views = [x if isinstance(x, TrainingView) else TrainingView.free(x) for x in examples]
        atoms, real = pad_examples([self._atoms(view.backbone.coords) for view in views])
        context, _ = pad_examples([self._shown(view) for view in views])
        copies = _copies(np.eye(3)).expand(len(views), -1, -1)
        state = {"atoms": atoms, "context": context, "copies": copies}
        return state, {} if bool(real.all()) else {"atoms": real, "context": real}

    def _shown(self, view: TrainingView) -> Tensor:
        """(residues, CONTEXT): what is shown in training."""
        backbone, motif = view.backbone, view.motif
        shape = np.where(motif[:, None, None], backbone.coords[:, :DRAWN], 0)
        return self._context(backbone.chains, along_chains(backbone), view.structure, motif, shape)

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

        from polydiff_protein.context import Context

        ids = {name: k for k, name in enumerate(dict.fromkeys(chains))}
        given = np.eye(len(LETTERS) + 1)[np.where(structure == UNKNOWN, len(LETTERS), structure)]
        given[:, len(LETTERS)] = structure != UNKNOWN
        middle = shape[motif].reshape(-1, 3).mean(0) if motif.any() else np.zeros(3)
        placed = (shape - middle) * motif[:, None, None] / self.config.scale
        chain = np.array([ids[name] for name in chains])
        columns = (np.asarray(along), chain, given, motif, placed)
        return Context(*(torch.from_numpy(column) for column in columns)).pack()

    def decode(self, state: Mapping[str, Tensor], mask: Mapping[str, Tensor]) -> list[Backbone]:
        """Assemblies about the origin, with ideal bonds; what is drawn of a motif stays as it is."""
        decoded = []
        for row, atoms in enumerate(state["atoms"].float().cpu().numpy()):
            context = state["context"][row].cpu()
            if "context" in mask:
                real = mask["context"][row].cpu()
                atoms, context = atoms[real.numpy()], context[real]
            copies = state["copies"][row].cpu().numpy()
            if "copies" in mask:
                copies = copies[mask["copies"][row].cpu().numpy()]
            decoded.append(self._decoded(atoms, context, copies))
        return decoded

    def _decoded(self, atoms: NDArray[np.float32], context: Tensor, copies: NDArray[np.float32]) -> Backbone:
        from polydiff_protein.context import Context

        drawn, shown = atoms * self.config.scale, Context.unpack(context)
        along, chain = shown.place.round().long().numpy(), shown.chain.round().long().numpy()
        linked = (np.diff(chain) == 0) & (np.diff(along) == 1)
        coords = idealised(drawn, linked, shown.motif.numpy() > 0.5)
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

    # --- requests ---------------------------------------------------------------------------------------

    def shapes(self, request: SampleRequest) -> dict[str, tuple[int, ...]]:
        return {"atoms": (len(resolve(request, self.config)), DRAWN, 3)}

    def carried(self, request: SampleRequest) -> dict[str, Tensor]:
        """What is shown of each residue, and the copies."""
        resolved = resolve(request, self.config)
        context = self._context(
            resolved.chains, resolved.along, resolved.structure, resolved.kept, self._motif(resolved, request)
        )
        return {"context": context, "copies": _copies(resolved.copies)[0]}

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

        resolved = resolve(request, self.config)
        shape = self._motif(resolved, request)
        middle = shape[resolved.kept].mean((0, 1))
        shape = np.where(resolved.kept[:, None, None], (shape - middle) / self.config.scale, 0)
        known = torch.from_numpy(shape.astype(np.float32))
        return {"atoms": known}, {"atoms": torch.from_numpy(resolved.kept)}

    def _motif(self, resolved: ResolvedRequest, request: SampleRequest) -> NDArray[np.float32]:
        """(residues, 3, 3) in Å: the kept residues of the source, zero elsewhere."""
        shape = np.zeros((len(resolved), DRAWN, 3), np.float32)
        if resolved.kept.any():
            shape[resolved.kept] = request.source.coords[resolved.places[resolved.kept], :DRAWN]
        return shape

    def paired(self, a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Noise b turned as a whole onto noise a: direction means nothing."""
        import torch

        from polydiff.engine.states import superposed

        every = b["atoms"].new_ones(1, len(b["atoms"]), dtype=torch.bool)
        return {**b, "atoms": superposed(b["atoms"][None], a["atoms"][None], every)[0]}

    def finish(self, example: Backbone, request: SampleRequest) -> Backbone:
        """Where the source lies, with the kept residues as they are there, side chains and all."""
        resolved, source = resolve(request, self.config), request.source
        notes = () if source is None else tuple(f"source: {note}" for note in source.notes)
        longest = max(resolved.chains.count(name) for name in set(resolved.chains))
        if longest > self.config.longest:
            notes += (f"{longest} residues: the model has seen chains of at most {self.config.longest}",)
        if resolved.contig:
            notes += (f"contigs {resolved.contig}",)
        if source is None:
            return replace(example, notes=notes)
        chains, numbers = resolved.chains, resolved.numbers
        if not resolved.kept.any():
            moved = example.moved(*superpose(example.ca, source.ca))
            return replace(moved, chains=chains, numbers=numbers, insertions=source.insertions, notes=notes)
        here = np.flatnonzero(resolved.kept)
        there = resolved.places[here]
        goal = source.coords[there]
        drawn = example.coords[here, :DRAWN].reshape(-1, 3)
        moved = example.moved(*superpose(drawn, goal[:, :DRAWN].reshape(-1, 3)))
        coords = moved.coords.copy()
        coords[here] = goal
        sequence = np.array(list("X" * len(example)))
        sequence[here] = np.array(list(source.sequence))[there]
        sides = {int(i): source.side_chains[int(j)] for i, j in zip(here, there, strict=True)
                 if int(j) in source.side_chains}  # fmt: skip
        scores = np.where(resolved.kept, KEPT, MADE).astype(np.float32)
        insertions = source.insertions if len(resolved) == len(source) and not resolved.contig else ()
        return Backbone(coords, "".join(sequence), chains, numbers, insertions, scores, sides, notes=notes)

    # --- data -------------------------------------------------------------------------------------------

    dataset = staticmethod(read_dataset)

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
        """The longest chain is the longest of both data."""
        longest = max(config.longest, *(len(item.load()) for item in dataset))
        tuned: ProteinConfig = super().fine_tuned(config, dataset, {"longest": longest, **overrides})
        return tuned

    def augment(
        self, example: Backbone, conditions: Mapping[str, Any], seed: int
    ) -> tuple[TrainingView, Mapping[str, Any]]:
        """A training view; turning the backbone would change nothing, since the network turns with it."""
        rng = np.random.default_rng(seed)
        letters = secondary_structure(example).replace("-", LETTERS[0])
        structure = np.array([LETTERS.index(letter) for letter in letters])
        config = self.config
        return draw_view(example, structure, rng, config.shown_structure, config.shown_motif), conditions

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


def _copies(rotations: NDArray[np.floating]) -> Tensor:
    """(1, copies, 9) float32."""
    import torch

    return torch.from_numpy(np.asarray(rotations, np.float32).reshape(1, -1, 9))
