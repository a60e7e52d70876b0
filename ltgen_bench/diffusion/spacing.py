"""Which noise levels a sampler visits when it takes fewer steps than the network was trained with."""

from __future__ import annotations

from typing import Literal

import numpy as np

from ltgen_bench.core.errors import ConfigError, UnknownNameError, did_you_mean

Spacing = Literal["trailing", "linspace", "leading"]
SPACINGS: tuple[Spacing, ...] = ("trailing", "linspace", "leading")


def step_indices(total: int, steps: int | None, spacing: Spacing = "trailing") -> list[int]:
    """Table indices in the order they are visited: from noise to data, strictly falling, `steps` of them.

    After the last index the sampler moves to the data itself (alpha_bar = 1), so no visit is without effect.
    `steps` = None takes all `total` levels; then all spacings are the same.

    * trailing: every (total / steps)-th counted down from total - 1, where sampling starts (Lin et al. 2024, "Common
      Diffusion Noise Schedules and Sample Steps are Flawed", table 2). 1000 and 4: 999, 749, 499, 249.
    * linspace: evenly from total - 1 to 0, both included (as Nichol and Dhariwal 2021, section 4). 999, 666, 333, 0.
    * leading: multiples of floor(total / steps) from 0 (Song et al. 2021, appendix D.2). It starts below total - 1
      although it is given pure noise; for comparison with published numbers only. 750, 500, 250, 0.

    Raises ConfigError when `steps` is not in [1, total], UnknownNameError for another spacing.
    """
    if steps is None:
        steps = total
    if not 1 <= steps <= total:
        raise ConfigError(f"steps = {steps}; a schedule of {total} steps can be sampled in 1 to {total}")
    k = np.arange(steps, dtype=np.int64)
    if spacing == "trailing":
        indices = total - 1 - (k * total) // steps
    elif spacing == "linspace":
        gaps = max(steps - 1, 1)
        indices = total - 1 - (2 * k * (total - 1) + gaps) // (2 * gaps)
    elif spacing == "leading":
        indices = (steps - 1 - k) * (total // steps)
    else:
        raise UnknownNameError(f"no step spacing {spacing!r}; {did_you_mean(spacing, SPACINGS)}")
    return [int(index) for index in indices]
