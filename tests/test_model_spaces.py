"""A model of places, rotations and letters at once, from files through training to samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import polydiff
from polydiff.domain import Domain, SampleRequest, Strict
from polydiff.engine.noise import noise
from polydiff.engine.processes import Categorical, Gaussian, Rotation
from polydiff.engine.solvers import make_table
from polydiff.errors import UsageError
from polydiff.plugins.registry import get_registry
from polydiff.runtime.requests import Request, sample_requests
from polydiff.workflows.recipe import Recipe
from polydiff.workflows.train import prepare, run

LETTERS = 4
NAMES = ("place", "pose", "letter")


@dataclass(frozen=True, eq=False)
class Chain:
    """Residues: places (N, 3), poses (N, 3, 3) and letters (N,)."""

    place: np.ndarray
    pose: np.ndarray
    letter: np.ndarray


class ChainOptions(Strict):
    length: int = 5


class Chains(Domain):
    name = "chains"
    Options = ChainOptions
    suffixes = (".npz",)
    capabilities = frozenset({"variation", "inpaint", "variable"})

    def load(self, path: Path) -> Chain:
        with np.load(path) as file:
            return Chain(*(file[name] for name in NAMES))

    def save(self, example: Chain, path: Path) -> list[str]:
        np.savez(path, **{name: getattr(example, name) for name in NAMES})
        return []

    def encode(self, examples: Any) -> Any:
        longest = max(len(e.letter) for e in examples)
        shapes = {"place": (3,), "pose": (3, 3), "letter": (LETTERS,)}
        state = {name: torch.zeros(len(examples), longest, *shape) for name, shape in shapes.items()}
        mask = torch.zeros(len(examples), longest, dtype=torch.bool)
        for i, example in enumerate(examples):
            n = len(example.letter)
            mask[i, :n] = True
            state["place"][i, :n] = torch.from_numpy(example.place)
            state["pose"][i, :n] = torch.from_numpy(example.pose)
            letters = torch.from_numpy(example.letter)
            state["letter"][i, :n] = nn.functional.one_hot(letters, LETTERS).float()
        return state, dict.fromkeys(NAMES, mask)

    def decode(self, state: Any, mask: Any) -> list[Chain]:
        real = mask.get("letter", torch.ones(state["letter"].shape[:2], dtype=torch.bool))
        rows = zip(state["place"], state["pose"], state["letter"].argmax(-1), real, strict=True)
        return [Chain(a[r].numpy(), b[r].numpy(), c[r].numpy()) for a, b, c, r in rows]

    def processes(self) -> Any:
        return {"place": Gaussian(centre=True), "pose": Rotation(), "letter": Categorical()}

    def network(self) -> nn.Module:
        return Looking()

    def shapes(self, request: SampleRequest) -> dict[str, tuple[int, ...]]:
        n = request.options.length if request.source is None else len(request.source.letter)
        return {"place": (n, 3), "pose": (n, 3, 3), "letter": (n, LETTERS)}

    def known(self, request: SampleRequest) -> Any:
        state, _ = self.encode([request.source])
        keep = torch.arange(state["place"].shape[1]) < int(request.keep or 0)
        return {name: x[0] for name, x in state.items()}, dict.fromkeys(NAMES, keep)

    def preview(self, example: Chain) -> bytes:
        raise NotImplementedError


class Looking(nn.Module):
    """Each residue sees itself and the mean of the real ones."""

    def __init__(self) -> None:
        super().__init__()
        width = 3 + 9 + LETTERS
        self.inside, self.outside = nn.Linear(2 * width + 1, 32), nn.Linear(32, 3 + 3 + LETTERS)

    def forward(self, x: Any, c_noise: Any, mask: Any, cond: Any) -> Any:
        seen = torch.cat([x["place"], x["pose"].flatten(2), x["letter"]], -1)
        real = mask.get("place", seen.new_ones(seen.shape[:2], dtype=torch.bool))[..., None]
        mean = (seen * real).sum(1, keepdim=True) / real.sum(1, keepdim=True)
        level = c_noise.reshape(-1, 1, 1).expand(-1, seen.shape[1], 1)
        features = torch.cat([seen, mean.expand_as(seen), level], -1)
        place, pose, letter = self.outside(torch.tanh(self.inside(features))).split([3, 3, LETTERS], -1)
        return {"place": place, "pose": pose, "letter": letter}


def chain(seed: int, n: int) -> Chain:
    place = noise(seed, "place", 0, (n, 3))[0]
    poses = Rotation().prior(noise(seed, "pose", 0, (n, 3)), None, None, None)[0]  # type: ignore[arg-type]
    letters = noise(seed, "letter", 0, (n, LETTERS))[0].argmax(-1)
    return Chain((place - place.mean(0)).numpy(), poses.numpy(), letters.numpy())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of twelve steps on eight chains of three to ten residues."""
    get_registry().register(Chains)
    data, out = tmp_path_factory.mktemp("chains"), tmp_path_factory.mktemp("run")
    for i in range(8):
        Chains().save(chain(i, 3 + i), data / f"{i}.npz")
    training = {"steps": 12, "batch_size": 4, "precision": "float32"}
    recipe = Recipe.read({"training": training, "pictures": {"every": 0}}, "recipe")
    run(prepare("chains", data, out, recipe), echo=lambda line: None, device="cpu")
    return out


