"""Video as a domain: clips in, patches of frames through the engine, clips out."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from polydiff.dataset import Dataset
from polydiff.domain import ConfiguredDomain, Metric, SampleRequest
from polydiff.errors import UsageError
from polydiff.file_domain import FileDomain, Format
from polydiff_video import files, regions
from polydiff_video.blocks import blocks, whole_windows
from polydiff_video.clip import VideoClip
from polydiff_video.config import MOST_FRAMES, VideoConfig, VideoOptions
from polydiff_video.convert import enlarged, fit_into, snapped
from polydiff_video.data import read_dataset
from polydiff_video.training_view import TrainingView, draw_given

if TYPE_CHECKING:
    from torch import Tensor, nn

    from polydiff.engine.processes import Process
    from polydiff_video.codec import Codec


class Video(ConfiguredDomain, FileDomain):
    """Short clips. The state is {"frames": tokens of all patches of all frames, "context": the clean tokens
    of the frames that are given, and where in its cycle each frame lies}; the context is carried, never
    noised, as is "made", the places of the other frames, which a network that moves pixels is told.

    An example is a VideoClip of any size and rate; `encode` converts. One network predicts, fills in and
    slows down, since it is trained with random frames given.
    """

    name: ClassVar[str] = "video"
    Config = VideoConfig
    Options = VideoOptions
    formats = dict.fromkeys(files.READ, Format(files.read)) | dict.fromkeys(
        files.SUFFIXES, Format(files.read, files.write)
    )
    picture = "polydiff_video.preview:filmstrip"
    sheet = "polydiff_video.preview:contact_sheet"
    notebook = "polydiff_video.preview:moving"
    inherit = ("codec", "network", "frames", "fps", "cyclic", "mirror", "given", "judge")
    tolerance = 12.0  # mean difference in steps of 8 bits: H.264 halves colours, components are truncated
    capabilities = frozenset({"variation", "inpaint", "variable"})
    reads_folders = True
    label = "label"

    # --- tensors ----------------------------------------------------------------------------------------

    @cached_property
    def codec(self) -> Codec:
        """Between frames and tokens."""
        from polydiff_video.codec import make_codec

        return make_codec(self.config.codec)

    def fitted(self, clip: VideoClip) -> VideoClip:
        """The clip in frames of the model's size."""
        return fit_into(clip, self.config.codec.width, self.config.codec.height)

    def encode(
        self, examples: Sequence[VideoClip | TrainingView]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        from polydiff.support.padding import pad_examples

        rows = [self._encoded(example) for example in examples]
        padded = {name: pad_examples([row[name] for row in rows]) for name in self.processes()}
        state = {name: batch for name, (batch, _) in padded.items()}
        return state, {name: real for name, (_, real) in padded.items()}

    def _encoded(self, example: VideoClip | TrainingView) -> dict[str, Tensor]:
        """The state of one example, unbatched."""
        import torch

        view = example if isinstance(example, TrainingView) else TrainingView.free(example)
        tokens = self.codec.encode(torch.tensor(self.fitted(view.clip).frames))
        return {"frames": tokens, **self._told(tokens, view.given, view.phase, view.pace)}

    def _told(
        self, tokens: Tensor, given: Sequence[bool], phase: float = 0, pace: float = 1
    ) -> dict[str, Tensor]:
        """The components that are carried, for frames of these tokens."""
        import torch

        from polydiff_video.context import context_of, made_of

        seen, cycle = torch.tensor(given), self.config.frames if self.config.cyclic else None
        context = {"context": context_of(tokens, seen, cycle, phase, pace)}
        return context | ({"made": made_of(seen)} if self._moves else {})

    @property
    def _moves(self) -> bool:
        """Whether the network is one that works on the frames alone that are not given."""
        return bool(self.config.network.kind == "motion")

    def decode(self, state: Mapping[str, Tensor], mask: Mapping[str, Tensor]) -> list[VideoClip]:
        tokens, real = state["frames"].float().cpu(), mask.get("frames")
        return [
            VideoClip(self.codec.decode(x if real is None else x[real[i].cpu()]).numpy(), self.config.fps)
            for i, x in enumerate(tokens)
        ]

    def processes(self) -> dict[str, Process]:
        from polydiff.engine.processes import Fixed, Gaussian

        return {"frames": Gaussian(), "context": Fixed()} | ({"made": Fixed()} if self._moves else {})

    def network(self) -> nn.Module:
        codec, config, widths = self.codec, self.config.network, self.conditions().widths
        if self._moves:
            from polydiff_video.motion_network import MotionNetwork

            patch, frames = codec.config.patch, self.config.frames
            grid = codec.channels // patch**2, patch, codec.rows, codec.columns
            return MotionNetwork(*grid, frames, widths, config.width, config.depth)
        from polydiff_video.network import VideoTransformer

        size = config.width, config.depth, config.heads
        return VideoTransformer(codec.channels, codec.patches, self.config.frames, widths, *size)

    # --- sizes ------------------------------------------------------------------------------------------

    def frames(self, request: SampleRequest) -> int:
        """Frames of the result: what is asked for, else those of the source slowed down, else the model's."""
        options = request.options
        if request.source is None and "none" not in self.config.given:
            raise UsageError(
                "This model has learned only to go on from frames: name a clip and what to keep of it "
                f"(--from clip.gif --keep 0:{self.config.frames // 2})."
            )
        if options.frames is not None:
            return int(options.frames)
        if request.source is None:
            return int(self.config.frames)
        length = len(request.source)
        wanted = length * options.slow if self.config.cyclic else (length - 1) * options.slow + 1
        if wanted > MOST_FRAMES:
            raise UsageError(f"The source has {length} frames; cut it, or ask for at most {MOST_FRAMES}.")
        return int(wanted)

    def shapes(self, request: SampleRequest) -> dict[str, tuple[int, ...]]:
        length = whole_windows(self.frames(request), self.config.frames)
        return {"frames": (length * self.codec.patches, self.codec.channels)}

    # --- sources ----------------------------------------------------------------------------------------

    def carried(self, request: SampleRequest) -> dict[str, Tensor]:
        """The context: clean tokens of the frames that are kept; and which frames are not."""
        import torch

        if request.source is None:
            tokens = torch.zeros(self.shapes(request)["frames"])
            return self._told(tokens, (False,) * (len(tokens) // self.codec.patches))
        encoded = self._encoded(self._placed(request))
        return {name: value for name, value in encoded.items() if name != "frames"}

    def init(self, request: SampleRequest) -> dict[str, Tensor]:
        """The source as tokens; its last frame stands for what comes after it."""
        return {"frames": self._encoded(self._placed(request))["frames"]}

    def known(self, request: SampleRequest) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The tokens of the kept frames."""
        import torch

        placed = self._placed(request)
        kept = torch.tensor(placed.given).repeat_interleave(self.codec.patches)
        return {"frames": self._encoded(placed)["frames"]}, {"frames": kept}

    def parts(self, request: SampleRequest) -> Generator[SampleRequest, VideoClip, VideoClip]:
        """Block by block, each beside frames that are there already, where the result is longer than a window
        (a variation has its source to hold it together)."""
        from polydiff.engine.noise import derived_seed

        window, length = self.config.frames, whole_windows(self.frames(request), self.config.frames)
        if length == window or (request.source is not None and not request.inpaints):
            clip: VideoClip = yield from super().parts(request)
            return clip
        height, width = self.config.codec.height, self.config.codec.width
        black = VideoClip(np.zeros((length, height, width, 3), np.uint8), self.config.fps)
        view = self._placed(request) if request.inpaints else TrainingView.free(black)
        frames, known = view.clip.frames.copy(), np.array(view.given)
        for number, block in enumerate(blocks(known, window)):
            clip = VideoClip(frames[block], self.config.fps)
            phase = view.phase + block.start * view.pace
            made = yield replace(
                request,
                seed=derived_seed(request.seed, "block", number),
                options=VideoOptions(frames=window),
                source=TrainingView(clip, tuple(known[block].tolist()), phase, view.pace),
                keep="given",
                redo=None,
            )
            frames[block] = np.where(known[block][:, None, None, None], frames[block], made.frames)
            known[block] = True
        return self.finish(VideoClip(frames, self.config.fps), request)

    def _placed(self, request: SampleRequest) -> TrainingView:
        """The source's frames where they stand in the result (gaps repeat the frame before), and which are
        kept."""
        source, slow = request.source, request.options.slow
        if isinstance(source, TrainingView):
            return source
        length = whole_windows(self.frames(request), self.config.frames)
        if request.inpaints:
            given = self.kept_frames(request)
        elif slow > 1:
            raise UsageError("slow needs the frames to keep: add --keep all.")
        elif self.frames(request) != len(source):
            raise UsageError(
                f"A variation is as long as its source ({len(source)} frames): leave frames out, "
                f"or keep the source and go on from it (--keep 0:{len(source)})."
            )
        else:
            given = np.zeros(length, bool)
        places = np.arange(length) // slow
        frames = self.fitted(source).frames[places.clip(max=len(source) - 1)]
        pace = 1.0 if slow == 1 else self.config.fps / (source.fps * slow)
        return TrainingView(replace(source, frames=frames), tuple(given.tolist()), 0, pace)

    def kept_frames(self, request: SampleRequest) -> np.ndarray:
        """(length,) True where a frame of the result is one of the source that is kept."""
        source, slow, wanted = request.source, request.options.slow, self.frames(request)
        text = request.redo if request.keep is None else request.keep
        kept = regions.parse(text or "", len(source), source.fps)
        kept = ~kept if request.keep is None else kept
        places = np.flatnonzero(kept) * slow
        mask = np.zeros(whole_windows(wanted, self.config.frames), bool)
        mask[places[places < wanted]] = True
        if mask[:wanted].all():
            raise UsageError("Every frame is kept, nothing is left to be made: keep fewer, or ask for more.")
        if not mask.any():
            raise UsageError("Nothing is kept of the source; keep a frame of it, or leave it out.")
        return mask

    def finish(self, example: VideoClip, request: SampleRequest) -> VideoClip:
        """Cut to length, snap to the palette, put kept frames back exactly, enlarge, and set the rate."""
        options, wanted = request.options, self.frames(request)
        frames = example.frames[:wanted]
        if options.snap:
            if not self.config.palette:
                raise UsageError("This model's data has too many colours to snap to; leave snap out.")
            frames = snapped(frames, self.config.palette)
        fps, notes = self.config.fps, example.notes
        if isinstance(request.source, VideoClip):
            source = self.fitted(request.source)
            fps, notes = source.fps, (*(f"source: {note}" for note in source.notes), *notes)
            if request.inpaints:
                kept = np.flatnonzero(self.kept_frames(request)[:wanted])
                frames = frames.copy()
                frames[kept] = source.frames[kept // options.slow]
        clip = VideoClip(frames, options.fps or fps, notes)
        return enlarged(clip, options.scale) if options.scale > 1 else clip

    # --- data -------------------------------------------------------------------------------------------

    dataset = staticmethod(read_dataset)

    @classmethod
    def configure(cls, dataset: Dataset, overrides: Mapping[str, Any]) -> VideoConfig:
        """Size, rate and window as most clips have, components and palette measured, labels as conditions."""
        from polydiff_video.fitting import config_of

        return config_of(dataset, overrides)

    def augment(
        self, example: VideoClip, conditions: Mapping[str, Any], seed: int
    ) -> tuple[TrainingView, Mapping[str, Any]]:
        """A training view: a window of the clip, begun anywhere in its cycle, with random frames given."""
        rng = np.random.default_rng(seed)
        frames, window = example.frames, self.config.frames
        phase = int(rng.integers(0, window)) if self.config.cyclic and rng.random() < 0.5 else 0
        if phase and len(frames) == window:
            frames = np.roll(frames, -phase, axis=0)
        elif len(frames) > window:
            start = int(rng.integers(0, len(frames) - window + 1))
            frames = frames[start : start + window]
        if self.config.mirror and rng.random() < 0.5:
            frames = frames[:, :, ::-1]
        return TrainingView(
            replace(example, frames=frames), draw_given(len(frames), rng, self.config.given), phase
        ), conditions

    # --- judging and showing ----------------------------------------------------------------------------

    def distance(self, a: VideoClip, b: VideoClip) -> float:
        """Mean difference of pixels in steps of 8 bits, at the size of `b`; infinite for other lengths."""
        if len(a) != len(b):
            return float("inf")
        a = fit_into(a, b.width, b.height)
        return float(np.abs(a.frames.astype(int) - b.frames.astype(int)).mean())

    def metrics(self) -> dict[str, Metric]:
        from polydiff_video.evaluation import metrics

        return metrics(self.config.judge)

    def evaluate(self, samples: Dataset, reference: Dataset) -> dict[str, float]:
        """See polydiff_video.evaluation.evaluate."""
        from polydiff_video.evaluation import evaluate

        return evaluate(self, samples, reference)
