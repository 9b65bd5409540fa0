"""Two moons with the engine alone: no plugin, no model folder, a network of thirty thousand numbers.

    python examples/two_moons.py            a few seconds; draws what it made in characters

Everything that a diffusion model is stands below: a schedule says how much noise there is at which time, an
objective asks a network to remove it, and a solver's table walks from noise to data.
"""

import math
from itertools import pairwise

import torch

from polydiff.engine.denoisers import precondition
from polydiff.engine.loop import finish, start
from polydiff.engine.noise import noise
from polydiff.engine.processes import Gaussian
from polydiff.engine.schedules import EDM
from polydiff.engine.solvers import make_table
from polydiff.training.config import TrainingConfig
from polydiff.training.objective import Batch, Objective

schedule, processes = EDM(), {"point": Gaussian()}


def moons(count: int, seed: int) -> torch.Tensor:
    """Points on two half circles that reach into each other, of about unit variance: (count, 1, 2)."""
    angle = math.pi * torch.rand(count, generator=torch.Generator().manual_seed(seed))
    upper = torch.stack([angle.cos() - 0.5, angle.sin() - 0.25], dim=1)
    points = torch.where(torch.arange(count)[:, None] % 2 == 0, upper, -upper)
    return (1.4 * points + 0.06 * noise(seed, "moons", 0, (count, 2))[0])[:, None]


class Network(torch.nn.Module):
    """Points and noise level in, points out. A network of any kind will do."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        sizes = (2 + 8, width, width, width)
        hidden = [m for a, b in pairwise(sizes) for m in (torch.nn.Linear(a, b), torch.nn.SiLU())]
        self.layers = torch.nn.Sequential(*hidden, torch.nn.Linear(width, 2))

    def forward(self, x, c_noise, mask, cond):
        waves = c_noise[:, None, None] * 2.0 ** torch.arange(4)
        level = torch.cat([waves.sin(), waves.cos()], dim=-1)
        return {"point": self.layers(torch.cat([x["point"], level], dim=-1))}


def train(steps: int) -> Network:
    torch.manual_seed(0)
    network = Network()
    denoiser = precondition(network, schedule)
    objective = Objective(processes, schedule, TrainingConfig(steps, batch_size=512), sigma_data=1.0, null={})
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        batch = Batch(state={"point": moons(512, seed=step)}, mask={}, cond={})
        loss = objective.losses(denoiser, batch, step).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        slower.step()
    return network


@torch.no_grad()
def sample(network: Network, count: int, steps: int = 20) -> torch.Tensor:
    """(count, 2). Sample i depends on seed i and on nothing else."""
    table = make_table("adams", schedule, steps)
    run = start(processes, schedule, table, seeds=list(range(count)), shapes={"point": (1, 2)})
    return finish(precondition(network, schedule), processes, table, run).x["point"][:, 0]


def drawn(points: torch.Tensor, width: int = 72, height: int = 24) -> str:
    """A picture in characters of the square from -2.4 to 2.4."""
    places = ((points + 2.4) / 4.8 * torch.tensor([width, height])).long()
    inside = ((places >= 0) & (places < torch.tensor([width, height]))).all(1)
    lines = [[" "] * width for _ in range(height)]
    for column, row in places[inside].tolist():
        lines[height - 1 - row][column] = "o"
    return "\n".join("".join(line).rstrip() for line in lines)


def distance_to_moons(points: torch.Tensor) -> torch.Tensor:
    """From each point to the nearer half circle."""
    angle = torch.linspace(0, math.pi, 400)
    upper = 1.4 * torch.stack([angle.cos() - 0.5, angle.sin() - 0.25], dim=1)
    return torch.cdist(points, torch.cat([upper, -upper])).min(1).values


if __name__ == "__main__":
    made = sample(train(steps=1500), count=600)
    print(drawn(made))
    print(f"A point made lies {distance_to_moons(made).mean():.3f} from the moons; one of the data,", end=" ")
    print(f"{distance_to_moons(moons(600, seed=-1)[:, 0]).mean():.3f}.")
