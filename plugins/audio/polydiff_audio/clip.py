"""AudioClip: a waveform and its rate, always together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from polydiff.errors import UsageError
from polydiff.file_domain import FileExample

Waveform = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class AudioClip(FileExample):
    """A piece of sound. Immutable; equal when rate and every sample are equal.

    waveform: float32 (channels, time) in [-1, 1]; a (time,) array or a torch tensor is accepted and copied.
    sample_rate: Hz. notes: what was converted on the way in ("48000 Hz resampled to 8000 Hz").
    Raises UsageError for an empty, ill-shaped or not finite waveform, or a rate below 1 Hz.

    >>> clip = AudioClip(np.zeros(4000), 8000)
    >>> clip.waveform.shape, clip.duration
    ((1, 4000), 0.5)
    """

    domain: ClassVar[str] = "polydiff_audio.domain:Audio"
    waveform: Waveform
    sample_rate: int
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        wave: Any = self.waveform
        if hasattr(wave, "detach"):  # a torch tensor, without importing torch here
            wave = wave.detach().cpu().float().numpy()
        wave = np.array(wave, dtype=np.float32, ndmin=2)
        if wave.ndim != 2 or 0 in wave.shape:
            raise UsageError(f"An audio clip needs samples of shape (channels, time), not {wave.shape}.")
        bad = ~np.isfinite(wave)
        if bad.any():
            at = int(bad.any(0).argmax()) / max(int(self.sample_rate), 1)
            raise UsageError(
                f"The waveform holds NaN or infinite samples, the first at {at:.3f} s; repair it."
            )
        if int(self.sample_rate) < 1:
            raise UsageError(f"A sample rate is a number of hertz above 0, not {self.sample_rate}.")
        wave.setflags(write=False)
        object.__setattr__(self, "waveform", wave)
        object.__setattr__(self, "sample_rate", int(self.sample_rate))
        object.__setattr__(self, "notes", tuple(self.notes))

    @property
    def channels(self) -> int:
        return int(self.waveform.shape[0])

    @property
    def samples(self) -> int:
        """Number of samples in time."""
        return int(self.waveform.shape[1])

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.samples / self.sample_rate

    @property
    def peak(self) -> float:
        """Largest absolute sample."""
        return float(np.abs(self.waveform).max())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AudioClip):
            return NotImplemented
        return self.sample_rate == other.sample_rate and np.array_equal(self.waveform, other.waveform)

    def __hash__(self) -> int:
        return hash((self.sample_rate, self.waveform.tobytes()))

    def __repr__(self) -> str:
        kind = {1: "mono", 2: "stereo"}.get(self.channels, f"{self.channels} channels")
        return f"AudioClip({self.duration:.3f} s, {self.sample_rate} Hz, {kind}, peak {self.peak:.3f})"
