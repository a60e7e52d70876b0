"""Rows that no method made: what real images, copies of the training set and trivial generators score.

They stand in every table and are never ranked. A method that is not nearer to the reference than the memoriser has not
shown that it learned more than its training set. `baseline-rows` measures them, by the code and the protocol that
measure everybody, into a file that is committed, so that tables can be made without the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ltgen_bench.core.errors import RecordError, first_mistake
from ltgen_bench.core.protocol import Protocol
from ltgen_bench.core.seeding import derive_seed, labels_by_policy
from ltgen_bench.core.storage import write_json
from ltgen_bench.core.text_files import parse_json, read_text_bounded
from ltgen_bench.datasets import Dataset, ImageSet
from ltgen_bench.datasets.unseen import unseen_reference
from ltgen_bench.evaluation.evaluate import Evaluation, Evaluator
from ltgen_bench.evaluation.feature_sets import FeatureSets
from ltgen_bench.evaluation.parts import metric_settings
from ltgen_bench.evaluation.provenance import code_state
from ltgen_bench.evaluation.record import CodePart, Hash, MetricsPart, Name, Number, Record, Sha256, Text
from ltgen_bench.evaluation.samples import Samples
from ltgen_bench.leaderboard.columns import FURTHER_COLUMNS, MAIN_COLUMNS
from ltgen_bench.metrics import FeatureArrays, compute_metrics
from ltgen_bench.metrics.real_vs_real import coverage_ceiling, floor_constant, random_halves

REFERENCE_DRAWS = 3
MEMORISER = "memoriser"
_MOST_BYTES = 1 << 20
KEYS = tuple(column.key for column in (*MAIN_COLUMNS, *FURTHER_COLUMNS))


class ReferenceRow(BaseModel):
    """One row: its numbers by the keys of the tables' columns, once for each draw of samples."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    kind: Name
    title: Name
    how: Text
    draws: Annotated[list[dict[Name, Number | None]], Field(min_length=1, max_length=64)]

    def mean(self, key: str) -> float | None:
        """The mean over the draws; None unless all have the number."""
        values = [draw.get(key) for draw in self.draws]
        present = [value for value in values if value is not None]
        return fmean(present) if len(present) == len(values) else None

    def std(self, key: str) -> float | None:
        """The standard deviation over the draws; None with one, or without the number."""
        present = [value for draw in self.draws if (value := draw.get(key)) is not None]
        return stdev(present) if len(present) == len(self.draws) > 1 else None


class ReferenceRows(BaseModel):
    """The rows of one data set under one protocol, and what they were measured on."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    format: Literal[1] = 1
    dataset: Name
    dataset_fingerprint: Sha256
    reference_fingerprint: Sha256
    protocol: Name
    protocol_hash: Hash
    weights_sha256: dict[Name, Sha256]
    code: CodePart
    rows: list[ReferenceRow]

    def fits(self, record: Record) -> bool:
        """Whether they were measured on what a record was measured on."""
        ours = (self.dataset_fingerprint, self.reference_fingerprint, self.protocol_hash, self.weights_sha256)
        dataset, extractors = record.dataset, record.extractors
        weights = {str(role): extractor.weights_sha256 for role, extractor in extractors.items()}
        return ours == (dataset.fingerprint, dataset.reference.fingerprint, record.protocol_hash, weights)


def reference_rows_path(leaderboards: Path, dataset: str, protocol: str) -> Path:
    """Where the rows of a data set under a protocol are committed."""
    return leaderboards / "reference_rows" / dataset / f"{protocol}.json"


def read_reference_rows(path: Path) -> ReferenceRows | None:
    """The committed rows, None where there are none; raises RecordError of one line for a file that is not one."""
    if not path.exists():
        return None
    text = read_text_bounded(path, error=RecordError, limit=_MOST_BYTES)
    try:
        parse_json(text, str(path), error=RecordError)  # limits that the schema does not know
        return ReferenceRows.model_validate_json(text)
    except ValidationError as error:
        mistake = first_mistake(error)
        raise RecordError(f"{path}: {mistake.place or 'file'}: {mistake.message}") from None


def measure_reference_rows(dataset: Dataset, protocol: Protocol, evaluator: Evaluator) -> ReferenceRows:
    """Measure the rows; raises MissingFileError where the images or the weights are not there."""
    rows, evaluation = [], None
    for kind, title, how, draw in _GENERATORS:
        draws = []
        for seed in range(REFERENCE_DRAWS):
            labels = labels_by_policy(protocol.label_policy, protocol.samples, dataset.class_count, seed)
            random = np.random.default_rng(derive_seed(seed, "reference row", kind))
            evaluation = evaluator.measure(Samples(draw(dataset.train(), labels, random), labels), dataset, protocol)
            draws.append(_numbers(evaluation))
        rows.append(ReferenceRow(kind=kind, title=title, how=how, draws=draws))
    assert evaluation is not None  # there are generators
    rows.insert(0, _real_row(dataset, protocol, evaluator, evaluation))
    part = evaluation.dataset
    return ReferenceRows(
        dataset=part.name,
        dataset_fingerprint=part.fingerprint,
        reference_fingerprint=part.reference.fingerprint,
        protocol=protocol.name,
        protocol_hash=protocol.hash(),
        weights_sha256={role: extractor.weights_sha256 for role, extractor in evaluation.extractors.items()},
        code=code_state(),
        rows=rows,
    )


def write_reference_rows(path: Path, rows: ReferenceRows) -> None:
    """Write the rows as JSON, atomically."""
    write_json(path, rows.model_dump(mode="json"))


def _numbers(evaluation: Evaluation) -> dict[str, float | None]:
    metrics = MetricsPart.model_validate(evaluation.to_dict())
    return {key: metrics.number(key) for key in KEYS}


def _copies(train: ImageSet, labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A training image of each label, drawn with replacement."""
    return np.asarray(train.images[_rows(train, labels, random)])


