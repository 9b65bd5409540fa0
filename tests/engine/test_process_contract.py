"""A process that is no class of the engine's is a full one: its flags say what the engine may do with it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from polydiff.calibration.fit import Case, Problem, best_start, calibrate, check_processes
from polydiff.engine.denoisers import precondition
from polydiff.engine.guidance import inpaint
from polydiff.engine.inverse.particles import sample_particles
from polydiff.engine.loop import finish, sample, start
from polydiff.engine.ode.adaptive import adaptive
from polydiff.engine.ode.encoding import encode
from polydiff.engine.ode.likelihood import log_likelihood
from polydiff.engine.processes.base import Process
from polydiff.engine.schedules import EDM
from polydiff.engine.solvers import make_table
from polydiff.engine.states import linear_combination, masked, mean_over_real, per_sample
from polydiff.errors import UsageError
from polydiff.runtime.captured import Captured
from polydiff.training.config import TrainingConfig
from polydiff.training.objective import Batch, Objective

SCHEDULE = EDM()


@dataclass(frozen=True)
class ZeroSum(Process):
    """Vectors (B, N, C) whose features add up to zero at every node, with Gaussian noise."""

    linear: ClassVar[bool] = True

    def noise_shape(self, shape):
        return shape

    def project(self, x: Tensor, mask):
        return masked(x - x.mean(-1, keepdim=True), mask)

    def dimensions(self, x: Tensor, mask):
        return super().dimensions(x, mask) / x.shape[-1] * (x.shape[-1] - 1)

    def prior(self, noise, schedule, t, mask):
        return self.project(noise, mask) * per_sample(schedule.sigma(t), noise)

    def corrupt(self, x0, noise, t, schedule, mask):
        alpha, sigma = (per_sample(f(t), x0) for f in (schedule.alpha, schedule.sigma))
        return alpha * self.project(x0, mask) + sigma * self.project(noise, mask)

    def noiseless(self, x0, t, schedule):
        return per_sample(schedule.alpha(t), x0) * x0

    def network_input(self, x, scaling):
        return x * per_sample(scaling.into, x)

    def denoised(self, output, x, scaling):
        return per_sample(scaling.skip, x) * x + per_sample(scaling.out, x) * output

    def read(self, x, x0_hat, row, mask, out=None):
        return linear_combination([(row.q, self.project(x0_hat, mask)), (row.p, x)], out)

    def move(self, x, readouts, row, anchor, noise, mask, out=None):
        terms = [(row.a, x), *zip(row.b, readouts, strict=False)]
        terms += [] if anchor is None else [(row.base, anchor)]
        terms += [] if noise is None else [(row.c, self.project(noise, mask))]
        return linear_combination(terms, out)

    def loss(self, x0_hat, x0, x, t, schedule, mask):
        return mean_over_real((x0_hat - x0) ** 2, mask)

    def between(self, a, b, share):
        return torch.lerp(a, b, share)


@dataclass(frozen=True)
class Given(Process):
    """Carried along, without inheriting from Fixed."""

    passive: ClassVar[bool] = True

    def noise_shape(self, shape):
        return (0,)

    def project(self, x, mask):
        return x

    def prior(self, *args):
        raise AssertionError("a passive component was drawn")

    def corrupt(self, x0, *rest):
        return x0

    def denoised(self, output, x, scaling):
        return x

    def read(self, x, *rest, **named):
        return x

    def move(self, x, *rest, **named):
        return x

    def draws(self, row):
        return False

    def loss(self, *args):
        raise AssertionError("a passive component has no loss")

    def between(self, a, b, share):
        return a


PROCESSES = {"x": ZeroSum(), "label": Given()}
LABEL = torch.tensor([[[0.6]], [[-0.3]]])
MASK = {"x": torch.tensor([[True] * 4, [True] * 3 + [False]])}


def exact(x, t, mask, cond):
    """Of N(label (1, -1, 0), 0.25) in the plane of sums zero."""
    variance = per_sample(SCHEDULE.sigma(t) ** 2, x["x"])
    mean = x["label"] * torch.tensor([1.0, -1.0, 0.0]).to(x["x"])
    return {**x, "x": mean + 0.25 / (0.25 + variance) * (x["x"] - mean)}


def begun(table, seeds=(3, 4)):
    return start(PROCESSES, SCHEDULE, table, list(seeds), {"x": (4, 3)}, MASK, {"label": LABEL})


@pytest.mark.parametrize("solver", ["adams", "ddpm", "heun", "unipc"])
def test_the_loop_reuses_its_memory_to_the_same_bits(solver):
    table = make_table(solver, SCHEDULE, 6)
    *_, last = sample(exact, PROCESSES, table, begun(table), MASK)
    assert float(last.x["x"].sum(-1).abs().max()) < 1e-5
    assert not last.x["x"][1, 3].any()
    assert torch.equal(last.x["label"], LABEL)
    written = finish(exact, PROCESSES, table, begun(table), MASK).x
    assert torch.equal(written["x"], last.x["x"])
    captured = Captured()(exact, PROCESSES, table, begun(table), MASK).x
    assert torch.allclose(captured["x"], last.x["x"], atol=1e-5)


def test_from_the_second_step_on_nothing_is_allocated():
    table, places = make_table("ddim", SCHEDULE, 8), []

    def watching(x, t, mask, cond):
        places.append(x["x"].data_ptr())
        return exact(x, t, mask, cond)

    finish(watching, PROCESSES, table, begun(table), MASK)
    assert len(set(places)) < 5


def test_adaptive_steps_end_where_many_fixed_ones_do():
    table = make_table("adams", SCHEDULE, 200)
    *_, last = sample(exact, PROCESSES, table, begun(table), MASK)
    found = adaptive(exact, PROCESSES, SCHEDULE, begun(table), MASK, rtol=1e-6, atol=1e-6)
    real = MASK["x"]
    assert torch.allclose(found.x["x"][real], last.x["x"][real], atol=2e-3)
    assert torch.equal(found.x["label"], LABEL)


def test_its_likelihood_counts_its_own_dimensions():
    """Of the mean of N(mean, 0.25 I) in 2 dimensions a node: -log(2 pi 0.25) / 2 each."""
    state = {"x": LABEL * torch.tensor([1.0, -1.0, 0.0]) * torch.ones(2, 4, 1), "label": LABEL}
    state["x"][1, 3] = 0
    found = log_likelihood(exact, PROCESSES, SCHEDULE, state, MASK, rtol=1e-6, atol=1e-6)
    assert found.dimensions.tolist() == [8, 6]
    expected = -0.5 * found.dimensions * torch.log(torch.tensor(2 * torch.pi * 0.25))
    assert torch.allclose(found.log_density, expected, atol=2e-2)


def test_noise_and_back():
    table = make_table("adams", SCHEDULE, 100)
    *_, last = sample(exact, PROCESSES, table, begun(table), MASK)
    encoded = encode(exact, PROCESSES, SCHEDULE, last.x, MASK, steps=60)
    run = begun(table)
    again = finish(exact, PROCESSES, table, type(run)(**{**vars(run), "x": encoded}), MASK)
    assert torch.allclose(again.x["x"], last.x["x"], atol=5e-2)


def test_inpainting_keeps_its_known_part():
    table, known = make_table("adams", SCHEDULE, 6), torch.tensor([[[1.0, 0.0, -1.0]] * 4] * 2)
    keep = {"x": torch.tensor([[True, False, False, False]] * 2)}
    told = inpaint(exact, {"x": known}, keep, PROCESSES, SCHEDULE)
    assert torch.allclose(finish(told, PROCESSES, table, begun(table), MASK).x["x"][:, 0], known[:, 0])


def test_particles_lean_to_the_reward():
    table = make_table("ddpm", SCHEDULE, 20)

    def reward(x0, t, mask):
        return -8 * (x0["x"][:, :, 2] - 0.5).square().sum(1)

    *_, last = sample_particles(
        exact, PROCESSES, SCHEDULE, table, reward, [1, 2], 16, {"x": (4, 3)}, MASK, init={"label": LABEL}
    )
    plain = finish(exact, PROCESSES, table, begun(table), MASK).x["x"]
    drawn = last.drawn(0)["x"]
    assert float((drawn[0, :, 2] - 0.5).abs().mean()) < float((plain[0, :, 2] - 0.5).abs().mean())
    assert float(drawn.sum(-1).abs().max()) < 1e-4


def test_a_table_is_fitted_to_it():
    reference = make_table("adams", SCHEDULE, 100)
    last = deque(sample(exact, PROCESSES, reference, begun(reference), MASK), maxlen=1).pop()
    problem = Problem(exact, PROCESSES, SCHEDULE, (Case(begun(reference), last.x, MASK, {}),))
    assert list(problem.units) == ["x"]
    _, numbers, before = best_start(problem, [make_table("adams", SCHEDULE, 3)])
    *_, (_, after) = calibrate(problem, numbers)
    assert after < before / 2


def test_training_learns_it_and_not_what_is_given():
    torch.manual_seed(0)
    layer = torch.nn.Linear(4, 3)

    def network(x, c_noise, mask, cond):
        return {"x": layer(torch.cat([x["x"], x["label"].expand(-1, 4, -1)], -1))}

    config = TrainingConfig(steps=1, batch_size=2)
    objective = Objective(PROCESSES, SCHEDULE, config, 1.0, {})
    assert objective.learned == ("x",)
    clean = PROCESSES["x"].project(torch.randn(2, 4, 3), MASK["x"])
    denoiser = precondition(network, SCHEDULE, processes=PROCESSES)
    losses = objective.losses(denoiser, Batch({"x": clean, "label": LABEL}, MASK, {}), 0)
    losses.sum().backward()
    assert losses.shape == (1,)
    assert float(layer.weight.grad.abs().sum()) > 0


class Neither(ZeroSum):
    linear: ClassVar[bool] = False


def test_what_is_neither_linear_nor_passive_is_named():
    processes, table = {**PROCESSES, "x": Neither()}, make_table("ddpm", SCHEDULE, 4)
    with pytest.raises(UsageError, match="'x' is Neither"):
        adaptive(exact, processes, SCHEDULE, begun(table), MASK)
    with pytest.raises(UsageError, match="'x' is of the process Neither"):
        check_processes(processes)
    with pytest.raises(UsageError, match="'x' is Neither"):
        next(
            sample_particles(
                exact, processes, SCHEDULE, table, lambda *_: 0, [1], 2, {"x": (4, 3)}, init={"label": LABEL}
            )
        )


def test_a_process_says_what_it_lacks():
    class Half(Process):
        def project(self, x, mask):
            return x

    with pytest.raises(TypeError, match="abstract"):
        Half()
