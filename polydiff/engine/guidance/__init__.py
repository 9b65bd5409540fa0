"""Guidance: a denoiser that wraps a denoiser, and holds nothing that changes.

    cfg, cfg_zero, apg        with a condition and without it, and beyond
    autoguidance              a network and a worse one, and beyond
    steer, classifier         along the gradient of an energy, a reward or a classifier
    threshold                 no larger than data is
    inpaint, overlay          what is known stays

What a guidance must remember from call to call (`apg`) travels in the Run; see `denoisers`.
"""

from polydiff.engine.guidance.contrast import apg, autoguidance, cfg, cfg_zero
from polydiff.engine.guidance.keep import inpaint, keep_exactly, keeping, kept_conditions, overlay
from polydiff.engine.guidance.steer import classifier, steer
from polydiff.engine.guidance.threshold import threshold

__all__ = [
    "apg",
    "autoguidance",
    "cfg",
    "cfg_zero",
    "classifier",
    "inpaint",
    "keep_exactly",
    "keeping",
    "kept_conditions",
    "overlay",
    "steer",
    "threshold",
]
