"""Training on a product of all spaces whose law is known, from start to samples.

Where a denoiser's loss is above the exact one's, snr / 2 times that, over all log_snr, is the divergence
KL(law || model) of the paths of the reverse process (Girsanov; Song et al. 2021, theorem 1), and what is read
off samples diverges by no more (data processing). That is what the bounds are.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from polydiff.engine.denoisers import precondition
from polydiff.engine.loop import start
from polydiff.engine.noise import noise
from polydiff.engine.processes import Categorical
from polydiff.engine.solvers import make_table
from polydiff.testing.closed_forms import ALL_SCHEDULES, finish
from polydiff.testing.curved import CHANCES, WEIGHTS, Law, part_of
from polydiff.training.loop import Batch, TrainingConfig, fit, make_accelerator

EDM = ALL_SCHEDULES["edm"]
NAMES = ("place", "angle", "pose", "kind", "letter")
OUTPUTS = {"place": 2, "angle": 2, "pose": 3, "kind": 4, "letter": 3}
LAW = Law(NAMES)


class Mixed(nn.Module):
    """Node by node: a small perceptron over everything that is known of a node, its last layer another one
    where noise is little, about as wide as the parts, and much."""

    def __init__(self) -> None:
        super().__init__()
        width = 96
        self.inside = nn.Sequential(
            nn.Linear(2 + 4 + 9 + 4 + 3 + 4, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.outside = nn.Linear(3 * width, sum(OUTPUTS.values()))
        nn.init.zeros_(self.outside.weight)
        nn.init.zeros_(self.outside.bias)

    def forward(self, x, c_noise, mask, cond):
        nodes = x["place"].shape[1]
        level = c_noise.reshape(-1, 1, 1).expand(-1, nodes, 1)
        features = [x["place"], x["angle"].sin(), x["angle"].cos(), x["pose"].flatten(2)]
        features += [x["kind"], x["letter"], level, torch.tanh(4 * level)]
        features += [torch.sin(2 * level), torch.cos(2 * level)]
        inside, much = self.inside(torch.cat(features, -1)), torch.sigmoid(4 * level + 1.2)
        answer = self.outside(torch.cat([inside, inside * much, inside * much * (1 - much)], -1))
        parts = dict(zip(OUTPUTS, answer.split(list(OUTPUTS.values()), -1), strict=True))
        parts["pose"] = (x["pose"].mT @ parts["pose"][..., None])[..., 0]  # from the room's frame to its own
        return parts


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    mask = torch.ones(4, 128, dtype=torch.bool)
    mask[::3, 100:] = False

    def batch(step: int) -> Batch:
        state, _ = LAW.draw([1000 * step + i for i in range(4)], 128)
        shown = {k: v * mask.reshape(4, 128, *[1] * (v.dim() - 2)) for k, v in state.items()}
        return Batch(shown, dict.fromkeys(NAMES, mask), {})

    torch.manual_seed(0)
    network = Mixed()
    config = TrainingConfig(steps=300, batch_size=4, learning_rate=1e-2, warmup=20, condition_dropout=0.0)
    folder = tmp_path_factory.mktemp("product")
    state = fit(network, LAW.processes, EDM, batch, config, folder, accelerator=make_accelerator("cpu"))
    network.load_state_dict(state.average)
    return precondition(network.eval(), EDM, processes=LAW.processes)


@torch.no_grad()
def divergences(*denoisers) -> list[dict[str, float]]:
    """KL(law || model) of a node's path for each of some models, the share of each component."""
    exact, x0 = LAW.denoiser(EDM), LAW.draw([900], 800)[0]
    levels = torch.linspace(-8, 9, 24, dtype=torch.float64)  # log_snr
    rates = torch.zeros(len(denoisers), len(NAMES), len(levels), dtype=torch.float64)
    for place, level in enumerate(levels):
        t, x = EDM.t_of_log_snr(level[None]), {}
        for name, process in LAW.processes.items():
            xi = noise([place], name, 77, process.noise_shape(tuple(x0[name].shape[1:])))
            x[name] = process.corrupt(x0[name], xi, t, EDM, None)
        best = exact(x, t, {}, {})
        for model, denoiser in enumerate(denoisers):
            found = denoiser(x, t, {}, {})
            for which, (name, process) in enumerate(LAW.processes.items()):
                if isinstance(process, Categorical):
                    loss, least = (
                        process.loss(a[name], x0[name], x[name], t, EDM, None) for a in (found, best)
                    )
                    above = float(loss - least)
                elif name == "place":
                    above = float((found[name] - best[name]).square().sum(-1).mean())
                else:
                    off = process.log(x[name], found[name]) - process.log(x[name], best[name])
                    above = float(off.square().sum(-1).mean())
                rates[model, which, place] = 0.5 * math.exp(float(level)) * above
    return [dict(zip(NAMES, row.tolist(), strict=True)) for row in torch.trapezoid(rates, levels)]


@pytest.mark.slow
def test_every_component_learns_from_the_others_and_samples_are_no_further_from_the_law(trained):
    alone = {name: Law((name,)).denoiser(EDM) for name in NAMES}

    def apart(x, t, mask, cond):
        return {name: alone[name]({name: x[name]}, t, mask, cond)[name] for name in NAMES}

    learned, blind = divergences(trained, apart)
    # no denoiser that sees a component by itself comes closer than the exact one of that component's own law
    assert all(learned[name] < blind[name] for name in NAMES), (learned, blind)

    table = make_table("ddpm", EDM, 40)
    x = finish(trained, LAW.processes, table, start(LAW.processes, EDM, table, range(6), LAW.shapes(250))).x
    parts = {name: part_of(name, x[name]).flatten() for name in NAMES[:3]}
    together = (parts["angle"] == parts["place"]) & (parts["pose"] == parts["place"])
    counts = torch.zeros(3, 4, 3, dtype=torch.float64)
    tokens = [x[name].flatten(0, 1).argmax(-1)[together] for name in ("kind", "letter")]
    counts.index_put_((parts["place"][together], *tokens), torch.ones(1).double(), accumulate=True)
    # the law has all its parts together but for one in a thousand; a half keeps empty cells finite
    law = WEIGHTS[:, None, None] * CHANCES["kind"][:, :, None] * CHANCES["letter"][:, None, :]
    shown = float((law * (law / (counts + 0.5).mul(1 / (len(together) + 18))).log()).sum())
    assert shown < sum(learned.values()) < sum(blind.values())
