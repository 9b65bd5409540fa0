"""Training on a product of angles, places and categories whose law is known, from start to samples."""

from __future__ import annotations

import pytest
import torch
from closed_forms import ALL_SCHEDULES, finish
from curved import CHANCES, WEIGHTS, WIDTH, Law, part_of
from torch import nn

from polydiff.engine.denoisers import precondition
from polydiff.engine.sampling import start
from polydiff.engine.solvers import make_table
from polydiff.engine.training import Batch, TrainingConfig, fit, make_accelerator

EDM = ALL_SCHEDULES["edm"]
NAMES = ("place", "angle", "pose", "kind", "letter")
OUTPUTS = {"place": 2, "angle": 2, "pose": 3, "kind": 4, "letter": 3}


class Mixed(nn.Module):
    """Node by node: a small perceptron over everything that is known of a node."""

    def __init__(self) -> None:
        super().__init__()
        width = 96
        self.inside = nn.Sequential(
            nn.Linear(2 + 4 + 9 + 4 + 3 + 4, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.outside = nn.Linear(width, sum(OUTPUTS.values()))
        nn.init.zeros_(self.outside.weight)
        nn.init.zeros_(self.outside.bias)

    def forward(self, x, c_noise, mask, cond):
        nodes = x["place"].shape[1]
        level = c_noise.reshape(-1, 1, 1).expand(-1, nodes, 1)
        features = [x["place"], x["angle"].sin(), x["angle"].cos(), x["pose"].flatten(2)]
        features += [x["kind"], x["letter"], level, torch.tanh(4 * level)]
        features += [torch.sin(2 * level), torch.cos(2 * level)]
        answer = self.outside(self.inside(torch.cat(features, -1)))
        parts = dict(zip(OUTPUTS, answer.split(list(OUTPUTS.values()), -1), strict=True))
        parts["pose"] = (x["pose"].mT @ parts["pose"][..., None])[..., 0]  # from the room's frame to its own
        return parts


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    law = Law(NAMES)
    mask = torch.ones(16, 24, dtype=torch.bool)
    mask[::3, 20:] = False

    def batch(step: int) -> Batch:
        state, _ = law.draw([1000 * step + i for i in range(16)], 24)
        shown = {k: v * mask.reshape(16, 24, *[1] * (v.dim() - 2)) for k, v in state.items()}
        return Batch(shown, dict.fromkeys(NAMES, mask), {})

    torch.manual_seed(0)
    network, logs = Mixed(), []
    config = TrainingConfig(
        steps=300, batch_size=16, learning_rate=4e-3, warmup=20, condition_dropout=0.0, log_every=50
    )
    folder = tmp_path_factory.mktemp("product")
    state = fit(
        network, law.processes, EDM, batch, config, folder, accelerator=make_accelerator("cpu"),
        callbacks=(lambda s: logs.append(s.log) if s.log else None,),
    )  # fmt: skip
    network.load_state_dict(state.average)
    return network.eval(), logs


def test_every_component_learns(trained):
    """Categories are judged by the samples below: their loss begins near the entropy that it ends at."""
    logs = trained[1]
    for name in NAMES[:3]:
        assert logs[-1][f"loss/{name}"] < 0.9 * logs[0][f"loss/{name}"], name


def test_samples_have_the_parts_of_the_law_in_all_components_together(trained):
    law = Law(NAMES)
    denoiser = precondition(trained[0], EDM, processes=law.processes)
    table = make_table("adams", EDM, 25)
    x = finish(denoiser, law.processes, table, start(law.processes, EDM, table, range(6), law.shapes(200))).x
    truth, part = law.draw(list(range(50, 56)), 200)
    parts = {name: part_of(name, x[name]) for name in NAMES[:3]}
    shares = torch.bincount(parts["place"].flatten(), minlength=3) / 1200
    assert float((shares - WEIGHTS).abs().max()) < 0.08
    for name in ("angle", "pose"):  # independent components would agree on .38 of the nodes
        assert float((parts[name] == parts["place"]).double().mean()) > 0.8
    for name in ("kind", "letter"):
        joint = torch.stack([x[name][parts["place"] == k].mean(0) for k in range(3)])
        independent = (WEIGHTS[:, None] * CHANCES[name]).sum(0, keepdim=True)
        apart = (joint - CHANCES[name]).abs().mean() / (independent - CHANCES[name]).abs().mean()
        assert float(apart) < 0.5  # so short a training is most of the way from independence to the law
    assert float((part_of("place", truth["place"]) == part).double().mean()) > 1 - WIDTH
