"""Guidance: functions that wrap a denoiser into a denoiser, without state.

    cfg, cfg_zero, apg        with a condition and without it, and beyond
    autoguidance              a network and a worse one, and beyond
    steer, classifier         along the gradient of an energy, a reward or a classifier
    threshold                 no larger than data is
    inpaint, paste_known      what is known stays

What a guidance must remember from call to call (`apg`) is carried in the Run; see `denoisers`.
"""

from polydiff.engine.guidance.contrast import apg, autoguidance, cfg, cfg_zero
from polydiff.engine.guidance.inpaint import (
    inpaint,
    inpaint_from_cond,
    pack_known,
    paste_known,
    unpack_known,
)
from polydiff.engine.guidance.steer import classifier, steer
from polydiff.engine.guidance.threshold import threshold

__all__ = [
    "apg",
    "autoguidance",
    "cfg",
    "cfg_zero",
    "classifier",
    "inpaint",
    "inpaint_from_cond",
    "pack_known",
    "paste_known",
    "steer",
    "threshold",
    "unpack_known",
]
