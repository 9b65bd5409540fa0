"""Audio as a domain: clips in, frames through the engine, clips out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from polydiff.conditions import ConditionSet, Real
from polydiff.dataset import Dataset
from polydiff.domain import ConfiguredDomain, Metric, SampleRequest
from polydiff.errors import UsageError
from polydiff.file_domain import FileDomain, Format
from polydiff.support import spans
from polydiff.support.validate import validated
from polydiff_audio import files, loops, regions
from polydiff_audio.augment import augment, speed_factor
from polydiff_audio.clip import AudioClip
from polydiff_audio.codecs import Codec, default_config, make_codec
from polydiff_audio.config import AudioConfig, AudioOptions, draw_length, measure_lengths
from polydiff_audio.convert import resample, to_channels
from polydiff_audio.data import read_dataset
from polydiff_audio.loudness import HEADROOM_DB, amplitude, normalise
from polydiff_audio.splice import soften, splice, weights
from polydiff_audio.vocabulary import conditions_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from polydiff.engine.processes import Process

_SEEN = 600  # so many training clips are enough to measure bands and lengths


class Audio(ConfiguredDomain, FileDomain):
    """Short sounds. The state is {"frames": (B, tokens, features)} of the codec that the config names.

    An example is an AudioClip of any rate and channel count; `encode` converts. Sources of variations and of
    kept parts are brought to the level of the training clips on the way in, and back on the way out.
    """

    name: ClassVar[str] = "audio"
    Config = AudioConfig
    Options = AudioOptions
    formats = dict.fromkeys(files.READ, Format(files.read)) | dict.fromkeys(
        files.SUFFIXES, Format(files.read, files.write)
    )
    picture = "polydiff_audio.preview:picture"
    sheet = "polydiff_audio.preview:contact_sheet"
    notebook = "polydiff_audio.preview:player"
    inherit = ("codec", "network", "augmentation", "judge")
    tolerance = 3.0  # dB of log-mel magnitude: phase is found again, not kept
    capabilities = frozenset({"variation", "inpaint", "variable", "mix", "loop"})
    label = "label"

    # --- tensors ----------------------------------------------------------------------------------------

    @cached_property
    def codec(self) -> Codec:
        """Between waveforms and frames."""
        return make_codec(self.config.codec)

    @property
    def sample_rate(self) -> int:
        """Hz inside the model."""
        return int(self.config.codec.sample_rate)

    def fitted(self, clip: AudioClip) -> AudioClip:
        """The clip at the rate and with the channels of the model."""
        return resample(to_channels(clip, self.config.codec.channels), self.sample_rate)

    def encode(self, examples: Sequence[AudioClip]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        import torch

        from polydiff.support.padding import pad_examples

        tokens = [self.codec.encode(torch.tensor(self.fitted(clip).waveform)) for clip in examples]
        frames, mask = pad_examples(tokens)
        return {"frames": frames}, {"frames": mask}

    def decode(self, state: Mapping[str, Tensor], mask: Mapping[str, Tensor]) -> list[AudioClip]:
        frames, real = state["frames"].float().cpu(), mask.get("frames")
        return [
            AudioClip(self.codec.decode(x if real is None else x[real[i].cpu()]).numpy(), self.sample_rate)
            for i, x in enumerate(frames)
        ]

    def processes(self) -> dict[str, Process]:
        from polydiff.engine.processes import Gaussian

        return {"frames": Gaussian()}

    def network(self) -> nn.Module:
        from polydiff.nn import SequenceTransformer

        size = self.config.network.model_dump()
        return SequenceTransformer("frames", self.codec.features, self.conditions().widths, **size)

    # --- sizes ------------------------------------------------------------------------------------------

    def samples(self, request: SampleRequest) -> int:
        """Length of the result in samples at the model's rate: what is asked for, else that of the source,
        else drawn from the lengths of training clips by the seed."""
        if request.options.duration is not None:
            duration = request.options.duration
        elif request.source is not None:
            duration = request.source.duration
        else:
            from polydiff.engine.noise import uniform

            u = float(uniform(request.seed, "duration", 0, (1,)))
            duration = draw_length(self.config.lengths, request.conditions, u)
        result: int = max(round(duration * self.sample_rate), 1)
        return result

    def shapes(self, request: SampleRequest) -> dict[str, tuple[int, ...]]:
        samples = self.samples(request)
        if request.options.loop and not request.inpaints:
            samples += loops.fold_samples(samples, self.sample_rate)
        return {"frames": (self.codec.tokens(samples), self.codec.features)}

    # --- sources ----------------------------------------------------------------------------------------

    def init(self, request: SampleRequest) -> dict[str, Tensor]:
        """The source as frames, at the level of training clips. A source that is to loop is taken to go on
        with its beginning; where a part is kept, silence follows it."""
        samples, clip = self.samples(request), normalise(self.fitted(request.source), "peak")
        if not request.inpaints and abs(clip.samples - samples) > 1:
            raise UsageError(
                f"A variation is as long as its source ({request.source.duration:.3f} s): leave the duration "
                f"out, or keep the source and go on from it (--keep 0:{request.source.duration:.3f}s)."
            )
        total = self.shapes(request)["frames"][0] * self.codec.samples_per_token
        wave = clip.waveform[:, :samples]
        if request.inpaints:
            wave = self._placed(wave, samples, request.options.loop)
        elif request.options.loop:
            wave = np.concatenate([wave, wave], axis=1)
        wave = np.pad(wave, ((0, 0), (0, max(total - wave.shape[1], 0))))[:, :total]
        return {"frames": self.encode([replace(clip, waveform=wave)])[0]["frames"][0]}

    def known(self, request: SampleRequest) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The frames that lie in kept parts with all that they take in."""
        import torch

        samples = self.samples(request)
        keep = self._keep_mask(request, samples)
        state = self.init(request)
        tokens, size, reach = len(state["frames"]), self.codec.samples_per_token, self.codec.reach
        # before the first sample and after the last there is silence, then as now
        padded = np.pad(keep, (reach, tokens * size - samples + reach), constant_values=True)
        if not keep[-1]:
            padded[reach + samples :] = False
        taken_in = np.lib.stride_tricks.sliding_window_view(padded, size + 2 * reach)[::size]
        mask = torch.from_numpy(taken_in.all(1))
        if mask.all():
            raise UsageError(
                "Nothing is left to be made: the whole clip is kept. Keep less, or add a duration."
            )
        return state, {"frames": mask}

    def finish(self, example: AudioClip, request: SampleRequest) -> AudioClip:
        """Trim or fold to the exact length, put kept parts back, and bring to level, rate and channels."""
        options, samples = request.options, self.samples(request)
        if request.inpaints:
            clip = self._spliced(example, request, samples)
        elif options.loop:
            longer = samples + loops.fold_samples(samples, self.sample_rate)
            clip = replace(example, waveform=loops.fold(example.waveform[:, :longer], samples))
        else:
            clip = soften(replace(example, waveform=example.waveform[:, :samples]))
        if request.source is not None:
            source = request.source if request.inpaints else self.fitted(request.source)
            clip = replace(clip, notes=(*(f"source: {note}" for note in source.notes), *clip.notes))
        clip = clip if options.channels is None else to_channels(clip, options.channels)
        clip = clip if options.sample_rate is None else resample(clip, options.sample_rate)
        # last, since channels and rates change the level
        return normalise(clip, options.loudness or ("none" if request.inpaints else "peak"))

    def _intervals(self, request: SampleRequest) -> tuple[spans.Span, ...]:
        """The kept parts of the source in seconds, none of them beyond the result's end."""
        duration = request.source.duration
        if request.keep is not None:
            kept = spans.parse(request.keep, duration)
        else:
            kept = spans.complement(spans.parse(request.redo or "", duration), duration)
        end = self.samples(request) / self.sample_rate
        return tuple((start, min(stop, end)) for start, stop in kept if start < end)

    def _keep_mask(self, request: SampleRequest, samples: int) -> np.ndarray:
        keep = regions.mask(self._intervals(request), samples, self.sample_rate)
        return np.roll(keep, samples // 2) if request.options.loop else keep

    def _placed(self, wave: np.ndarray, samples: int, loop: bool) -> np.ndarray:
        """The source in a clip of `samples`; for a loop rolled by half: its seam lies in the middle."""
        wave = np.pad(wave, ((0, 0), (0, max(samples - wave.shape[1], 0))))
        return np.roll(wave, samples // 2, axis=1) if loop else wave

    def _spliced(self, example: AudioClip, request: SampleRequest, samples: int) -> AudioClip:
        import torch

        source, loop = self.fitted(request.source), request.options.loop
        gain = np.float32(amplitude(HEADROOM_DB) / source.peak if source.peak else 1.0)
        known = self._placed(source.waveform[:, :samples] * gain, samples, loop)
        kept = weights(self._keep_mask(request, samples), self.sample_rate) == 1
        made = torch.tensor(example.waveform[:, :samples])
        joined = self.codec.join(made, torch.from_numpy(known), torch.from_numpy(kept)).numpy() / gain
        if loop:
            joined = np.roll(joined, -(samples // 2), axis=1)
        duration = request.options.duration or request.source.duration
        return splice(
            replace(example, waveform=joined), request.source, self._intervals(request), duration, loop
        )

    # --- data -------------------------------------------------------------------------------------------

    dataset = staticmethod(read_dataset)

    @classmethod
    def configure(cls, dataset: Dataset, overrides: Mapping[str, Any]) -> AudioConfig:
        """Rate and channels as most clips have, statistics and lengths measured, labels as conditions."""
        import torch

        labels = [item.conditions for item in dataset]
        step = max(len(dataset) // _SEEN, 1)
        clips = [item.load() for item in dataset[::step]]
        rates, channels = [clip.sample_rate for clip in clips], [min(clip.channels, 2) for clip in clips]
        chosen = {
            "sample_rate": max(set(rates), key=rates.count),
            "channels": max(set(channels), key=channels.count),
        }
        given = dict(overrides)
        codec = dict(given.pop("codec", {}))
        if codec.get("kind", "logmel") == "logmel":
            rate = codec.get("sample_rate", chosen["sample_rate"])
            defaults = default_config(rate, codec.get("channels", chosen["channels"])).model_dump()
        else:
            defaults = chosen
        network = dict(given.pop("network", {}))
        conditions = given.pop("conditions", None) or conditions_of(labels).root
        values = {"codec": {**defaults, **codec}, "network": network, "conditions": conditions, **given}
        config = validated(cls.Config, values, "config")
        if not config.codec.deviation:
            domain = cls(config)
            waves = [torch.tensor(domain.fitted(clip).waveform) for clip in clips]
            config = config.model_copy(update={"codec": domain.codec.fit(waves)})
        if not config.lengths:
            durations = [clip.duration for clip in clips]
            found = measure_lengths(durations, labels[::step], ConditionSet(config.conditions))
            config = config.model_copy(update={"lengths": found})
        return config

    def augment(
        self, example: AudioClip, conditions: Mapping[str, Any], seed: int
    ) -> tuple[AudioClip, Mapping[str, Any]]:
        """A changed clip; where its pitch is a number, it moves with the speed."""
        how = self.config.augmentation
        pitch = next((c for c in self.config.conditions if c.name == "pitch" and isinstance(c, Real)), None)
        if pitch is not None and "pitch" in conditions:
            moved = cast(float, pitch.parse(conditions["pitch"])) + 12 * math.log2(speed_factor(seed, how))
            conditions = {**conditions, "pitch": min(max(moved, pitch.low), pitch.high)}
        return augment(example, seed, how), conditions

    # --- judging and showing ----------------------------------------------------------------------------

    def distance(self, a: AudioClip, b: AudioClip) -> float:
        """Mean difference in dB of the log-mel magnitudes, within 60 dB of the loudest."""
        from polydiff_audio.metrics import spectral_distance

        return spectral_distance(a, b)

    def metrics(self) -> dict[str, Metric]:
        from polydiff_audio.evaluation import metrics

        return metrics(self.config.judge)

    def evaluate(self, samples: Dataset, reference: Dataset) -> dict[str, float]:
        """See polydiff_audio.evaluation.evaluate."""
        from polydiff_audio.evaluation import evaluate

        return evaluate(samples, reference, self.config.judge)
