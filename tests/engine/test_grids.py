"""Grids fall from 1 to 0 on every schedule, whatever the number of steps."""

from __future__ import annotations

import pytest
import torch
from closed_forms import ALL_SCHEDULES
from hypothesis import given
from hypothesis import strategies as st

from polydiff.engine.grids import GRIDS, custom, noise_level
from polydiff.engine.solvers import make_table
from polydiff.errors import UsageError

NAMED = [name for name in GRIDS if name != "custom"]


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


@given(steps=st.integers(1, 40), strength=st.floats(0.05, 1.0))
def test_strength_keeps_the_end_of_a_finer_grid(steps, strength):
    table = make_table("ddim", ALL_SCHEDULES["edm"], steps, strength=strength)
    assert table.nfe == steps
    full = make_table("ddim", ALL_SCHEDULES["edm"], max(round(steps / strength), steps))
    assert table.rows == full.rows[-steps:]


def test_custom_takes_a_tensor_and_may_rise():
    assert custom(ALL_SCHEDULES["edm"], 3, torch.tensor([1.0, 0.2, 0.4, 0.0])).tolist() == pytest.approx(
        [1.0, 0.2, 0.4, 0.0]
    )


@pytest.mark.parametrize("grid", ["karras", "uniform_log_snr"])
@pytest.mark.parametrize("sigma_min", [0.0, -1.0, 1e6])
def test_a_lowest_level_out_of_range_is_refused(grid, sigma_min):
    with pytest.raises(UsageError, match="sigma_min must lie between 0 and"):
        GRIDS[grid](ALL_SCHEDULES["edm"], 5, sigma_min=sigma_min)
