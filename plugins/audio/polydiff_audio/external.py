"""Judges that come in wheels of their own and are never part of this one; each is used if it is installed.

pip install polydiff-audio[judges]

pocketsphinx   (BSD-like)   names spoken digits by a grammar of ten words, at 16 kHz
openwakeword   0.4.0 (Apache-2.0, weights CC BY-NC-SA 4.0)   embeds speech, for Frechet distances
speechmos      (MIT)        DNSMOS, an estimate of how listeners would rate speech, 1 to 5
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polydiff.errors import PolydiffError
from polydiff_audio.clip import AudioClip
from polydiff_audio.convert import resample, to_channels
from polydiff_audio.vocabulary import WORDS

_RATE = 16000
_GRAMMAR = f"#JSGF V1.0; grammar digits; public <digit> = {' | '.join(WORDS)};"


def available() -> tuple[str, ...]:
    """Which of the judges are installed."""
    onnx = find_spec("onnxruntime") is not None
    found = {
        "pocketsphinx": find_spec("pocketsphinx") is not None,
        "openwakeword": onnx and find_spec("openwakeword") is not None and bool(_embedding_files()),
        "speechmos": onnx and find_spec("speechmos") is not None,
    }
    return tuple(name for name, there in found.items() if there)


def recognise(clips: Sequence[AudioClip]) -> list[str]:
    """The digit that PocketSphinx hears in each clip, as a word; "" where it hears none."""
    decoder = _recogniser()
    heard = []
    for clip in clips:
        # it wants room before and after the word
        wave = np.pad(_mono(clip), 4000)
        decoder.start_utt()
        decoder.process_raw((wave * 32767).astype(np.int16).tobytes(), full_utt=True)
        decoder.end_utt()
        hypothesis = decoder.hyp()
        heard.append(hypothesis.hypstr if hypothesis else "")
    return heard


def embed(clips: Sequence[AudioClip]) -> NDArray[np.float64]:
    """(n, 96) features: the mean over time of openwakeword's speech embedding of a clip in 2 s of silence."""
    mel, embedding = (_session(path) for path in _embedding_files())
    rows = []
    for clip in clips:
        wave = _mono(clip)[: 2 * _RATE]
        before = (2 * _RATE - len(wave)) // 2
        wave = np.pad(wave, (before, 2 * _RATE - len(wave) - before)) * 32767
        spectrum = np.squeeze(mel.run(None, {mel.get_inputs()[0].name: wave[None].astype(np.float32)})[0])
        spectrum = spectrum / 10 + 2  # the scale that the embedding was trained on
        windows = np.stack([spectrum[i : i + 76] for i in range(0, len(spectrum) - 75, 8)])[..., None]
        out = embedding.run(None, {embedding.get_inputs()[0].name: windows.astype(np.float32)})[0]
        rows.append(out.reshape(len(windows), -1).mean(0))
    return np.asarray(rows, np.float64)


def mos(clips: Sequence[AudioClip]) -> NDArray[np.float64]:
    """DNSMOS P.835 overall quality of each clip, 1 to 5 (Reddy et al. 2022); short clips are repeated to the
    nine seconds that it listens to."""
    session = _session(_folder("speechmos") / "dnsmos_models" / "sig_bak_ovr.onnx")
    length = int(9.01 * _RATE)
    rows = []
    for clip in clips:
        wave = _mono(clip)
        wave = np.tile(wave, -(-length // len(wave)))[:length]
        overall = session.run(None, {session.get_inputs()[0].name: wave[None].astype(np.float32)})[0][0][2]
        rows.append(np.polyval([-0.06766283, 1.11546468, 0.04602535], overall))
    return np.asarray(rows, np.float64)


def _mono(clip: AudioClip) -> NDArray[Any]:
    wave = resample(to_channels(clip, 1), _RATE).waveform[0]
    result: NDArray[Any] = np.clip(wave, -1, 1)
    return result


def _folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise PolydiffError(f"This figure needs {package}: pip install polydiff-audio[judges].")
    return Path(spec.origin).parent


def _embedding_files() -> tuple[Path, ...]:
    models = _folder("openwakeword") / "resources" / "models"
    paths = (models / "melspectrogram.onnx", models / "embedding_model.onnx")
    return paths if all(path.is_file() for path in paths) else ()


@lru_cache(maxsize=4)
def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@lru_cache(maxsize=1)
def _recogniser() -> Any:
    import pocketsphinx

    decoder = pocketsphinx.Decoder(lm=None, loglevel="FATAL", samprate=_RATE)
    decoder.add_jsgf_string("digits", _GRAMMAR)
    decoder.activate_search("digits")
    return decoder
