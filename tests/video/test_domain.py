"""The domain's promises: sizes, kept frames exact, slow motion, long clips, palettes."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from polydiff.errors import UsageError
from polydiff.model import Model
from polydiff_video import regions
from polydiff_video.blocks import blocks, whole_windows
from polydiff_video.clip import VideoClip
from polydiff_video.codec import fit, make_codec
from polydiff_video.config import CodecConfig
from polydiff_video.convert import enlarged, fit_into, snapped
from polydiff_video.domain import Video
from polydiff_video.motion_network import MotionNetwork
from polydiff_video.network import PHASES, VideoTransformer
from polydiff_video.training_view import TrainingView, draw_given

from .conftest import request_of


def made(domain: Video, request) -> VideoClip:
    """What comes out when the network says just what the source is, or else noise."""
    shape = domain.shapes(request)["frames"]
    tokens = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    if request.source is not None:
        tokens = domain.init(request)["frames"]
    assert tuple(tokens.shape) == shape
    context = domain.carried(request)["context"]
    assert context.shape == (shape[0], shape[1] + 1 + PHASES)
    return domain.finish(domain.decode({"frames": tokens[None]}, {})[0], request)


def test_reading_the_domain_imports_no_torch():
    code = "import sys, polydiff_video.domain; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_config_is_measured_from_the_data(domain, clips):
    config = domain.config
    assert (config.frames, config.fps, config.codec.width, config.codec.height) == (8, 8, 64, 64)
    colours = np.unique(np.concatenate([c.frames.reshape(-1, 3) for c in clips]), axis=0)
    assert len(config.palette) == len(colours)
    assert [condition.name for condition in domain.conditions()] == ["action", "direction"]
    assert type(config).model_validate_json(config.model_dump_json()) == config


def test_components_bring_back_what_they_were_fitted_to(domain, clips):
    for clip in clips[:4]:
        again = domain.decode(*domain.encode([clip]))[0]
        assert domain.distance(again, clip) < 4
    tokens = torch.cat([domain.encode([clip])[0]["frames"][0] for clip in clips])
    assert tokens.mean(0).abs().max() < 0.2
    assert tokens.std(0).median() == pytest.approx(1, abs=0.1)


def test_the_codec_is_exact_where_nothing_is_left_out():
    frames = torch.randint(0, 255, (64, 8, 8, 3), generator=torch.Generator().manual_seed(0)).byte()
    codec = make_codec(fit(CodecConfig(height=8, width=8, patch=4, channels=48), frames))
    assert int((codec.decode(codec.encode(frames)).int() - frames.int()).abs().max()) <= 1


def test_lengths(domain, clips):
    patches = domain.codec.patches
    assert domain.shapes(request_of())["frames"][0] == 8 * patches
    assert domain.shapes(request_of(frames=3))["frames"][0] == 8 * patches  # a whole window, cut at the end
    assert domain.shapes(request_of(frames=9))["frames"][0] == 12 * patches
    assert domain.frames(request_of(source=clips[0], slow=3)) == 22
    for frames in (1, 3, 8, 9, 30):
        assert len(made(domain, request_of(frames=frames))) == frames


@pytest.mark.parametrize(
    ("keep", "kept"), [("0:4", range(4)), ("4:", range(4, 8)), ("0, 7", (0, 7)), ("0:0.25s", (0, 1))]
)
def test_kept_frames_are_exact(domain, clips, keep, kept):
    request = request_of(source=clips[0], keep=keep)
    clip = made(domain, request)
    assert np.array_equal(clip.frames[list(kept)], clips[0].frames[list(kept)])
    _, mask = domain.known(request)
    assert mask["frames"].reshape(8, -1).all(1).nonzero().flatten().tolist() == list(kept)
    opposite = request_of(source=clips[0], redo=keep)
    assert torch.equal(domain.known(opposite)[1]["frames"], ~mask["frames"])


def test_the_context_holds_the_kept_frames_and_nothing_else(domain, clips):
    request = request_of(source=clips[0], keep="0:4")
    context = domain.carried(request)["context"]
    patches, channels = domain.codec.patches, domain.codec.channels
    tokens, given = context[:, :channels], context[:, channels].reshape(-1, patches).all(1)
    assert given.tolist() == [True] * 4 + [False] * 4
    assert torch.equal(tokens[: 4 * patches], domain.encode([clips[0]])[0]["frames"][0, : 4 * patches])
    assert not tokens[4 * patches :].any()


def test_slow_motion_keeps_every_frame_of_the_source(domain, clips):
    clip = made(domain, request_of(source=clips[0], keep="all", slow=3))
    assert len(clip) == 22
    assert np.array_equal(clip.frames[::3], clips[0].frames)
    assert clip.fps == clips[0].fps


def test_extension_goes_on_from_the_source(domain, clips):
    clip = made(domain, request_of(source=clips[0], keep="0:8", frames=24))
    assert len(clip) == 24
    assert np.array_equal(clip.frames[:8], clips[0].frames)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"keep": "0:9"}, "passes the end of the clip: 8 frames"),
        ({"keep": "4:2"}, "ends before it begins"),
        ({"keep": "x"}, "not a frame or a time"),
        ({"keep": "0.5"}, "for seconds write 0.5s"),
        ({"keep": "all"}, "nothing is left"),
        ({"redo": "all"}, "Nothing is kept"),
        ({"frames": 12}, "as long as its source"),
        ({"slow": 2}, "add --keep all"),
    ],
)
def test_what_cannot_be_done_with_a_source(domain, clips, fields, words):
    with pytest.raises(UsageError, match=words):
        (
            domain.init(request_of(source=clips[0], **fields)),
            domain.known(request_of(source=clips[0], **fields)),
        )


def test_a_source_too_long_is_refused(domain):
    clip = VideoClip(np.zeros((600, 4, 4, 3), np.uint8), 8)
    with pytest.raises(UsageError, match="at most 1024"):
        domain.shapes(request_of(source=clip, keep="all", slow=2))


def test_palette_and_size(domain):
    request = request_of(snap=True, scale=3, fps=12)
    clip = made(domain, request)
    assert clip.frames.shape == (8, 192, 192, 3)
    assert clip.fps == 12
    found = {bytes(c).hex() for c in np.unique(clip.frames.reshape(-1, 3), axis=0)}
    assert found <= set(domain.config.palette)
    many = Video(domain.config.model_copy(update={"palette": ()}))
    with pytest.raises(UsageError, match="leave snap out"):
        made(many, request)


def test_sources_of_any_size_are_fitted(domain, clips):
    large = enlarged(clips[0], 2)
    assert np.array_equal(domain.fitted(large).frames, clips[0].frames)
    wide = fit_into(VideoClip(np.full((2, 30, 77, 3), 9, np.uint8), 8), 64, 64)
    assert wide.frames.shape == (2, 64, 64, 3)
    assert wide.notes == ("77x30 brought to 64x64",)
    assert wide.frames[:, 32].min() == 9
    assert wide.frames[:, 0].max() == 0


@given(st.lists(st.sampled_from(["000000", "ff0000", "00ff00", "808080"]), min_size=1, unique=True))
def test_snapping_is_idempotent_and_nearest(palette):
    frames = np.random.default_rng(0).integers(0, 255, (2, 4, 4, 3), np.uint8)
    once = snapped(frames, tuple(palette))
    assert np.array_equal(snapped(once, tuple(palette)), once)
    colours = np.array([list(bytes.fromhex(c)) for c in palette])
    far = ((frames[..., None, :].astype(int) - colours) ** 2).sum(-1)
    assert np.array_equal(((frames.astype(int) - once) ** 2).sum(-1), far.min(-1))


@given(st.integers(1, 40), st.integers(0, 2**32))
def test_some_frame_is_never_given(frames, seed):
    given_frames = draw_given(frames, np.random.default_rng(seed))
    assert len(given_frames) == frames
    assert not all(given_frames)


def test_training_views_are_repeatable_and_of_every_kind(domain, clips):
    views = [domain.augment(clips[0], {}, seed)[0] for seed in range(300)]
    again, _ = domain.augment(clips[0], {}, 7)
    assert again.given == views[7].given
    assert again.clip == views[7].clip
    shares = np.mean([view.given for view in views], axis=0)
    assert 0.3 < np.mean([not any(view.given) for view in views]) < 0.5
    assert shares.min() > 0.1
    long = VideoClip(np.repeat(clips[0].frames, 3, axis=0), 8)
    assert {len(domain.augment(long, {}, seed)[0].clip) for seed in range(20)} == {8}


def test_a_cycle_may_begin_anywhere(domain, clips):
    cyclic = Video(domain.config.model_copy(update={"cyclic": True}))
    view = next(x for s in range(50) if (x := cyclic.augment(clips[0], {}, s)[0]).phase == 3)
    assert np.array_equal(view.clip.frames, np.roll(clips[0].frames, -3, axis=0))
    state, _ = cyclic.encode([TrainingView(clips[0], (False,) * 8), view])
    phases = state["context"][:, :: cyclic.codec.patches, -PHASES:]
    assert torch.allclose(phases[1], phases[0].roll(-3, 0), atol=1e-5)


@pytest.mark.parametrize(
    ("make", "channels"),
    [
        (lambda: VideoTransformer(6, 2, 8, {}, width=32, depth=1, heads=2), 6),
        (lambda: MotionNetwork(1, 2, 2, 4, 8, {}, width=16, depth=1), 4),
    ],
    ids=["transformer", "motion"],
)
def test_long_clips_go_through_windows_and_company_changes_nothing(make, channels):
    torch.manual_seed(0)
    network = make()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    frame = network.patches
    tokens, context = torch.randn(2, 16 * frame, channels), torch.zeros(2, 16 * frame, channels + 1 + PHASES)
    context[:, : 4 * frame, :-PHASES] = torch.cat([tokens, torch.ones(2, 16 * frame, 1)], 2)[:, : 4 * frame]
    c_noise = torch.zeros(2)

    def answer(frames, real=None):
        x = {"frames": tokens[:, : frames * frame], "context": context[:, : frames * frame]}
        return network(x, c_noise, {} if real is None else {"frames": real}, {})["frames"]

    alone = answer(12)
    real = torch.arange(16 * frame).expand(2, -1) < 12 * frame
    padded = answer(16, real)
    assert torch.allclose(padded[:, : 12 * frame], alone, atol=1e-5)
    assert not padded[:, 12 * frame :].any()
    first, half = answer(8), 4 * frame
    assert torch.allclose(first[:, :half], alone[:, :half], atol=1e-5)  # seen by the first window alone
    assert not torch.allclose(first[:, half:], alone[:, half : 2 * half], atol=1e-3)  # two windows meet here


def test_a_longer_sample_is_the_same_in_any_batch(domain):
    torch.manual_seed(0)
    network = domain.network()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    model = Model.create(domain, network)
    conditions = {"action": ["walk", "slash", "walk"], "direction": "left"}
    together = model.sample(3, seed=5, steps=3, conditions=conditions, frames=19)
    alone = model.sample(1, seed=6, steps=3, conditions={"action": "slash", "direction": "left"},
                         frames=19)  # fmt: skip
    assert len(alone[0].example) == 19
    assert domain.distance(alone[0].example, together[1].example) < 0.05


@pytest.mark.parametrize(
    ("text", "mask"), [("all", "1111"), ("1", "0100"), ("0:1, 3:", "1001"), (":2", "1100")]
)
def test_regions(text, mask):
    assert regions.parse(text, 4, 8).tolist() == [bit == "1" for bit in mask]


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(1, 12))
def test_blocks_cover_a_clip_and_go_on_from_what_is_known(mask, window):
    length = whole_windows(len(mask), window)
    known = np.zeros(length, bool)
    known[: len(mask)] = mask
    seen = known.copy()
    for block in blocks(known, window):
        assert block.stop - block.start == window
        assert 0 <= block.start <= length - window
        assert not seen[block].all()  # each makes something
        if seen.any() and window > 1:
            most = max(seen[s : s + window].sum() for s in range(0, length - window + 1, max(window // 2, 1))
                       if not seen[s : s + window].all())  # fmt: skip
            assert seen[block].sum() == most
        seen[block] = True
    assert seen.all()


def test_long_clips_are_made_block_by_block(domain, clips):
    cyclic = Video(domain.config.model_copy(update={"cyclic": True}))
    request = request_of(source=clips[0], keep="0:4", frames=20, seed=3)
    maker = cyclic.parts(request)
    part, made_frames, seeds = next(maker), [], []
    while True:
        view = part.source
        assert cyclic.shapes(part)["frames"][0] == 8 * cyclic.codec.patches
        assert view.given == (True,) * 4 + (False,) * 4
        assert view.phase == 4 * len(seeds)
        assert torch.equal(cyclic.known(part)[1]["frames"].reshape(8, -1).all(1), torch.tensor(view.given))
        if seeds:
            assert (view.clip.frames[:4] == made_frames[-1]).all()
        seeds.append(part.seed)
        made_frames.append(20 * len(seeds))
        answer = VideoClip(np.full((8, 64, 64, 3), made_frames[-1], np.uint8), 8)
        try:
            part = maker.send(answer)
        except StopIteration as end:
            result = end.value
            break
    assert len(result) == 20
    assert np.array_equal(result.frames[:4], clips[0].frames[:4])
    assert result.frames[4::4, 0, 0, 0].tolist() == [20, 40, 60, 80]
    assert len(set(seeds)) == len(seeds) == 4


def test_phases_follow_the_rate_of_slowed_sources(domain, clips):
    cyclic = Video(domain.config.model_copy(update={"cyclic": True}))
    half = VideoClip(clips[0].frames[::2], 4)  # every other frame, at half the rate: real time stays
    state = cyclic.carried(request_of(source=half, keep="all", slow=2))
    whole, _ = cyclic.encode([clips[0]])
    phases = slice(-PHASES, None)
    assert torch.allclose(state["context"][:, phases], whole["context"][0][:, phases], atol=1e-5)
    slow = cyclic.carried(request_of(source=clips[0], keep="all", slow=2))["context"][:, phases]
    assert torch.allclose(
        slow[:: 2 * cyclic.codec.patches], whole["context"][0][:: cyclic.codec.patches, phases]
    )