def same(one: Chain, other: Chain, atol: float = 1e-5) -> bool:
    return np.array_equal(one.letter, other.letter) and all(
        np.allclose(getattr(one, name), getattr(other, name), atol=atol) for name in ("place", "pose")
    )


@pytest.mark.parametrize("solver", ["adams", "ddpm", "heun"])
def test_a_trained_model_is_loaded_and_draws_chains(folder: Path, solver: str) -> None:
    made = [s.example for s in polydiff.load(folder).sample(3, seed=7, steps=5, solver=solver, length=6)]
    for one in made:
        assert one.place.shape == (6, 3)
        assert np.abs(one.place.mean(0)).max() < 1e-5
        assert np.abs(one.pose.transpose(0, 2, 1) @ one.pose - np.eye(3)).max() < 1e-6
        assert np.linalg.det(one.pose).min() > 0.999
        assert one.letter.min() >= 0
        assert one.letter.max() < LETTERS
    assert not same(made[0], made[1])


def test_a_sample_is_the_same_after_saving_and_in_any_company(folder: Path, tmp_path: Path) -> None:
    model = polydiff.load(folder)
    again = polydiff.load(model.save(tmp_path / "model"))
    assert again.hash == model.hash
    together = [s.example for s in model.sample(4, seed=7, steps=5, solver="dpmpp", batch_size=4)]
    alone = [s.example for s in again.sample(4, seed=7, steps=5, solver="dpmpp", batch_size=1, indices=[2])]
    assert same(together[2], alone[0])


def test_chains_of_several_lengths_share_a_batch(folder: Path) -> None:
    model = polydiff.load(folder)
    table = make_table("adams", model.schedule, 5)
    shapes = [model.domain.shapes(SampleRequest(options=ChainOptions(length=n))) for n in (3, 9, 5)]
    wanted = [Request(shape, seed) for seed, shape in enumerate(shapes)]
    drawn = [
        dict(sample_requests(model.denoiser(), model.domain.processes(), model.schedule, table, wanted, size))
        for size in (1, 3)
    ]
    for i, shape in enumerate(shapes):
        for name in NAMES:
            assert drawn[0][i][name].shape == shape[name]
            assert torch.allclose(drawn[0][i][name], drawn[1][i][name], atol=1e-5)


def test_a_part_is_kept_and_an_example_varied(folder: Path) -> None:
    model, source = polydiff.load(folder), chain(3, 7)
    [kept] = model.sample(1, seed=1, steps=6, source=source, keep="4")
    first = Chain(*(getattr(kept.example, name)[:4] for name in NAMES))
    assert same(first, Chain(*(getattr(source, name)[:4] for name in NAMES)))
    assert not same(kept.example, source)
    [near], [far] = (model.sample(1, seed=1, steps=6, source=source, strength=s) for s in (0.02, 1.0))
    apart = [np.abs(v.example.pose - source.pose).max() for v in (near, far)]
    assert apart[0] < apart[1]


def test_between_two_chains_there_is_no_way_since_letters_are_drawn(folder: Path) -> None:
    with pytest.raises(UsageError, match="the steps of Categorical are random"):
        list(polydiff.load(folder).sample(3, seed=1, steps=4, source=chain(1, 5), target=chain(2, 5)))
