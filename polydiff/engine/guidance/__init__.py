"""Guidance: functions that wrap a denoiser into a denoiser, without state.

    cfg, cfg_zero, apg        extrapolate from the answer without the condition through the one with it
    autoguidance              extrapolate from a weaker network through the better one
    steer, classifier         along the gradient of an energy, a reward or a classifier
    threshold                 clip x̂0 to the range of data
    inpaint, paste_known      keep the known part of a sample

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