def _rows(train: ImageSet, labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    rows = np.empty(len(labels), np.int64)
    for c in np.unique(labels):
        rows[labels == c] = random.choice(np.flatnonzero(train.labels == c), int((labels == c).sum()))
    return rows


def _mean_images(train: ImageSet, labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The mean training image of each label's class."""
    images = np.empty((len(labels), *train.images.shape[1:]), np.uint8)
    for c, of_class in _by_class(train, labels):
        images[labels == c] = np.rint(of_class.mean(axis=0, dtype=np.float64)).astype(np.uint8)
    return images


def _gaussians(train: ImageSet, labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Images from the Gaussian, in pixels, of each label's class: its mean and sample covariance, whatever its rank."""
    images = np.empty((len(labels), *train.images.shape[1:]), np.uint8)
    for c, of_class in _by_class(train, labels):
        pixels = of_class.reshape(len(of_class), -1).astype(np.float64)
        mean = pixels.mean(axis=0)
        weights = random.standard_normal((int((labels == c).sum()), len(pixels))) / np.sqrt(max(1, len(pixels) - 1))
        drawn = mean + weights @ (pixels - mean)
        images[labels == c] = np.clip(np.rint(drawn), 0, 255).astype(np.uint8).reshape(-1, *images.shape[1:])
    return images


def _by_class(train: ImageSet, labels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for c in np.unique(labels):
        yield int(c), train.images[train.labels == c]


_Draw = Callable[[ImageSet, np.ndarray, np.random.Generator], np.ndarray]
_GENERATORS: tuple[tuple[str, str, str, _Draw], ...] = (
    (MEMORISER, "Copies of the training set", "training images, drawn with the protocol's labels", _copies),
    ("gaussian", "A Gaussian of each class", "mean and covariance of each class's training pixels", _gaussians),
    ("mean", "The mean image of each class", "one image a class", _mean_images),
)


def _real_row(dataset: Dataset, protocol: Protocol, evaluator: Evaluator, example: Evaluation) -> ReferenceRow:
    """Real images in place of samples: halves of the reference against each other.

    Distance and coverage are brought to the protocol's numbers (`metrics.real_vs_real`); a distance to which the law
    does not apply, and those of groups of other sizes, are left out. Everything else is that of the halves.
    """
    unseen = protocol.reference == "unseen"
    reference = unseen_reference(dataset)[1] if unseen else dataset.reference_set()
    sets = FeatureSets.of(protocol, evaluator.places, evaluator.device, evaluator.batch_size, evaluator.progress)
    real = sets.arrays("reference images", reference.images, reference.labels)
    settings, count, total = metric_settings(protocol), protocol.samples, len(reference)
    constant = floor_constant(real.features, real.labels, seed=settings.seed)
    knows_classes = sets.main.class_names == tuple(dataset.class_names)
    floors = {name: values.get("fid_floor") for name, values in (example.report.groups or {}).items()}
    draws = []
    for seed in range(REFERENCE_DRAWS):
        first, second = (_part(real, rows) for rows in random_halves(real.features, real.labels, seed))
        report = compute_metrics(
            first,
            second,
            settings=settings,
            class_count=dataset.class_count,
            groups=dataset.groups.as_dict(),
            classifier_probabilities=first.probabilities if knows_classes else None,
        ).to_dict()
        report["per_class"] |= {"n_generated": [0], "n_reference": [0]}
        metrics = MetricsPart.model_validate(report)
        numbers = {key: metrics.number(key) for key in KEYS}
        numbers["fid"] = None if constant is None else constant * (1 / count + 1 / total)
        numbers["coverage"] = coverage_ceiling(count, total, settings.k)
        numbers |= {f"groups.{name}.fid": floor for name, floor in floors.items()}
        draws.append(numbers)
    how = f"distance and coverage of {count:,} real images against {total:,}; the rest {len(first):,} against as many"
    # the reference that a data set names may hold training images
    return ReferenceRow(kind="real", title="Real images, unseen" if unseen else "Real images", how=how, draws=draws)


def _part(arrays: FeatureArrays, rows: np.ndarray) -> FeatureArrays:
    assert arrays.labels is not None  # of a data set
    return FeatureArrays(
        arrays.features[rows],
        arrays.labels[rows],
        None if arrays.probabilities is None else arrays.probabilities[rows],
        None if arrays.manifold_features is None else arrays.manifold_features[rows],
    )
