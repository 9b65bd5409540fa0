"""Schedules: ends, monotony, inverses; denoisers that outlive them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from polydiff.engine.denoisers import c_noise, from_eps, from_flow, from_score, from_v, precondition
from polydiff.engine.schedules import EDM, RectifiedFlow, shifted
from polydiff.testing.closed_forms import ALL_SCHEDULES, mixture

T = torch.linspace(0, 1, 201, dtype=torch.float64)


@pytest.mark.parametrize("schedule", ALL_SCHEDULES.values(), ids=ALL_SCHEDULES)
class TestEverySchedule:
    def test_it_ends_in_data_exactly(self, schedule):
        zero = torch.zeros(1, dtype=torch.float64)
        assert schedule.sigma(zero).item() == 0
        assert schedule.alpha(zero).item() == 1
        assert schedule.log_snr(zero).item() == math.inf

    def test_noise_grows_and_signal_does_not(self, schedule):
        assert (schedule.sigma(T).diff() > 0).all()
        assert (schedule.alpha(T).diff() <= 0).all()
        assert (schedule.log_snr(T).diff() < 0).all()

    def test_log_snr_is_that_of_alpha_and_sigma(self, schedule):
        inner = T[1:-1]
        expected = 2 * torch.log(schedule.alpha(inner) / schedule.sigma(inner))
        assert torch.allclose(schedule.log_snr(inner), expected, rtol=1e-9, atol=1e-9)

    @given(t=st.floats(1e-4, 1 - 1e-4))
    def test_the_inverse_inverts(self, schedule, t):
        time = torch.tensor(t, dtype=torch.float64)
        assert schedule.t_of_log_snr(schedule.log_snr(time)).item() == pytest.approx(t, rel=1e-7)

    def test_float64_stays_float64_in_any_shape(self, schedule):
        t = torch.full((2, 3), 0.3, dtype=torch.float64)
        for function in (schedule.alpha, schedule.sigma, schedule.log_snr):
            assert function(t).shape == (2, 3)
            assert function(t).dtype == torch.float64

    def test_c_noise_is_finite_at_both_ends(self, schedule):
        assert torch.isfinite(c_noise(schedule, torch.tensor([0.0, 0.5, 1.0]).double())).all()

    def test_preconditioning_is_finite_at_both_ends_and_exact_at_data(self, schedule):
        t = torch.tensor([0.0, 1.0], dtype=torch.float64)
        x = torch.ones(2, 3, 1)
        out = precondition(lambda x, *_: x, schedule)({"x": x}, t, {}, {})["x"]
        assert torch.isfinite(out).all()
        assert torch.equal(out[0], x[0])

    @pytest.mark.parametrize("kind", ["eps", "v", "flow", "score"])
    def test_an_adapter_recovers_the_exact_denoiser(self, schedule, kind):
        problem = mixture()
        x = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0))
        for t in (0.05, 0.5, 0.9):
            time = torch.full((4,), t, dtype=torch.float64)
            alpha, sigma = float(schedule.alpha(time[0])), float(schedule.sigma(time[0]))
            x0 = problem.denoise(x.double(), alpha, sigma)
            eps = (x - alpha * x0) / sigma
            output = {
                "eps": eps,
                "v": alpha * eps - sigma * x0,
                "flow": eps - x0,
                "score": -eps / sigma,
            }[kind]
            adapter = {"eps": from_eps, "v": from_v, "flow": from_flow, "score": from_score}[kind]
            got = adapter(lambda *_: {"x": output}, schedule)({"x": x}, time, {}, {})["x"]  # noqa: B023
            # float32 state: eps and score lose digits as sigma / alpha grows
            assert torch.allclose(got.double(), x0, atol=1e-5 * max(1, sigma / alpha))

    @pytest.mark.parametrize("log_snr", [-4.0, 0.0, 5.0])
    def test_a_preconditioned_network_outlives_its_schedule(self, schedule, log_snr):
        """At one log-SNR the same network answers the same, whatever the scale of its input."""
        network = lambda x, c, *_: {"x": torch.tanh(x["x"]) * torch.cos(c)[:, None, None]}  # noqa: E731
        y = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(1)) * (1 + math.exp(-log_snr / 2))
        answers = []
        for one in (schedule, EDM()):
            t = one.t_of_log_snr(torch.full((2,), log_snr, dtype=torch.float64))
            x = float(one.alpha(t[0])) * y
            answers.append(precondition(network, one, sigma_data=0.7)({"x": x}, t, {}, {})["x"])
        assert torch.allclose(*answers, atol=1e-4)


def test_shift_multiplies_the_noise_level():
    t = T[1:-1]
    moved = shifted(RectifiedFlow(), 3.0)
    assert torch.allclose(moved.sigma(t) / moved.alpha(t), 3 * t / (1 - t))
    assert shifted(RectifiedFlow(), 1.0) == RectifiedFlow()


@pytest.mark.parametrize("shift", [0.0, -1.0, math.nan])
def test_a_shift_that_is_not_positive_is_refused(shift):
    with pytest.raises(ValueError, match="shift must be positive"):
        shifted(RectifiedFlow(), shift)


@pytest.mark.parametrize("sigma_data", [0.0, -1.0, math.nan])
def test_a_deviation_that_is_not_positive_is_refused(sigma_data):
    with pytest.raises(ValueError, match="sigma_data"):
        precondition(lambda x, *_: x, EDM(), sigma_data)
