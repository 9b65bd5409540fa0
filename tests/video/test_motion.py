"""Moving pixels: what is found, what is laid where, and a network that does both."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from polydiff.engine.denoisers import precondition
from polydiff.engine.guidance import inpaint
from polydiff.engine.processes import Fixed, Gaussian
from polydiff.engine.schedules import EDM
from polydiff.errors import UsageError
from polydiff_video.codec import fit, make_codec
from polydiff_video.config import CodecConfig, VideoConfig
from polydiff_video.motion import matched, moved
from polydiff_video.motion_network import MotionNetwork
from polydiff_video.network import PHASES
from polydiff_video.training_view import draw_given

PIXELS = CodecConfig(kind="pixels", height=16, width=24, patch=4)


def one_hot(shift: int, reach: int, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.eye(2 * reach + 1)[shift + reach].expand(*shape, -1)


@settings(deadline=None)
@given(st.integers(-7, 7), st.integers(-7, 7), st.sampled_from([2, 4, 8]), st.integers(1, 3))
def test_a_shift_that_is_sure_moves_a_frame_exactly(down, right, cell, colours):
    frame = torch.randn(2, colours, 16, 24)
    shape = (2, 1, 16 // cell, 24 // cell)
    found = moved(frame, one_hot(down, 7, shape), one_hot(right, 7, shape))[:, 0]
    true = torch.zeros_like(frame)
    rows, columns = range(max(down, 0), min(16 + down, 16)), range(max(right, 0), min(24 + right, 24))
    true[:, :, rows.start : rows.stop, columns.start : columns.stop] = frame[
        :, :, rows.start - down : rows.stop - down, columns.start - right : columns.stop - right
    ]
    assert torch.equal(found, true)


def test_shifts_that_are_unsure_give_the_mean_of_what_each_would():
    generator = torch.Generator().manual_seed(0)
    frame = torch.randn(1, 1, 8, 8, generator=generator)
    down = torch.rand(1, 1, 2, 2, 5, generator=generator).softmax(-1)
    right = torch.rand(1, 1, 2, 2, 5, generator=generator).softmax(-1)
    mean = torch.zeros(1, 1, 1, 8, 8)
    for row in range(2):
        for column in range(2):
            cell = torch.zeros_like(frame)
            place = (..., slice(4 * row, 4 * row + 4), slice(4 * column, 4 * column + 4))
            cell[place] = frame[place]
            for i in range(5):
                for j in range(5):
                    sure = moved(cell, one_hot(i - 2, 2, (1, 1, 2, 2)), one_hot(j - 2, 2, (1, 1, 2, 2)))
                    mean = mean + down[0, 0, row, column, i] * right[0, 0, row, column, j] * sure
    assert torch.allclose(moved(frame, down, right), mean, atol=1e-5)


@pytest.mark.parametrize(("down", "right"), [(0, 0), (2, -4), (-6, 6), (8, 2)])
def test_a_thing_is_found_where_it_was(down, right):
    frame = torch.zeros(1, 64, 64)
    frame[:, 24:40, 24:40] = 20 * torch.rand(16, 16, generator=torch.Generator().manual_seed(0))
    past = frame.roll((down, right), (1, 2))[:, None]
    found = matched(frame, past, 8, 16)
    assert found.shape == (1, 2, 1, 8, 8, 17)
    assert torch.allclose(found.sum(-1)[0, :, 0, 3:5, 3:5], torch.ones(2, 2, 2), atol=1e-3)
    inside = found[0, :, 0, 3:5, 3:5].argmax(-1) - 8
    assert (inside == torch.tensor([down // 2, right // 2])[:, None, None]).all()


@pytest.mark.parametrize("grey", [True, False])
def test_pixels_come_back_exactly_and_black_is_nothing(grey):
    frames = torch.randint(0, 256, (5, 16, 24, 3), generator=torch.Generator().manual_seed(0)).byte()
    frames[0] = 0
    frames = frames[..., :1].expand(-1, -1, -1, 3) if grey else frames
    codec = make_codec(fit(PIXELS, frames))
    tokens = codec.encode(frames)
    assert tokens.shape == (5 * 24, 16 if grey else 48)
    assert float(tokens.square().mean()) == pytest.approx(1, rel=1e-3)
    assert not tokens[:24].any()
    assert torch.equal(codec.decode(tokens), frames)
    with pytest.raises(UsageError, match="not fitted"):
        make_codec(PIXELS).encode(frames)


def test_half_means_the_first_half():
    view = draw_given(20, np.random.default_rng(0), ["half"])
    assert view == (True,) * 10 + (False,) * 10
    assert draw_given(1, np.random.default_rng(0), ["half"]) == (False,)


@pytest.mark.parametrize(
    ("codec", "words"), [({}, 'codec.kind to "pixels"'), ({"kind": "pixels", "patch": 64}, "even number")]
)
def test_a_motion_network_needs_pixels_in_an_even_grid(codec, words):
    with pytest.raises(ValueError, match=words):
        VideoConfig(codec=codec, network={"kind": "motion"})


def network_and_state(given_frames: list[int]) -> tuple[MotionNetwork, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    network = MotionNetwork(1, 4, 4, 6, 6, {}, width=16, depth=1)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    clean = torch.randn(2, 6, 24, 16)
    context = torch.zeros(2, 6, 24, 16 + 1 + PHASES)
    context[:, given_frames, :, :16], context[:, given_frames, :, 16] = clean[:, given_frames], 1
    return network, {"clean": clean.flatten(1, 2), "context": context.flatten(1, 2)}


@pytest.mark.parametrize("given_frames", [[0, 1, 2], [], [0, 1, 2, 3, 4, 5], [2, 5]])
@pytest.mark.parametrize("t", [0.05, 0.5, 0.95])
def test_frames_that_are_given_come_out_as_they_are_at_every_level(given_frames, t):
    network, state = network_and_state(given_frames)
    schedule, times = EDM(), torch.full((2,), t, dtype=torch.float64)
    sigma = schedule.sigma(times).float()[:, None, None]
    noisy = state["clean"] + sigma * torch.randn_like(state["clean"])
    denoiser = precondition(network, schedule, processes={"context": Fixed()})
    with torch.no_grad():
        found = denoiser({"frames": noisy, "context": state["context"]}, times, {}, {})["frames"]
    frames, true = found.unflatten(1, (6, 24)), state["clean"].unflatten(1, (6, 24))
    assert torch.isfinite(found).all()
    assert torch.allclose(frames[:, given_frames], true[:, given_frames], atol=1e-4)
    rest = [i for i in range(6) if i not in given_frames]
    assert not rest or not torch.allclose(frames[:, rest], true[:, rest], atol=1e-2)


def test_at_the_clean_end_a_noisy_frame_is_believed():
    network, state = network_and_state([0, 1, 2])
    schedule = EDM()
    times = schedule.t_of_log_snr(torch.full((2,), 18.0, dtype=torch.float64))
    x = {"frames": state["clean"], "context": state["context"]}
    with torch.no_grad():
        found = precondition(network, schedule, processes={"context": Fixed()})(x, times, {}, {})["frames"]
    assert torch.allclose(found, state["clean"], atol=1e-2)


def test_what_one_sample_is_given_changes_nothing_for_another():
    network, state = network_and_state([0, 1, 2])
    other = state["context"].clone()
    other[1] = 0  # the second is given nothing, so that every frame is worked out
    x = torch.randn_like(state["clean"])
    with torch.no_grad():
        alone = network({"frames": x, "context": state["context"]}, torch.zeros(2), {}, {})["frames"]
        mixed = network({"frames": x, "context": other}, torch.zeros(2), {}, {})["frames"]
    assert torch.allclose(alone[0], mixed[0], atol=1e-5)
    assert not torch.allclose(alone[1], mixed[1], atol=1e-2)


class NothingFromTheHost(TorchDispatchMode):
    """Refuses what reads a tensor that lies on the host."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        assert all(value.is_meta for value in read), f"{function} reads from the host"
        return function(*args, **(kwargs or {}))


