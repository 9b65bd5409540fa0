"""What two solvers, two schedules or two ways of writing one step must agree on."""

from __future__ import annotations

import math
from itertools import pairwise, product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from polydiff.engine.grids import GRIDS
from polydiff.engine.loop import start
from polydiff.engine.processes import Gaussian
from polydiff.engine.schedules import RectifiedFlow
from polydiff.engine.solvers import SOLVERS, ddim, ddpm, dpmpp, make_table
from polydiff.engine.table import Row, Table
from polydiff.errors import UsageError
from polydiff.testing.closed_forms import (
    ALL_SCHEDULES,
    ALL_SOLVERS,
    SINGLESTEP,
    STOCHASTIC,
    finish,
    gaussian,
    mixture,
    named,
)

FALLING = st.lists(st.integers(1, 1000), min_size=1, max_size=8, unique=True).map(
    lambda times: [*[t / 1000 for t in sorted(times, reverse=True)], 0.0]
)


def same(one: Table, other: Table) -> None:
    """Rows agree as affine maps of x, x̂0 and ξ, however their read-outs are written (order 1 only)."""
    assert one.nfe == other.nfe
    for left, right in zip(one.rows, other.rows, strict=True):
        for row in (left, right):
            assert len(row.b) == 1
        maps = [(r.a + r.b[0] * r.p, r.b[0] * r.q, r.c, r.t) for r in (left, right)]
        assert maps[0] == pytest.approx(maps[1], rel=1e-9, abs=1e-10)


@pytest.mark.parametrize("schedule", ALL_SCHEDULES)
@given(times=FALLING)
def test_ddpm_draws_from_the_posterior_of_the_forward_process(schedule, times):
    """q(x_s | x_t, x0) by Bayes' rule for Gaussians: x_t = r x_s + √(σ_t² - r² σ_s²) ξ, r = α_t / α_s."""
    t = torch.tensor(times, dtype=torch.float64)
    alpha, sigma = (f(t).tolist() for f in (ALL_SCHEDULES[schedule].alpha, ALL_SCHEDULES[schedule].sigma))
    rows = []
    for i, time in enumerate(times[:-1]):
        r, here, there = alpha[i] / alpha[i + 1], sigma[i] ** 2, sigma[i + 1] ** 2
        forward = max(here - r**2 * there, 0.0)
        b = alpha[i + 1] * forward / here
        rows.append(Row(t=time, a=r * there / here, b=(b,), c=math.sqrt(there * forward / here)))
    same(ddpm(ALL_SCHEDULES[schedule], times), Table(rows=tuple(rows)))
    same(ddpm(ALL_SCHEDULES[schedule], times), ddim(ALL_SCHEDULES[schedule], times, eta=1.0))


@pytest.mark.parametrize("schedule", ALL_SCHEDULES)
@given(times=FALLING)
def test_first_order_solvers_are_ddim(schedule, times):
    expected = ddim(ALL_SCHEDULES[schedule], times)
    same(dpmpp(ALL_SCHEDULES[schedule], times, order=1), expected)
    for readout, weights in (("eps", "exponential"), ("eps", "uniform"), ("x0", "exponential")):
        table = SOLVERS["adams"](ALL_SCHEDULES[schedule], times, order=1, readout=readout, weights=weights)
        same(table, expected)


@pytest.mark.parametrize("schedule", ALL_SCHEDULES)
@given(times=FALLING)
def test_the_first_order_sde_of_dpmpp_is_ancestral(schedule, times):
    same(dpmpp(ALL_SCHEDULES[schedule], times, order=1, eta=1.0), ddpm(ALL_SCHEDULES[schedule], times))


