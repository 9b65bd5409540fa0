"""Rotations, angles and categories by themselves: known densities, invariants, bounds on the likelihood."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from polydiff.engine.denoisers import precondition
from polydiff.engine.noise import noise
from polydiff.engine.processes import Categorical, Gaussian, Process, Rotation, Torus, igso3, quaternions
from polydiff.engine.processes.torus import wrap
from polydiff.engine.schedules import RectifiedFlow, Schedule
from polydiff.testing.closed_forms import ALL_SCHEDULES
from polydiff.testing.curved import chi_squared, igso3_cdf, igso3_density, wrapped_density

EDM, FLOW = ALL_SCHEDULES["edm"], RectifiedFlow()
WIDE = 8_000


def at(ratio: float, count: int = 1, schedule: Schedule = EDM) -> torch.Tensor:
    """Times at which sigma / alpha is `ratio`."""
    return schedule.t_of_log_snr(torch.full((count,), -2 * math.log(ratio), dtype=torch.float64))


def kolmogorov(shares: torch.Tensor) -> float:
    """√n times the Kolmogorov-Smirnov distance of values from uniform ones; 1.95 at the 0.1 % level."""
    shares = shares.flatten().double().sort().values
    ranks = (torch.arange(len(shares), dtype=torch.float64) + 0.5) / len(shares)
    return float((shares - ranks).abs().max()) * math.sqrt(len(shares))


def rotations(seed: int, count: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return Rotation().prior(noise(seed, "r", 0, (count, 3), dtype), EDM, at(1.0), None)


@given(st.integers(0, 10_000), st.sampled_from([1e-7, 1e-3, 0.5, 3.0, math.pi - 1e-6, math.pi]))
def test_a_turn_of_any_angle_comes_back_from_its_matrix(seed, angle):
    axis = torch.nn.functional.normalize(noise(seed, "axis", 0, (3,), torch.float64), dim=-1)
    matrix = quaternions.to_matrix(quaternions.exp(angle * axis))
    assert float((matrix.mT @ matrix - torch.eye(3)).abs().max()) < 1e-14
    assert torch.allclose(matrix, torch.linalg.matrix_exp(_cross(angle * axis)), atol=1e-12)
    back = quaternions.log(quaternions.from_matrix(matrix))
    signs = (1, -1) if angle == math.pi else (1,)  # half a turn may go either way
    assert min(float((back - sign * angle * axis).abs().max()) for sign in signs) < 1e-9


def _cross(v: torch.Tensor) -> torch.Tensor:
    x, y, z = v.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).unflatten(-1, (3, 3))


@given(st.integers(0, 10_000), st.sampled_from([1e-3, 0.3, 0.8]))
def test_the_nearest_rotation_is_that_of_the_singular_value_decomposition(seed, disturbance):
    matrix = rotations(seed, 5)[0] + disturbance * noise(seed, "d", 0, (5, 3, 3), torch.float64)[0] / 3
    u, sizes, v = torch.linalg.svd(matrix)
    hand = torch.linalg.det(u @ v)
    turn = torch.diag_embed(torch.stack([torch.ones(5).double(), torch.ones(5).double(), hand], -1))
    nearest = quaternions.to_matrix(quaternions.from_matrix(matrix))
    apart, gap = (nearest - u @ turn @ v).abs().amax((-1, -2)), sizes[:, 1] + hand * sizes[:, 2]
    assert bool((apart[gap > 0.5] < 1e-5).all())  # where it nears zero no rotation is the nearest
    assert bool((apart[gap > 1.6] < 1e-12).all())


@pytest.mark.parametrize("ratio", [0.03, 0.4, 0.99, 1.01, 1.7, 3.0])
def test_rotations_are_noised_with_the_known_density(ratio):
    x0 = rotations(1, WIDE, torch.float32)
    xi = noise(2, "x", 0, (WIDE, 3))
    turn = Rotation().log(x0, Rotation().corrupt(x0, xi, at(ratio), EDM, None))
    angle = turn.double().norm(dim=-1)
    assert kolmogorov(igso3_cdf(angle, ratio)) < 1.95
    axis = turn / turn.norm(dim=-1, keepdim=True)
    assert all(kolmogorov((axis[..., k] + 1) / 2) < 1.95 for k in range(3))  # uniform on the sphere
    if ratio < 0.1:
        assert torch.allclose(turn, ratio * xi, atol=3e-4)  # and the seed's own normals where noise is little


@pytest.mark.parametrize("ratio", [0.05, 0.5, 0.99, 1.0, 1.5, 3.0])
def test_the_pull_is_the_slope_of_the_density(ratio):
    angle = torch.linspace(0.01, math.pi, 200, dtype=torch.float64).requires_grad_()
    density = igso3_density(angle, ratio)
    (slope,) = torch.autograd.grad(density.log().sum(), angle)
    safe = density > 1e-6
    found = igso3.pull_factor(angle, torch.full_like(angle, ratio))
    assert float((found + ratio**2 * slope / angle)[safe].detach().abs().max()) < 1e-6


def test_the_prior_of_rotations_is_uniform_at_any_time():
    x = rotations(3, WIDE, torch.float32)[0]
    angle = quaternions.log(quaternions.from_matrix(x)).double().norm(dim=-1)
    assert kolmogorov((angle - torch.sin(angle)) / math.pi) < 1.95
    assert all(kolmogorov((x[:, i, j] + 1) / 2) < 1.95 for i in range(3) for j in range(3))


@given(st.integers(0, 1000), st.sampled_from(["igso3", "geodesic"]), st.floats(0.01, 50))
def test_noise_turns_with_the_rotation_that_it_is_put_on(seed, path, ratio):
    x0, left = rotations(seed, 4), rotations(seed + 1, 1)
    xi = noise(seed, "x", 0, (4, 3), torch.float64)
    plain = Rotation(path).corrupt(x0, xi, at(ratio), EDM, None)
    turned = Rotation(path).corrupt(left @ x0, xi, at(ratio), EDM, None)
    assert torch.allclose(turned, left @ plain, atol=1e-9)


def test_geodesic_noise_goes_its_share_of_the_way_to_a_uniform_rotation():
    x0, xi = rotations(1, WIDE), noise(2, "x", 0, (WIDE, 3), torch.float64)
    process, t = Rotation("geodesic"), torch.tensor([0.3], dtype=torch.float64)
    angle = process.log(x0, process.corrupt(x0, xi, t, FLOW, None)).norm(dim=-1) / 0.3
    assert kolmogorov((angle - torch.sin(angle)) / math.pi) < 1.95


@pytest.mark.parametrize("ratio", [0.05, 0.7, 2.0])
def test_angles_are_noised_with_the_wrapped_normal(ratio):
    x0 = torch.full((1, WIDE, 1), 3.0)
    x = Torus().corrupt(x0, noise(1, "x", 0, (WIDE, 1)), at(ratio), EDM, None)
    assert float(x.abs().max()) <= math.pi + 1e-6
    grid = torch.linspace(-math.pi, math.pi, 4001, dtype=torch.float64)
    below = torch.nn.functional.pad(torch.cumulative_trapezoid(wrapped_density(grid, ratio), grid), (1, 0))
    place = (wrap(x.double() - 3.0).flatten() + math.pi) / (2 * math.pi) * 4000
    low = place.floor().long().clamp(0, 3999)
    assert kolmogorov(torch.lerp(below[low], below[low + 1], place - low)) < 1.95


def test_the_prior_of_angles_is_uniform_and_so_is_much_noise():
    xi = noise(1, "x", 0, (WIDE, 1))
    for x in (Torus().prior(xi, EDM, at(1.0), None), Torus().corrupt(xi * 0 + 1, xi, at(70.0), EDM, None)):
        assert kolmogorov((x + math.pi) / (2 * math.pi)) < 1.95


@given(st.integers(0, 1000), st.integers(-3, 3), st.floats(0.01, 60))
def test_a_whole_turn_changes_nothing(seed, turns, ratio):
    x0, xi = noise(seed, "x0", 0, (8, 2), torch.float64), noise(seed, "x", 0, (8, 2), torch.float64)
    moved = x0 + 2 * math.pi * turns
    x, same = (Torus().corrupt(value, xi, at(ratio), EDM, None) for value in (x0, moved))
    assert float(Torus().log(x, same).abs().max()) < 1e-9
    one, other = (Torus().target(value, x, at(ratio), EDM) for value in (x0, moved))
    assert float(Torus().log(one, other).abs().max()) < 1e-6


@pytest.mark.parametrize("ratio", [0.1, 0.8, 2.0, 4.0])
def test_the_pull_of_an_angle_is_the_slope_of_the_wrapped_normal(ratio):
    v = torch.linspace(-3.1, 3.1, 101, dtype=torch.float64).requires_grad_()
    density = wrapped_density(v, ratio)
    (slope,) = torch.autograd.grad(density.log().sum(), v)
    safe = density > 1e-6
    found = Torus().pull(v.detach().reshape(1, -1, 1), torch.tensor([ratio]).double()).flatten()
    assert float((found + ratio**2 * slope)[safe].detach().abs().max()) < 1e-6


@pytest.mark.parametrize("transition", ["absorbing", "uniform"])
@pytest.mark.parametrize("schedule", ["cosine", "edm"])
def test_categories_are_kept_with_the_schedules_share(transition, schedule):
    schedule, process = ALL_SCHEDULES[schedule], Categorical(transition)
    x0 = torch.zeros(1, WIDE, 4)
    x0[..., 2] = 1
    keep, t = 1 / (1 + 0.8**2), at(0.8, 1, schedule)
    x = process.corrupt(x0, noise(1, "x", 0, (WIDE, 5)), t, schedule, None)[0]
    found = torch.cat([x.sum(0), (1 - x.sum(-1)).sum()[None]]).double()
    other = torch.tensor([0, 0, 0, 0, 1] if transition == "absorbing" else [0.25] * 4 + [0]).double()
    expected = (1 - keep) * other + keep * torch.tensor([0, 0, 1, 0, 0])
    possible = expected > 0
    assert (found[~possible] == 0).all()
    assert chi_squared(found[possible], expected[possible]) < 18.5  # four degrees, 0.1 %
    prior = process.prior(noise(1, "x", 0, (WIDE, 5)), schedule, t, None)[0].sum(0).double()
    if transition == "absorbing":
        assert prior.sum() == 0
    else:
        assert chi_squared(prior, torch.full((4,), 0.25)) < 16.3


def two_points(process: Process) -> torch.Tensor:
    """Two clean states (2, 1, ...) and nothing between them."""
    if isinstance(process, Rotation):
        turns = torch.tensor([[[0.2, 0, 0]], [[0, 1.9, 1.0]]], dtype=torch.float64)
        return quaternions.to_matrix(quaternions.exp(turns))
    if isinstance(process, Categorical):
        return torch.tensor([[[1.0, 0, 0]], [[0, 0, 1.0]]]).double()
    return torch.tensor([[[0.7]], [[-0.9]]]).double()


def likelihoods(process: Process, x: torch.Tensor, points: torch.Tensor, ratio: float, alpha: float):
    """log p(x_t | x0) of states (n, 1, ...) at each of the points, (n, 2), but for a common term."""
    keep = 1 / (1 + ratio**2)
    columns = []
    for x0 in points:
        if isinstance(process, Gaussian):
            columns.append(-((x - alpha * x0) ** 2).sum((1, 2)) / (2 * (alpha * ratio) ** 2))
        elif isinstance(process, Torus):
            lifts = wrap(x - x0) + 2 * math.pi * torch.arange(-20, 21)
            columns.append(torch.logsumexp(-(lifts**2) / (2 * ratio**2), -1)[:, 0])
        elif isinstance(process, Rotation):
            angle = process.log(x, x0.expand_as(x)).norm(dim=-1)[:, 0]
            if ratio > 0.5:
                columns.append(igso3_density(angle, ratio, 40).log())
            else:  # one lift says all
                columns.append((angle / torch.sin(angle / 2)).log() - angle**2 / (2 * ratio**2))
        elif process.transition == "absorbing":
            agrees = (x * x0).sum((1, 2)) + (x.sum((1, 2)) < 0.5)
            columns.append(torch.where(agrees > 0.5, 0.0, -1e9))
        else:
            columns.append((keep * (x * x0).sum((1, 2)) + (1 - keep) / 3).log())
    return torch.stack(columns, -1)


@pytest.mark.parametrize(
    "process", [Gaussian(), Torus(), Rotation(), Categorical(), Categorical("uniform")], ids=repr
)
def test_the_loss_of_the_exact_denoiser_adds_up_to_the_entropy_of_the_data(process):
    """∫ snr / 2 · loss d log_snr = log 2 for two points: what noise takes away, no more (Kingma et al.
    2021; for a Gaussian the I-MMSE relation of Guo et al. 2005). So one weight fits all processes."""
    points, n = two_points(process), 1_200
    x0 = points[torch.arange(n) % 2]
    levels = torch.linspace(-6, 9, 31, dtype=torch.float64)  # log_snr
    entries = points[0, 0].numel() if isinstance(process, Gaussian | Torus) else 1
    entries = 3 if isinstance(process, Rotation) else entries
    rates = []
    for number, level in enumerate(levels):
        t = FLOW.t_of_log_snr(level.expand(n))
        xi = noise(range(n), "x", number, process.noise_shape(tuple(x0.shape[1:])), torch.float64)
        x = process.corrupt(x0, xi, t, FLOW, None)
        ratio, alpha = math.exp(-float(level) / 2), float(FLOW.alpha(t[0]))
        chances = likelihoods(process, x, points, ratio, alpha).softmax(-1)
        weights = [chances[:, j].reshape(n, 1, *[1] * (x0.dim() - 2)) for j in (0, 1)]
        if isinstance(process, Torus | Rotation):
            turns = [process.log(x, process.target(p.expand_as(x), x, t, FLOW)) for p in points]
            v = sum(w.reshape(n, 1, 1) * turn for w, turn in zip(weights, turns, strict=True))
            answer = process.exp(x, v)
        else:
            answer = sum(w * p for w, p in zip(weights, points, strict=True))
        loss = process.loss(answer, x0, x, t, FLOW, None)
        rates.append(float(loss.double().mean()) * entries * math.exp(float(level)) / 2)
    total = float(torch.trapezoid(torch.tensor(rates, dtype=torch.float64), levels))
    assert total == pytest.approx(math.log(2), rel=0.12)


@pytest.mark.parametrize(
    "process",
    [Torus(), Rotation(), Rotation("geodesic"), Categorical(), Categorical("uniform")],
    ids=repr,
)
def test_the_loss_has_gradients_where_a_network_begins(process):
    """A last layer of zeros answers x itself, at every noise level down to none that float32 can tell."""
    shape = {Torus: (2,), Rotation: (3, 3), Categorical: (4,)}[type(process)]
    prior = Categorical("uniform") if isinstance(process, Categorical) else process
    x0 = prior.prior(noise(range(6), "c", 0, prior.noise_shape((5, *shape))), EDM, at(1.0, 6), None)
    t = torch.tensor([1e-6, 1e-4, 1e-2, 0.05, 0.3, 1.0], dtype=torch.float64)
    x = process.corrupt(x0, noise(range(6), "x", 0, process.noise_shape((5, *shape))), t, EDM, None)
    output = torch.zeros(6, *process.output_shape((5, *shape)), requires_grad=True)
    denoiser = precondition(lambda *_: {"x": output}, EDM, processes={"x": process})
    loss = process.loss(denoiser({"x": x}, t, {}, {})["x"], x0, x, t, EDM, None)
    assert torch.isfinite(loss).all()
    (slope,) = torch.autograd.grad((loss * (1 + torch.exp(EDM.log_snr(t)))).sum(), output)
    assert torch.isfinite(slope).all()
    assert float(slope.abs().max()) < 1e4
    assert float(slope[2:5].abs().sum()) > 0
