"""The same numbers on a GPU as on the CPU, for every process and for all that wraps a denoiser."""

from __future__ import annotations

from collections import deque

import pytest
import torch
from torch.testing import assert_close

from polydiff.engine.guidance import apg, cfg_zero, steer, threshold
from polydiff.engine.inverse import posterior
from polydiff.engine.inverse.particles import measured, sample_particles
from polydiff.engine.inverse.posterior import Measurement
from polydiff.engine.loop import start
from polydiff.engine.noise import noise
from polydiff.engine.ode.adaptive import adaptive
from polydiff.engine.ode.encoding import encode
from polydiff.engine.ode.likelihood import log_likelihood
from polydiff.engine.processes import Fixed, Gaussian
from polydiff.engine.solvers import make_table
from polydiff.testing.closed_forms import ALL_SCHEDULES, finish, mixture
from tests.engine.test_posterior import A, Y, prior
from tests.engine.test_spaces import DRAWN, PROCESSES, WIDTHS, example, shapes, whole_loop

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

EDM = ALL_SCHEDULES["edm"]
DEVICES = ("cpu", "cuda")
BLURRED = {"x": Gaussian()}


def cpu(values):
    if isinstance(values, torch.Tensor):
        return values.cpu()
    if isinstance(values, dict):
        return {name: cpu(value) for name, value in values.items()}
    return [cpu(value) for value in values]


def agree(function, **tolerance):
    """What a function of the device gives on both."""
    one, other = (cpu(function(device)) for device in DEVICES)
    assert_close(other, one, **tolerance)


def exact(device):
    """The denoiser of a mixture whose numbers lie on a device, each sample at a time of its own."""
    problem = mixture()
    problem = type(problem)(problem.means.to(device), problem.variances.to(device))

    def call(x, t, mask, cond):
        alpha, sigma = EDM.alpha(t).tolist(), EDM.sigma(t).tolist()
        rows = [problem.denoise(row, a, s) for row, a, s in zip(x["x"], alpha, sigma, strict=True)]
        return {"x": torch.stack(rows)}

    return call


def at(device, level):
    return EDM.t_of_log_snr(torch.full((2,), level, dtype=torch.float64, device=device))


@pytest.mark.parametrize("level", [-6.0, -1.0, 4.0])
@pytest.mark.parametrize("name", DRAWN)
def test_noise_targets_and_losses(name, level):
    process, clean = PROCESSES[name], example(3, 6)[name].double()

    def function(device):
        x0 = clean[None].expand(2, *clean.shape).to(device)
        seeds = torch.tensor([3, 4], device=device)
        xi = noise(seeds, "x", 1, process.noise_shape(tuple(clean.shape)), torch.float64)
        t = at(device, level)
        x = process.corrupt(x0, xi, t, EDM, None)
        target = process.target(x0, x, t, EDM)
        return [x, process.prior(xi, EDM, t, None), target, process.loss(x, x0, x, t, EDM, None)]

    agree(function, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("solver", ["adams", "ddpm", "heun"])
def test_a_product_of_all_spaces_is_sampled(solver):
    def function(device):
        def still(x, t, mask, cond):
            answer = {name: x[name].clone() for name in DRAWN}
            answer["place"] = torch.tanh(x["place"])
            answer["angle"] = PROCESSES["angle"].exp(x["angle"], 0.3 * torch.sin(x["angle"]))
            for pose in ("pose", "way"):
                answer[pose] = PROCESSES[pose].exp(x[pose], 0.3 * x[pose][..., 0])
            for token in ("kind", "letter"):
                answer[token] = (x[token] + 0.1).softmax(-1)
            return answer

        table = make_table(solver, EDM, 6)
        label = {"label": torch.ones(2, 5, 1, device=device)}
        run = start(PROCESSES, EDM, table, [1, 2], shapes(5), None, label, device, torch.float64)
        return finish(still, PROCESSES, table, run).x

    agree(function, rtol=1e-6, atol=1e-7)


def test_the_guided_and_informed_loop_stays_on_the_device():
    x = whole_loop("cuda")().x
    assert {value.device.type for value in x.values()} == {"cuda"}
    assert x.keys() == WIDTHS.keys() | {"label"}


@pytest.mark.parametrize("method", ["dps", "pigdm", "mmps", "diffpir"])
def test_posteriors(method):
    def function(device):
        matrix = A.T.to(device)
        seen = Measurement(lambda x0, mask: x0["x"].sum(1) @ matrix, Y.to(device), 0.2)
        informed = getattr(posterior, method)(exact(device), seen, EDM)
        x = noise(torch.tensor([1, 2], device=device), "x", 0, (1, 3), torch.float64)
        return informed({"x": x}, at(device, 0.0), {}, {})["x"]

    agree(function, rtol=1e-7, atol=1e-8)


def test_particles():
    def function(device):
        matrix, table = A.T.to(device), make_table("ddpm", EDM, 10)
        seen = Measurement(lambda x0, mask: x0["x"].sum(1) @ matrix, Y.to(device), 0.2)
        denoiser = _each(prior("any"), device)
        arguments = (denoiser, BLURRED, EDM, table, measured(seen, EDM), [3, 4], 8, {"x": (1, 3)})
        last = deque(sample_particles(*arguments, device=device, dtype=torch.float64), maxlen=1).pop()
        return [last.x["x"], last.weights, last.drawn([3, 4])["x"]]

    agree(function, rtol=1e-6, atol=1e-7)


def _each(problem, device):
    moved = type(problem)(problem.means.to(device), problem.variances.to(device))
    return moved.denoiser(EDM)


def test_guidance_by_contrast_energy_and_threshold():
    def function(device):
        def network(x, t, mask, cond):
            return {"x": torch.tanh(x["x"] + cond["digit"][:, :, None])}

        null = {"digit": torch.zeros(1, 1, device=device)}
        cond = {"digit": torch.tensor([[1.0], [2.0]], device=device)}
        mask = {"x": torch.arange(4, device=device) < torch.tensor([[3], [4]], device=device)}
        x = {"x": noise(torch.tensor([1, 2], device=device), "x", 0, (4, 3), torch.float64)}
        guided = [
            apg(network, 3.0, null, norm=0.5, interval=(-9.0, 9.0), schedule=EDM),
            cfg_zero(network, 3.0, null, EDM),
            steer(network, lambda x0, mask: x0["x"].square().sum((1, 2)), EDM),
            threshold(network, 0.3),
        ]
        return [denoiser(x, at(device, 0.0), mask, cond)["x"] for denoiser in guided]

    agree(function, rtol=1e-7, atol=1e-8)


def test_adaptive_steps_likelihood_and_encoding():
    def function(device):
        denoiser, processes = exact(device), {"x": Gaussian(), "label": Fixed()}
        table = make_table("ddim", EDM, 2)
        label = {"label": torch.ones(2, 1, 1, dtype=torch.float64, device=device)}
        run = start(processes, EDM, table, [1, 2], {"x": (4, 3)}, None, label, device, torch.float64)
        followed = adaptive(denoiser, processes, EDM, run)
        density = log_likelihood(denoiser, BLURRED, EDM, {"x": followed.x["x"]}, probes=2)
        noisy = encode(_each(mixture(), device), BLURRED, EDM, {"x": followed.x["x"]}, steps=5)
        return [followed.x["x"], density.log_density, noisy["x"]]

    agree(function, rtol=1e-6, atol=1e-6)
