"""The learning-rate schedule."""

from __future__ import annotations

import math

from ltgen_bench.core.config import TrainingConfig


def learning_rate(config: TrainingConfig, step: int) -> float:
    """The rate of step 0, 1, ...: a linear warm-up, then constant, or half a cosine or a straight line down to 0."""
    rate = config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup_steps))
    if config.learning_rate_schedule != "constant" and step >= config.warmup_steps:
        done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
        rate *= 1 - done if config.learning_rate_schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return rate