@given(times=FALLING)
def test_euler_on_the_rectified_flow_is_ddim(times):
    """x_s = x_t + (s - t) (eps - x0), with eps from x_t = (1 - t) x0 + t eps."""
    for row, (t, s) in zip(ddim(RectifiedFlow(), times).rows, pairwise(times), strict=True):
        a = 1 + (s - t) / t
        b = -(s - t) * (1 + (1 - t) / t)
        assert (row.a, row.b[0]) == pytest.approx((a, b), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("case", [case for case in ALL_SOLVERS if case[0] != "deis"], ids=named)
def test_a_vp_run_is_the_rescaled_ve_run(case):
    """With the same log-SNR nodes only the scale alpha differs, draw for draw. (DEIS is made of polynomials
    in t, which is another function of the noise level on each schedule.)"""
    solver, options = case
    vp, ve = ALL_SCHEDULES["linear_vp"], ALL_SCHEDULES["ve"]
    log_snr = torch.linspace(-6, 6, 9, dtype=torch.float64)
    ends = {}
    for schedule in (vp, ve):
        times = [*schedule.t_of_log_snr(log_snr).tolist(), 0.0]
        table = SOLVERS[solver](schedule, times, **options)
        run = start({"x": Gaussian()}, schedule, table, [1, 2], {"x": (6, 3)}, dtype=torch.float64)
        ends[schedule] = finish(mixture().denoiser(schedule), {"x": Gaussian()}, table, run).x["x"]
    assert torch.allclose(ends[vp], ends[ve], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("schedule", ALL_SCHEDULES)
@pytest.mark.parametrize("case", STOCHASTIC, ids=named)
def test_stochastic_solvers_sample_the_right_moments(case, schedule):
    """At 60 steps mean and deviation of each channel of N(mean, s²) come back."""
    solver, options = case
    problem = gaussian()
    mean = torch.tensor([0.3, -0.2, 0.1])
    problem = type(problem)(mean[None].double(), problem.variances)
    steps = 120 if solver in ("ddpm", "ddim") else 60
    table = make_table(
        solver, ALL_SCHEDULES[schedule], steps, "uniform_log_snr", options, grid_options={"sigma_min": 0.01}
    )
    run = start({"x": Gaussian()}, ALL_SCHEDULES[schedule], table, range(4), {"x": (256, 3)})
    x = finish(problem.denoiser(ALL_SCHEDULES[schedule]), {"x": Gaussian()}, table, run).x["x"].flatten(0, 1)
    deviation = problem.variances[0].sqrt()
    # 1,024 draws: four standard errors of mean and deviation, and the discretisation's bias
    assert torch.all((x.mean(0) - mean).abs() < 4 * deviation / 32 + 0.02)
    assert torch.all((x.std(0) / deviation - 1).abs() < 4 / math.sqrt(2 * 1024) + 0.05)


@pytest.mark.parametrize("scale", [0.0, 0.4, 0.8])
def test_less_noise_draws_gaussian_data_together_by_as_much(scale):
    """dV/dw = 2 V / w - scale², w = s² + sigma², has the solution V = scale² w for w large at the start."""
    problem, schedule = gaussian(), ALL_SCHEDULES["edm"]
    table = make_table("ddpm", schedule, 400, "uniform_log_snr", {"noise_scale": scale})
    run = start({"x": Gaussian()}, schedule, table, range(4), {"x": (256, 3)})
    x = finish(problem.denoiser(schedule), {"x": Gaussian()}, table, run).x["x"].flatten(0, 1)
    assert torch.all((x.std(0) / problem.variances[0].sqrt() - scale).abs() < 0.06)


def sliced_distance(x: torch.Tensor, y: torch.Tensor) -> float:
    """Sliced 1-Wasserstein distance of two sets of equal size, over 32 directions."""
    directions = torch.randn(x.shape[1], 32, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    directions = directions / directions.norm(dim=0)
    return float(((x @ directions).sort(0).values - (y @ directions).sort(0).values).abs().mean())


@pytest.mark.parametrize("schedule", ["edm", "rectified_flow"])
@pytest.mark.parametrize("case", STOCHASTIC, ids=named)
def test_stochastic_solvers_sample_the_right_mixture(case, schedule):
    """At 60 steps the samples are as far from exact ones as these are from each other, and a little bias."""
    solver, options = case
    problem, generator = mixture(), torch.Generator().manual_seed(1)
    exact = []
    for _ in range(2):
        kind = torch.randint(3, (2048,), generator=generator)
        normals = torch.randn(2048, 3, generator=generator, dtype=torch.float64)
        exact.append(problem.means[kind] + problem.variances[kind].sqrt() * normals)
    steps = 120 if solver in ("ddpm", "ddim") else 60
    table = make_table(
        solver, ALL_SCHEDULES[schedule], steps, "uniform_log_snr", options, grid_options={"sigma_min": 0.01}
    )
    run = start({"x": Gaussian()}, ALL_SCHEDULES[schedule], table, range(4), {"x": (512, 3)})
    x = finish(problem.denoiser(ALL_SCHEDULES[schedule]), {"x": Gaussian()}, table, run).x["x"]
    floor = sliced_distance(*exact)
    assert sliced_distance(x.flatten(0, 1).double(), exact[0]) < 1.5 * floor + 0.02


@pytest.mark.parametrize("grid", [name for name in GRIDS if name != "custom"])
@pytest.mark.parametrize("schedule", ALL_SCHEDULES)
def test_few_steps_and_both_ends_stay_finite(schedule, grid):
    schedule = ALL_SCHEDULES[schedule]
    denoiser = gaussian().denoiser(schedule)
    for (solver, options), steps in product(ALL_SOLVERS, (1, 2, 3)):
        case = f"{named((solver, options))} in {steps}"
        table = make_table(solver, schedule, steps, grid, options)
        assert (table.rows[0].t, table.end) == (1, 0), case
        assert table.nfe == steps or solver in SINGLESTEP or grid in ("restart", "repaint"), case
        run = start({"x": Gaussian()}, schedule, table, [5], {"x": (4, 3)})
        x = finish(denoiser, {"x": Gaussian()}, table, run).x["x"]
        assert torch.isfinite(x).all(), case
        # Heun and DPM-Solver-2 leave the data on steps this long, but not the range of the prior
        assert x.abs().max() < 600, case


@pytest.mark.parametrize("case", ALL_SOLVERS, ids=named)
def test_the_last_step_returns_x0_itself(case):
    """So what a denoiser knows exactly (inpainting) and what it rounds (bfloat16) ends as it is."""
    solver, options = case
    row = make_table(solver, ALL_SCHEDULES["cosine"], 5, options=options).rows[-1]
    assert (row.a, row.b, row.c, row.base, row.p, row.q) == (0.0, (1.0,), 0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("schedule", ALL_SCHEDULES)
@pytest.mark.parametrize("case", ALL_SOLVERS, ids=named)
def test_steps_shorter_than_any_digit_leave_a_finite_table(case, schedule):
    solver, options = case
    for times in ([1.0, 1 - 1e-16, 1 - 3e-16, 0.5, 0.5 - 1e-16, 1e-12, 1e-300, 0.0], [1e-6, 1e-7, 0.0]):
        assert SOLVERS[solver](ALL_SCHEDULES[schedule], times, **options).nfe >= 2


def test_steps_of_no_length_are_left_out():
    assert ddim(RectifiedFlow(), [1.0, 0.5, 0.5, 0.0]) == ddim(RectifiedFlow(), [1.0, 0.5, 0.0])


def test_a_rise_in_time_adds_the_noise_that_belongs_there():
    table = ddim(RectifiedFlow(), [1.0, 0.4, 0.6, 0.0])
    plain = ddim(RectifiedFlow(), [1.0, 0.4, 0.0])
    keep = 0.4 / 0.6  # alpha(0.6) / alpha(0.4)
    assert table.nfe == 2
    assert table.rows[0].b[0] == pytest.approx(keep * plain.rows[0].b[0])
    assert table.rows[0].c == pytest.approx(math.sqrt(0.6**2 - (keep * 0.4) ** 2))
    assert table.rows[1] == ddim(RectifiedFlow(), [0.6, 0.0]).rows[0]


@pytest.mark.parametrize("solver", ["adams", "heun", "dpmpp"])
def test_a_multistep_history_does_not_cross_a_rise(solver):
    rows = SOLVERS[solver](ALL_SCHEDULES["edm"], [1.0, 0.5, 0.2, 0.4, 0.1, 0.05, 0.0]).rows
    after = next(i for i, row in enumerate(rows) if row.t == 0.4)
    assert len(rows[after].b) == 1
    assert rows[after - 1].c > 0


@given(
    st.lists(
        st.builds(
            Row,
            t=st.floats(0, 1),
            a=st.floats(-10, 10),
            b=st.lists(st.floats(-10, 10), min_size=1, max_size=4).map(tuple),
            p=st.floats(-10, 10),
            c=st.floats(0, 10),
            anchor=st.booleans(),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_a_table_survives_json_to_the_last_bit(rows):
    table = Table(rows=tuple(rows), solver="mine")
    assert Table.from_json(table.to_json()) == table


def test_few_steps_from_noise_alone_are_on_v_and_what_is_asked_for_is_taken():
    flow, edm = ALL_SCHEDULES["rectified_flow"], ALL_SCHEDULES["edm"]
    v = {"readout": "v", "deviation": 4.0}
    for steps in (5, 6):
        assert make_table("adams", flow, steps) == make_table("adams", flow, steps, options=v)
    eps = [(flow, 4, {}), (flow, 7, {}), (edm, 5, {}), (flow, 5, {"weights": "uniform"})]
    for schedule, steps, options in eps:
        wanted = {"readout": "eps", **options}
        assert make_table("adams", schedule, steps, options=options) == make_table(
            "adams", schedule, steps, options=wanted
        )
    with pytest.raises(UsageError, match="readout 'v' only"):
        make_table("adams", flow, 5, options={"deviation": 2.0})


@pytest.mark.parametrize("deviation", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("schedule", ["edm", "cosine", "rectified_flow"])
def test_v_is_exact_on_a_gaussian_of_its_deviation(schedule, deviation):
    """Where v̂ = 0 all the way, but for the last step (and one from noise alone), which are DDIM's."""
    schedule = ALL_SCHEDULES[schedule]
    levels = schedule.t_of_log_snr(torch.tensor([-4.0, -1.0, 3.0], dtype=torch.float64)).tolist()
    options = {"readout": "v", "deviation": deviation}
    table = make_table("adams", schedule, 4, [*levels, 0.001, 0.0], options)
    alpha, sigma = (
        f(torch.tensor([*levels, 0.001], dtype=torch.float64)) for f in (schedule.alpha, schedule.sigma)
    )
    width = torch.hypot(alpha * deviation, sigma).tolist()  # the deviation of the state
    state = width[0]
    for row, here, there in zip(table.rows[:-1], width, width[1:], strict=False):
        x0_hat = (
            float(schedule.alpha(torch.tensor(row.t, dtype=torch.float64))) * (deviation / here) ** 2 * state
        )
        assert abs(row.p * state + row.q * x0_hat) < 1e-12 * here
        state = row.a * state
        assert math.isclose(state, there, rel_tol=1e-12)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 1}', '{"version": 1, "rows": [{"x": 1}]}', "3"]
)
def test_a_text_that_is_no_table_is_refused(text):
    with pytest.raises(UsageError, match="table"):
        Table.from_json(text)


def test_a_table_of_another_version_is_refused():
    with pytest.raises(UsageError, match="version"):
        Table.from_json('{"version": 99, "rows": []}')


def test_a_table_that_is_not_finite_is_refused():
    with pytest.raises(UsageError, match="row 0 of the mine table is not finite"):
        Table(rows=(Row(t=1.0, a=math.nan, b=(1.0,)),), solver="mine")


def test_a_table_prints_one_line_a_row():
    text = str(make_table("adams", ALL_SCHEDULES["edm"], 4))
    assert len(text.splitlines()) == 6
    assert text.splitlines()[0].endswith("on karras: 4 network calls to t = 0")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"solver": "adam"}, "unknown solver 'adam'.*Did you mean 'adams'"),
        ({"solver": "ddim", "grid": "karas"}, "unknown grid 'karas'.*Did you mean 'karras'"),
        ({"solver": "ddim", "options": {"etta": 1.0}}, "has no option 'etta'.*Did you mean 'eta'"),
        ({"solver": "ddpm", "options": {"eta": 1.0}}, "has no option 'eta'"),
        ({"solver": "ddpm", "options": {"noise_scale": 1.5}}, "noise_scale must lie between 0 and 1"),
        ({"solver": "ddim", "grid_options": {"rhoo": 1.0}}, "has no option 'rhoo'.*Did you mean 'rho'"),
        ({"solver": "ddim", "options": {"eta": 2.0}}, "eta must lie between 0 and 1"),
        ({"solver": "dpmpp", "options": {"eta": -1.0}}, "eta must not be negative"),
        ({"solver": "adams", "options": {"order": 5}}, "order must be a whole number from 1 to 4"),
        ({"solver": "adams", "options": {"readout": "z"}}, "readout 'eps', 'x0' or 'v'"),
        ({"solver": "ddim", "steps": 0}, "steps must be a whole number of at least 1"),
        ({"solver": "ddim", "steps": 2.5}, "steps must be a whole number"),
        (
            {"solver": "adams", "options": {"readout": "v", "weights": "uniform"}},
            "uniform weights for the readout 'eps' only",
        ),
        (
            {"solver": "adams", "options": {"deviation": 2.0, "readout": "eps"}},
            "deviation above 0 for the readout 'v' only, got 2.0",
        ),
        ({"solver": "adams", "options": {"deviation": 0.0, "readout": "v"}}, "deviation above 0"),
        ({"solver": "ddim", "grid": [1.0, 0.5]}, "needs 5 times, got 2"),
        ({"solver": "ddim", "steps": 2, "grid": [1.5, 0.5, 0.0]}, "between 0 and 1"),
        ({"solver": "ddim", "steps": 2, "grid": [1.0, 0.5, 0.1]}, "end at 0"),
        ({"solver": "ddim", "steps": 2, "grid": [0.5, 1.0, 0.0]}, "begin with a fall"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(UsageError, match=message):
        make_table(**{"schedule": ALL_SCHEDULES["edm"], "steps": 4, **arguments})
