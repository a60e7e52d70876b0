"""Every submission verified again, after a metric or its tolerance has changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltgen_bench.core.errors import UserError
from ltgen_bench.core.progress import Progress
from ltgen_bench.evaluation.places import EvaluationPlaces
from ltgen_bench.leaderboard.exchange.fetch import fetch_remote
from ltgen_bench.leaderboard.submission.metadata import PublishedFile, PublishedSeed
from ltgen_bench.leaderboard.submission.validate import Submission
from ltgen_bench.leaderboard.submission.verify import verify_samples


@dataclass(frozen=True)
class Reverified:
    """One seed: where its new verification is, or why there is none."""

    submission: Path
    seed: int
    verification: Path | None
    problem: str = ""
    found: bool = True  # whether there were samples to measure

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        written = None if self.verification is None else str(self.verification)
        return {**vars(self), "submission": str(self.submission), "verification": written}


def reverify(
    submissions: list[Submission],
    *,
    leaderboards: Path,
    places: EvaluationPlaces,
    samples: Path | None,
    verifier: str = "",
    device: str = "auto",
    progress: Progress | None = None,
) -> Iterator[Reverified]:
    """Verify every seed whose samples are at hand; one that fails does not stop the others.

    They are looked for in `samples`/<data set>/<submission>/<seed>.npz, with the weights beside them as
    <seed>.safetensors, and else fetched from where the submission says they are published.
    """
    cache = places.data_root / ".cache" / "fetched"
    for submission in submissions:
        for seed, record in sorted(submission.records.items()):
            try:
                own = None if samples is None else samples / record.dataset.name / submission.path.name
                published = submission.metadata.files.get(str(seed), PublishedSeed())
                file = _at_hand(own, f"{seed}.npz", published.samples, cache)
                if file is None:
                    yield Reverified(submission.path, seed, None, "its samples are neither here nor published", False)
                    continue
                weights = _at_hand(own, f"{seed}.safetensors", published.weights, cache)
                path, _ = verify_samples(
                    submission,
                    file,
                    leaderboards=leaderboards,
                    places=places,
                    verifier=verifier,
                    weights=weights,
                    device=device,
                    progress=progress,
                )
                yield Reverified(submission.path, seed, path)
            except UserError as error:
                yield Reverified(submission.path, seed, None, str(error))


def _at_hand(folder: Path | None, name: str, published: PublishedFile | None, cache: Path) -> Path | None:
    if folder is not None and (folder / name).is_file():
        return folder / name
    return None if published is None else fetch_remote(published.remote(), cache)