def test_a_row_asks_an_accelerator_for_nothing(monkeypatch):
    """Else it could not be a CUDA graph. Tensors on the meta device stand for an accelerator's: they have
    shapes and no numbers, so that none can be asked for. Known frames lie over the answer, as with --keep."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # meta knows none
    schedule, processes = EDM(), {"frames": Gaussian(), "context": Fixed(), "made": Fixed()}
    with torch.no_grad():
        with torch.device("meta"):
            network = MotionNetwork(1, 4, 4, 6, 6, {}, width=16, depth=1)
            x = {"frames": torch.zeros(2, 6 * 24, 16), "context": torch.zeros(2, 6 * 24, 16 + 1 + PHASES)}
            x |= {"made": torch.zeros(2, 3, 1)}
            mask = {"made": torch.zeros(2, 3, dtype=torch.bool)}
            keep = {"frames": torch.zeros(2, 6 * 24, dtype=torch.bool)}
            times = torch.zeros(2, dtype=torch.float64)
        denoiser = precondition(network, schedule, processes=processes)
        denoiser = inpaint(denoiser, {"frames": x["frames"]}, keep, processes, schedule)
        with NothingFromTheHost():
            assert denoiser(x, times, mask, {})["frames"].is_meta


def test_only_frames_that_are_not_given_are_worked_out_and_the_answer_is_the_same():
    """Samples that lack different frames, and not as many, so that one's list of them is padded."""
    network, state = network_and_state([0, 1])
    state["context"].unflatten(1, (6, 24))[1, :2] = 0
    state["context"].unflatten(1, (6, 24))[1, 5, :, 16] = 1
    x, c_noise = {"frames": torch.randn(2, 6 * 24, 16), "context": state["context"]}, torch.zeros(2)
    made = torch.tensor([[2, 3, 4, 5, 0], [0, 1, 2, 3, 4]])[..., None].float()
    mask = {"made": torch.tensor([[True] * 4 + [False], [True] * 5])}
    shapes = []
    network.mend.register_forward_hook(lambda layer, read, answer: shapes.append(len(answer)))
    with torch.no_grad():
        every = network(x, c_noise, {}, {})["frames"]
        lacking = network({**x, "made": made}, c_noise, mask, {})["frames"]
    assert shapes == [2 * 6, 2 * 5]
    assert torch.allclose(lacking, every, atol=1e-5)
