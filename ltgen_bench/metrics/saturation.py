"""Warn when far more pixel values of generated samples are black or white than of the training images.

A sampler that does not limit its estimate of the clean image leaves the range after a short training; the samples are
clipped then, and no metric says why they are bad.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_TIMES, _AND_MORE = 3.0, 0.05  # of the training images' share, and so much more of all values
_IMAGES = 2000  # looked at in each set, drawn with a fixed seed: a share needs no more


def saturated_share(images: NDArray[np.uint8]) -> float:
    """Share of the values of uint8 images that are 0 or 255."""
    chosen = images
    if len(images) > _IMAGES:
        chosen = images[np.sort(np.random.default_rng(0).permutation(len(images))[:_IMAGES])]
    return float(((chosen == 0) | (chosen == 255)).mean())


def saturation_warning(generated: NDArray[np.uint8], training: NDArray[np.uint8], clip_x0: bool | None) -> str | None:
    """What is suspicious, with the remedy, in one line; None where samples are about as saturated as training images.

    `clip_x0`: whether the sampler limited its estimate of the clean image; None where nobody knows.
    """
    ours, theirs = saturated_share(generated), saturated_share(training)
    if ours <= max(_TIMES * theirs, theirs + _AND_MORE):
        return None
    line = f"{ours:.0%} of the samples' pixel values are 0 or 255, of the training images' {theirs:.0%}"
    if clip_x0 is False:
        return (
            f"{line}: this sampler does not limit x_0, which a short training needs; nothing has to be trained again: "
            "the same command with --set sampling.clip_x0=true samples and measures anew"
        )
    return f"{line}: the model is trained too little, or its guidance is too strong"
