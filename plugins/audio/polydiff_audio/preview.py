"""Pictures of sounds: waveform and spectrogram of one clip, and sheets of many."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from math import ceil, sqrt
from typing import Any

import numpy as np

from polydiff.support.pictures import new_figure, to_png
from polydiff_audio.clip import AudioClip
from polydiff_audio.files import to_bytes
from polydiff_audio.metrics import spectrogram

_INK = "#20639b"


def picture(clip: AudioClip) -> bytes:
    """A PNG: waveform above, mel spectrogram (60 dB) below, seconds along the axis."""
    figure = new_figure(4.2, 3.2)
    wave, spectrum = figure.subplots(2, 1, sharex=True, height_ratios=[1, 1.6])
    _draw(wave, spectrum, clip)
    spectrum.set_xlabel("seconds")
    wave.set_title(f"{clip.duration:.2f} s, {clip.sample_rate} Hz", fontsize=9)
    return to_png(figure)


def contact_sheet(clips: Sequence[AudioClip], titles: Sequence[str]) -> bytes:
    """A PNG with every clip under its title, all on one scale of time."""
    columns = min(5, max(1, ceil(sqrt(len(clips)))))
    rows = max(1, ceil(len(clips) / columns))
    figure = new_figure(2.3 * columns, 1.9 * rows)
    longest = max((clip.duration for clip in clips), default=1.0)
    for clip, title, part in zip(
        clips, titles, figure.subfigures(rows, columns, squeeze=False).flat, strict=False
    ):
        wave, spectrum = part.subplots(2, 1, height_ratios=[1, 2], gridspec_kw={"hspace": 0.05})
        _draw(wave, spectrum, clip)
        part.suptitle(title, fontsize=8)
        for axes in (wave, spectrum):
            axes.set_xlim(0, longest)
            axes.set_axis_off()
    return to_png(figure)


def player(clip: AudioClip) -> str:
    """A player for notebooks, with the sound inside the page (no file, no server)."""
    data = base64.b64encode(to_bytes(clip)).decode("ascii")
    return (
        f"<div>{clip.duration:.2f} s, {clip.sample_rate} Hz</div>"
        f'<audio controls src="data:audio/wav;base64,{data}"></audio>'
    )


def _draw(wave: Any, spectrum: Any, clip: AudioClip) -> None:
    mono = clip.waveform.mean(0)
    step = max(len(mono) // 2000, 1)
    shown = mono[: len(mono) // step * step].reshape(-1, step)
    times = np.arange(len(shown)) * step / clip.sample_rate
    wave.fill_between(times, shown.min(1), shown.max(1), color=_INK, linewidth=0.4, edgecolor=_INK)
    wave.set_ylim(-1, 1)
    wave.set_yticks([])
    extent = (0.0, clip.duration, 0.0, 1.0)
    spectrum.imshow(spectrogram(clip), origin="lower", aspect="auto", extent=extent, cmap="magma")
    spectrum.set_yticks([])
