"""Small changes that leave a sound what it is: speed (and with it pitch), place, level."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import soxr
from pydantic import BaseModel, ConfigDict, Field

from polydiff_audio.clip import AudioClip
from polydiff_audio.loudness import amplitude


class Augmentation(BaseModel):
    """How far clips are changed. speed: deviation of the factor (0.03 is half a semitone); probability:
    how often it changes at all; shift: seconds of start that may be cut off or added; gain: dB down."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    speed: float = Field(default=0.035, ge=0, le=0.2)
    probability: float = Field(default=0.75, ge=0, le=1)
    shift: float = Field(default=0.016, ge=0)
    gain: float = Field(default=0.0, ge=0, le=60)


def speed_factor(seed: int, how: Augmentation) -> float:
    """How much faster and higher `augment` makes a clip with this seed.

    >>> speed_factor(3, Augmentation(speed=0.0))
    1.0
    """
    changes, speed = np.random.Generator(np.random.Philox(key=(seed + 1) % 2**64)).normal(size=2)
    changed = 0.5 * (1 + math.erf(changes / math.sqrt(2))) < how.probability
    return float(np.exp(how.speed * np.clip(speed, -2.5, 2.5))) if changed else 1.0


def augment(clip: AudioClip, seed: int, how: Augmentation | None = None) -> AudioClip:
    """A changed copy; the same for the same seed.

    >>> clip = AudioClip(np.sin(np.arange(800) / 9), 8000)
    >>> augment(clip, 1) == augment(clip, 1), augment(clip, 1) == augment(clip, 2)
    (True, False)
    """
    how = how or Augmentation()
    random = np.random.Generator(np.random.Philox(key=seed % 2**64))
    shift, gain = random.uniform(-1, 1), random.random()
    wave = clip.waveform
    if (factor := speed_factor(seed, how)) != 1:
        wave = soxr.resample(wave.T, clip.sample_rate * factor, clip.sample_rate, quality="MQ").T
    samples = round(shift * how.shift * clip.sample_rate)
    if samples > 0:
        wave = np.pad(wave, ((0, 0), (samples, 0)))
    elif samples < 0 and wave.shape[1] > 2 * -samples:
        wave = wave[:, -samples:]
    peak = float(np.abs(wave).max())
    level = clip.peak / peak if peak else 1.0  # speed and cutting move the peak a little: keep it
    return replace(clip, waveform=wave * np.float32(level * amplitude(-how.gain * gain)))
