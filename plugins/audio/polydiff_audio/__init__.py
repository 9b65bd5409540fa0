"""Audio for polydiff: spoken digits, drum hits, instrument notes, and sounds of your own."""

from pathlib import Path

from polydiff.hookspecs import hookimpl
from polydiff.spec import DomainInfo, PresetInfo

polydiff_api = 1

_CHECKPOINTS = Path(__file__).parent / "checkpoints"
_PRESETS = {
    "digits": ("CC-BY-SA-4.0", "Spoken digits, by digit and speaker, 8 kHz"),
    "drums": ("CC-BY-SA-4.0", "Drum hits, by class, also mixed, 22 kHz"),
    "notes": ("CC-BY-3.0", "Instrument notes, by instrument and pitch, 16 kHz"),
}


@hookimpl
def polydiff_domains() -> DomainInfo:
    return DomainInfo(
        name="audio",
        title="Audio",
        summary="Short sounds as waveforms: speech, drums, notes",
        factory="polydiff_audio.domain:Audio",
        suffixes=(".wav", ".flac", ".ogg", ".mp3"),
        previews=("waveform", "spectrogram"),
        capabilities=("variation", "inpaint", "variable", "mix", "loop"),
    )


@hookimpl
def polydiff_presets() -> list[PresetInfo]:
    return PresetInfo.shipped("audio", _CHECKPOINTS, _PRESETS)
