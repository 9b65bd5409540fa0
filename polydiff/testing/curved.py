"""A mixture over a product of spaces whose exact denoiser is known: vectors, angles, rotations, categories.
To test processes and solvers where states are not vectors.

>>> from polydiff.engine.loop import finish, start
>>> from polydiff.engine.schedules import EDM
>>> from polydiff.engine.solvers import make_table
>>> law, table = Law(("place", "kind")), make_table("adams", EDM(), steps=10)
>>> run = start(law.processes, EDM(), table, [0], law.shapes(nodes=5))
>>> x = finish(law.denoiser(EDM()), law.processes, table, run).x
>>> [(name, tuple(value.shape)) for name, value in x.items()]
[('place', (1, 5, 2)), ('kind', (1, 5, 4))]
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from polydiff.engine.denoisers import Cond, Denoiser, Mask, State
from polydiff.engine.noise import noise
from polydiff.engine.processes import Categorical, Gaussian, Process, Rotation, Torus
from polydiff.engine.processes.igso3 import pull_factor
from polydiff.engine.processes.quaternions import exp, to_matrix
from polydiff.engine.processes.torus import wrap
from polydiff.engine.schedules import Schedule

__all__ = [
    "ANGLES",
    "CHANCES",
    "PLACES",
    "POSES",
    "SHAPES",
    "SPACES",
    "WEIGHTS",
    "WIDTH",
    "Law",
    "chi_squared",
    "igso3_cdf",
    "igso3_density",
    "part_of",
    "wrapped_density",
]

#: the components that a Law may have, and the shape of one node in each
SPACES: dict[str, Process] = {
    "place": Gaussian(),
    "angle": Torus(),
    "pose": Rotation(),
    "kind": Categorical(),
    "letter": Categorical("uniform"),
}
SHAPES = {"place": (2,), "angle": (2,), "pose": (3, 3), "kind": (4,), "letter": (3,)}

WEIGHTS = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
WIDTH = 0.3  # of each part, in every direction
PLACES = torch.tensor([[1.2, 0.3], [-1.0, 0.8], [-0.2, -1.3]], dtype=torch.float64)
ANGLES = torch.tensor([[math.pi - 0.1, 0.5], [-1.4, 2.0], [0.6, -2.5]], dtype=torch.float64)
POSES = to_matrix(exp(torch.tensor([[0.3, 0.2, -0.4], [-2.0, 1.0, 1.2], [1.5, 1.5, 1.0]]).double()))
CHANCES = {
    "kind": torch.tensor([[0.7, 0.1, 0.1, 0.1], [0.1, 0.2, 0.6, 0.1], [0.1, 0.2, 0.1, 0.6]]).double(),
    "letter": torch.tensor([[0.8, 0.1, 0.1], [0.2, 0.2, 0.6], [0.1, 0.8, 0.1]]).double(),
}


def igso3_density(angle: Tensor, rho: float, terms: int = 300) -> Tensor:
    """The density of IGSO(3) with respect to the uniform measure, at an angle in radians: the plain sum over
    characters."""
    order = torch.arange(terms, dtype=torch.float64)
    weight = (2 * order + 1) * torch.exp(-order * (order + 1) * rho**2 / 2)
    angle = angle.double().clamp(min=1e-6)
    return (weight * torch.sin((order + 0.5) * angle[..., None])).sum(-1) / torch.sin(angle / 2)


def igso3_cdf(angle: Tensor, rho: float, terms: int = 300) -> Tensor:
    """The distribution function of the angle under IGSO(3): the sum over characters, integrated."""
    order, angle = torch.arange(1, terms, dtype=torch.float64), angle.double()
    weight = (2 * order + 1) * torch.exp(-order * (order + 1) * rho**2 / 2)
    above = order + 1
    waves = torch.sin(order * angle[..., None]) / order - torch.sin(above * angle[..., None]) / above
    return (angle - torch.sin(angle) + (weight * waves).sum(-1)) / math.pi


def wrapped_density(angle: Tensor, rho: float) -> Tensor:
    """The density of a wrapped normal, by its Fourier series."""
    order = torch.arange(1, 200, dtype=torch.float64)
    waves = torch.exp(-(order**2) * rho**2 / 2) * torch.cos(order * angle.double()[..., None])
    return (1 + 2 * waves.sum(-1)) / (2 * math.pi)


@dataclass(frozen=True)
class Law:
    """The mixture in some of the components of SPACES. Nodes are independent; a node belongs to the same part
    of the mixture in all its components, and a solver has to keep that."""

    names: tuple[str, ...]
    width: float = WIDTH

    @property
    def processes(self) -> dict[str, Process]:
        """The processes of the components."""
        return {name: SPACES[name] for name in self.names}

    def shapes(self, nodes: int) -> dict[str, tuple[int, ...]]:
        """The shape of a sample of so many nodes, by component."""
        return {name: (nodes, *SHAPES[name]) for name in self.names}

    def draw(self, seeds: list[int], nodes: int) -> tuple[dict[str, Tensor], Tensor]:
        """Exact samples, (B, nodes, ...) each, and the part of the mixture of each node, (B, nodes)."""
        uniform = torch.special.ndtr(noise(seeds, "part", 0, (nodes,), torch.float64))
        part = (uniform[..., None] > WEIGHTS.cumsum(0)).sum(-1)
        xi = {k: noise(seeds, k, 9, (nodes, 3), torch.float64) for k in self.names}
        state = {}
        for name in self.names:
            if name == "place":
                state[name] = PLACES[part] + self.width * xi[name][..., :2]
            elif name == "angle":
                state[name] = wrap(ANGLES[part] + self.width * xi[name][..., :2])
            elif name == "pose":
                scale = torch.full((len(seeds),), self.width, dtype=torch.float64)
                state[name] = Rotation().diffuse(POSES[part], xi[name], scale)
            else:
                below = CHANCES[name][part].cumsum(-1)
                chosen = (torch.special.ndtr(xi[name][..., :1]) > below).sum(-1)
                state[name] = torch.nn.functional.one_hot(chosen, below.shape[-1]).double()
        return {name: value.float() for name, value in state.items()}, part

    def denoiser(self, schedule: Schedule) -> Denoiser:
        """The exact denoiser; all samples of a batch must be at the same time."""

        def call(x: State, t: Tensor, mask: Mask, cond: Cond) -> State:
            alpha, sigma = float(schedule.alpha(t[0])), float(schedule.sigma(t[0]))
            parts = {name: self._parts(name, x[name].double(), alpha, sigma) for name in self.names}
            gamma = (WEIGHTS.log() + sum(chance for chance, _ in parts.values())).softmax(-1)
            result: State = {}
            for name, (_, answers) in parts.items():
                weighted = (gamma[..., j, None] * answer for j, answer in enumerate(answers))
                mean = sum(weighted, torch.zeros_like(gamma[..., :1]))
                if name == "angle":
                    mean = x[name] + mean
                elif name == "pose":
                    mean = Rotation().exp(x[name].double(), mean)
                result[name] = mean.to(x[name].dtype)
            return result

        return call

    def _parts(self, name: str, x: Tensor, alpha: float, sigma: float) -> tuple[Tensor, list[Tensor]]:
        """log p(x_t | part) (B, N, parts), and x̂0 or the tangent vector to it if the part were known."""
        rho = sigma / alpha if alpha else math.inf
        if name == "place":
            variance = (alpha * self.width) ** 2 + sigma**2
            apart = [x - alpha * mean for mean in PLACES]
            chances = [-0.5 * (d**2).sum(-1) / variance for d in apart]
            shrink = alpha * self.width**2 / variance
            return torch.stack(chances, -1), [
                mean + shrink * d for mean, d in zip(PLACES, apart, strict=True)
            ]
        if name in CHANCES:
            return self._kinds(name, x, alpha**2 / (alpha**2 + sigma**2))
        flat = [torch.zeros(x.shape[:2], dtype=torch.float64)] * 3
        wide = math.hypot(self.width, rho)
        if name == "angle":
            if rho > 6:
                return torch.stack(flat, -1), [torch.zeros_like(x)] * 3
            to = [wrap(mean - x) for mean in ANGLES]
            chances = [wrapped_density(v, wide).clamp(min=1e-300).log().sum(-1) for v in to]
            ratio = torch.full((len(x),), wide, dtype=torch.float64)
            return torch.stack(chances, -1), [(rho / wide) ** 2 * Torus().pull(v, ratio) for v in to]
        if rho > 5:
            return torch.stack(flat, -1), [torch.zeros_like(x[..., 0])] * 3
        to = [Rotation().log(x, mean.expand_as(x)) for mean in POSES]
        lengths = [v.norm(dim=-1, keepdim=True) for v in to]
        chances = [igso3_density(a[..., 0], wide, 40).clamp(min=1e-14).log() for a in lengths]
        pulls = [pull_factor(a, torch.full_like(a, wide)) for a in lengths]
        return torch.stack(chances, -1), [(rho / wide) ** 2 * g * v for g, v in zip(pulls, to, strict=True)]

    def _kinds(self, name: str, x: Tensor, keep: float) -> tuple[Tensor, list[Tensor]]:
        count, other = x.shape[-1], (1 - keep) / x.shape[-1]
        if name == "letter":
            seen = keep * x + other  # q(x_t | x0 = i) for every i
            joint = [chances * seen for chances in CHANCES[name]]
            return torch.stack([p.sum(-1).log() for p in joint], -1), [
                p / p.sum(-1, keepdim=True) for p in joint
            ]
        hidden = x.sum(-1, keepdim=True) < 0.5
        shown = [torch.where(hidden, 1.0 / count, x) for _ in CHANCES[name]]
        fits = [(p * x).sum(-1).clamp(min=1e-30).log() for p in CHANCES[name]]
        chances = [torch.where(hidden[..., 0], 0.0, fit) for fit in fits]
        answers = [torch.where(hidden, p.expand_as(x), s) for p, s in zip(CHANCES[name], shown, strict=True)]
        return torch.stack(chances, -1), answers


def part_of(name: str, x: Tensor) -> Tensor:
    """The nearest part of the mixture to each node, (B, N), for the components whose parts do not overlap."""
    if name == "place":
        apart = [(x - mean).norm(dim=-1) for mean in PLACES.float()]
    elif name == "angle":
        apart = [wrap(x - mean).norm(dim=-1) for mean in ANGLES.float()]
    else:
        apart = [Rotation().log(x, mean.expand_as(x)).norm(dim=-1) for mean in POSES.float()]
    return torch.stack(apart, -1).argmin(-1)


def chi_squared(found: Tensor, expected: Tensor) -> float:
    """Pearson's statistic of counts beside expected probabilities."""
    expected = expected * found.sum()
    return float(((found - expected) ** 2 / expected).sum())
