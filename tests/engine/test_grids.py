"""Grids fall from 1 to 0 on every schedule, whatever the number of steps."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from polydiff.engine.grids import GRIDS, custom, noise_level
from polydiff.engine.solvers import make_table
from polydiff.errors import UsageError
from polydiff.testing.closed_forms import ALL_SCHEDULES

RISING = ("restart", "repaint")
NAMED = [name for name in GRIDS if name not in ("custom", *RISING)]


@pytest.mark.parametrize("schedule", ALL_SCHEDULES)
@pytest.mark.parametrize("grid", NAMED)
@given(steps=st.integers(1, 200))
def test_a_grid_falls_from_one_to_zero(grid, schedule, steps):
    times = GRIDS[grid](ALL_SCHEDULES[schedule], steps)
    assert (times.dtype, times.device.type) == (torch.float64, "cpu")
    assert len(times) == steps + 1
    assert (times[0], times[-1]) == (1, 0)
    assert (times.diff() < 0).all()


@pytest.mark.parametrize("schedule", ALL_SCHEDULES)
@pytest.mark.parametrize("grid", RISING)
@given(steps=st.integers(1, 40))
def test_a_rising_grid_begins_with_a_fall_and_ends_at_zero(grid, schedule, steps):
    times = GRIDS[grid](ALL_SCHEDULES[schedule], steps)
    assert (times[0], times[-1]) == (1, 0)
    assert times[1] < 1
    assert times.min() == 0
    assert times.max() == 1
    table = make_table("ddim", ALL_SCHEDULES[schedule], steps, grid)
    assert table.nfe == int((times.diff() < 0).sum())


def test_restart_goes_between_its_levels_again():
    edm = ALL_SCHEDULES["edm"]
    times = GRIDS["restart"](edm, 20, low=0.1, high=2.0, rounds=3) * 80
    rises = [(float(a), float(b)) for a, b in pairwise(times) if b > a]
    assert rises == [pytest.approx((0.1, 2.0))] * 3
    assert torch.equal(GRIDS["restart"](edm, 20, rounds=0)[:-1].unique(), (
        torch.cat([GRIDS["karras"](edm, 20)[:-1], times[times.isclose(torch.tensor(0.1).double())][:1] / 80])
    ).unique())  # fmt: skip


def test_repaint_goes_every_piece_again():
    edm = ALL_SCHEDULES["edm"]
    a, b, c, d, e = GRIDS["karras"](edm, 4).tolist()
    assert GRIDS["repaint"](edm, 4, jump=2, rounds=2).tolist() == [a, b, c, a, b, c, d, e]
    assert GRIDS["repaint"](edm, 4, jump=1, rounds=1).tolist() == [a, b, c, d, e]
    assert GRIDS["repaint"](edm, 4).tolist() == [a, b, c, a, b, c, a, b, c, a, b, c, d, e]


def test_listed_levels_are_met_and_interpolated():
    ve = ALL_SCHEDULES["edm"]
    times = GRIDS["listed"](ve, 4, levels=[80.0, 20.0, 5.0, 1.0, 0.1])
    assert (times[1:4] * 80).tolist() == pytest.approx([20, 5, 1])
    finer = GRIDS["listed"](ve, 8, levels=[80.0, 20.0, 5.0, 1.0, 0.1])
    assert float(finer[3] * 80) == pytest.approx(10)  # half way from 20 to 5 in log sigma
    with pytest.raises(UsageError, match="Did you mean 'stable_video'"):
        GRIDS["listed"](ve, 4, levels="stable_vide")
    with pytest.raises(UsageError, match="each below the one before"):
        GRIDS["listed"](ve, 4, levels=[1.0, 2.0])


def test_exponential_spends_a_call_at_the_lowest_level():
    levels = GRIDS["exponential"](ALL_SCHEDULES["edm"], 5) * 80
    assert levels[-2] == pytest.approx(0.002)
    assert torch.allclose(
        (levels[1:5] / levels[:4]).log(), torch.full((4,), math.log(0.002 / 80) / 4).double()
    )


@pytest.mark.parametrize("schedule", ALL_SCHEDULES)
def test_karras_is_uniform_in_the_root_of_the_noise_level(schedule):
    times = GRIDS["karras"](ALL_SCHEDULES[schedule], 9)
    levels = torch.tensor([noise_level(ALL_SCHEDULES[schedule], t) for t in times[1:-1].tolist()])
    steps = (levels ** (1 / 8)).diff()
    assert torch.allclose(steps, steps.mean().expand_as(steps), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("schedule", ALL_SCHEDULES)
def test_uniform_log_snr_is_uniform_in_log_snr(schedule):
    times = GRIDS["uniform_log_snr"](ALL_SCHEDULES[schedule], 9)
    steps = ALL_SCHEDULES[schedule].log_snr(times[1:-1]).diff()
    assert torch.allclose(steps, steps.mean().expand_as(steps), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("schedule", ["edm", "rectified_flow"])
def test_few_steps_stay_away_from_the_data(schedule):
    """The last call of up to seven is above a twentieth of the data's deviation, that of more below."""
    last = [
        noise_level(ALL_SCHEDULES[schedule], float(GRIDS["karras"](ALL_SCHEDULES[schedule], steps)[-2]))
        for steps in range(3, 21)
    ]
    assert all(level > 0.05 for level in last[:5])
    assert all(level < 0.05 for level in last[5:])


def test_custom_takes_a_tensor_and_may_rise():
    assert custom(ALL_SCHEDULES["edm"], 3, torch.tensor([1.0, 0.2, 0.4, 0.0])).tolist() == pytest.approx(
        [1.0, 0.2, 0.4, 0.0]
    )


@pytest.mark.parametrize("grid", ["karras", "uniform_log_snr"])
@pytest.mark.parametrize("sigma_min", [0.0, -1.0, 1e6])
def test_a_lowest_level_out_of_range_is_refused(grid, sigma_min):
    with pytest.raises(UsageError, match="sigma_min must lie between 0 and"):
        GRIDS[grid](ALL_SCHEDULES["edm"], 5, sigma_min=sigma_min)
