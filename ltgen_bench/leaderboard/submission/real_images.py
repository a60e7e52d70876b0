"""Find samples that are real images, before anything is measured.

A model may repeat what it was trained on; `memorisation` measures that. It cannot repeat what it was not trained on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltgen_bench.datasets import Dataset
from ltgen_bench.datasets.overlap import rows_of_equal_images
from ltgen_bench.evaluation.samples import Samples
from ltgen_bench.leaderboard.submission.untrusted import SubmissionError
from ltgen_bench.metrics import nearest_in_pixels

# A sample this near to a reference image is that image with a little noise: root mean square, range 0 to 1.
COPY_DISTANCE = 4 / 255
MOST_COPIES = 0.01  # share of the samples: small pictures of digits can be alike by chance
_IMAGES_AT_ONCE = 8192

Pixels = NDArray[np.uint8]


def reference_copies(images: Pixels, dataset: Dataset, *, device: str = "cpu") -> int:
    """How many of `images` (N, C, H, W) are reference images that are not in the training set."""
    reference = dataset.reference_set()
    unseen = np.flatnonzero(rows_of_equal_images(reference, dataset.train()) < 0)
    queries = _channels_last(images)
    nearest = np.full(len(queries), np.inf)
    for start in range(0, len(unseen), _IMAGES_AT_ONCE):
        others = _channels_last(reference.images[unseen[start : start + _IMAGES_AT_ONCE]])
        nearest = np.minimum(nearest, nearest_in_pixels(queries, others, device=device).distances)
    return int((nearest <= COPY_DISTANCE).sum())


def refuse_copies(samples: Samples, dataset: Dataset, source: str, *, device: str = "cpu") -> None:
    """Raise SubmissionError where samples are reference images that nobody trained on; `source` says which samples."""
    copies = reference_copies(samples.images, dataset, device=device)
    if copies > MOST_COPIES * len(samples):
        raise SubmissionError(
            f"{source}: {copies:,} of {len(samples):,} samples are reference images outside of "
            "the training set, which no model trained on it can have made: no verification"
        )


def _channels_last(images: Any) -> Pixels:
    return np.ascontiguousarray(np.asarray(images).transpose(0, 2, 3, 1))
