"""A configuration trained again: whether its distance is one that the submission's seeds could have had."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import t as student

from ltgen_bench.core.mappings import difference
from ltgen_bench.evaluation.record import Record
from ltgen_bench.leaderboard.submission.untrusted import SubmissionError
from ltgen_bench.leaderboard.submission.validate import Submission
from ltgen_bench.leaderboard.submission.verification import Retrained

FALSE_ALARM = 1e-3  # of an honest submission whose seeds' logarithms are normal
SMALLEST_SPREAD = 0.03  # of a logarithm; the spread of two or three seeds can be small by chance


def trained_again(submission: Submission, seed: int, record: Record | None, *, mirrored: bool) -> Retrained | None:
    """Compare the record of a second training, if there was one, with the submission's.

    `mirrored`: whether images of the data set may be mirrored.

    Where the samples are the same to the last bit nothing is left to ask. Otherwise the distance has to lie in the
    prediction interval for one more seed (Student's t on logarithms, from the submission's seeds). Raises
    SubmissionError for another configuration, for fewer than two seeds, and for a distance outside.
    """
    if record is None:
        return None
    given = submission.records[seed]
    changes = difference(given.method.config or {}, record.method.config or {})
    without_effect = ["dataset.path", "dataset.reference_path"]  # the images are compared by their fingerprints
    if not mirrored:  # what was asked for there was never done, and records of early versions still say it
        without_effect.append("training.horizontal_flip")
    changes = [change for change in changes if change.partition(":")[0] not in without_effect]
    if changes or record.protocol_hash != given.protocol_hash:
        what = f" ({'; '.join(changes)})" if changes else ""
        raise SubmissionError(f"seed {seed}: what was trained again has another configuration{what}")
    values = [one.metrics.fid for one in submission.records.values()]
    known = [math.log(value) for value in values if value]
    if record.metrics.fid is None or len(known) < len(values) or len(known) < 2:
        raise SubmissionError(f"seed {seed}: a second training is compared by distances of two seeds or more")
    spread = max(float(np.std(known, ddof=1)), SMALLEST_SPREAD) * math.sqrt(1 + 1 / len(known))
    reach = float(student.ppf(1 - FALSE_ALARM / 2, len(known) - 1)) * spread
    low, high = (math.exp(float(np.mean(known)) + sign * reach) for sign in (-1, 1))
    same = record.samples.sha256 == given.samples.sha256
    if not same and not low <= record.metrics.fid <= high:
        raise SubmissionError(
            f"seed {seed}: trained again its distance is {record.metrics.fid:.4g}, and one more seed of this "
            f"submission would have had {low:.4g} to {high:.4g}: no verification"
        )
    return Retrained(fid=record.metrics.fid, low=low, high=high, equal_samples=same)
