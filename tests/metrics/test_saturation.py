"""The warning of saturated samples: when it comes, and what it proposes."""

import numpy as np
import pytest

from ltgen_bench.metrics.saturation import saturated_share, saturation_warning

RANDOM = np.random.default_rng(0)
PLAIN = RANDOM.integers(20, 230, (300, 3, 8, 8)).astype(np.uint8)
BURNT = np.where(RANDOM.random(PLAIN.shape) < 0.4, np.uint8(255), PLAIN)
INK = np.where(RANDOM.random(PLAIN.shape) < 0.5, np.uint8(0), PLAIN)  # as digits are: half of them is paper


def test_the_share_counts_both_ends():
    images = np.array([0, 255, 1, 254], np.uint8).reshape(1, 1, 2, 2)
    assert saturated_share(images) == 0.5
    assert saturated_share(np.repeat(images, 5000, axis=0)) == 0.5


@pytest.mark.parametrize(("ours", "theirs"), [(PLAIN, PLAIN), (INK, INK), (PLAIN, BURNT), (BURNT, INK)])
def test_samples_like_their_training_images_say_nothing(ours, theirs):
    assert saturation_warning(ours, theirs, clip_x0=False) is None


def test_the_remedy_depends_on_what_was_done():
    free, clipped, foreign = (saturation_warning(BURNT, PLAIN, clip_x0=clip) for clip in (False, True, None))
    assert "40% of the samples' pixel values" in free
    assert "--set sampling.clip_x0=true" in free
    assert "trained too little, or its guidance is too strong" in clipped == foreign
