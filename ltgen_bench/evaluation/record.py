"""The record of a run: what was measured, on what, by which protocol, with which weights, where and at what cost.

A record is JSON, validated on writing and on reading. Numbers are numbers; `null` means "not computed" and
`metrics.notes` says why; NaN and infinity do not exist. Everything but `timing` is the same when the same run is
repeated on the same machine. The JSON schema is `ltgen_bench/record.schema.json`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ltgen_bench.core.protocol import PROTOCOLS, Protocol
from ltgen_bench.core.storage import sha256_json

SCHEMA_VERSION = 1
MAX_CLASSES = 20_000

Text = Annotated[str, Field(max_length=2000)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{10,64}$")]
Fraction = Annotated[float, Field(ge=0, le=1)]
Number = Annotated[float, Field(ge=-1e100, le=1e100)]
NotNegative = Annotated[float, Field(ge=0, le=1e100)]
Count = Annotated[int, Field(ge=0, le=10**12)]
Counts = Annotated[list[Count], Field(min_length=1, max_length=MAX_CLASSES)]
PerClass = Annotated[list[Number | None], Field(max_length=MAX_CLASSES)]


class Part(BaseModel):
    """Base of all parts: frozen, nothing unknown, no NaN, no coercion of text to numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class MethodPart(Part):
    """The model: its name, its own settings and the whole configuration it was run with."""

    name: Name
    title: Text = ""
    paper: Text = ""
    config: dict[str, Any] | None = None  # the run's identity; None for samples made elsewhere
    config_hash: Hash | None = None
    facts: dict[str, Any] = Field(default_factory=dict)  # such as the number of parameters
    code_sha256: Sha256 | None = None  # of a plug-in's files; the package's own methods are named by `code`


class ReferencePart(Part):
    """The images that the samples were compared with."""

    name: Name
    class_counts: Counts
    fingerprint: Sha256


class DatasetPart(Part):
    """The training set."""

    name: Name
    image_shape: Annotated[list[Count], Field(min_length=3, max_length=3)]
    class_names: Annotated[list[Name], Field(min_length=1, max_length=MAX_CLASSES)]
    class_counts: Counts
    total: Count
    groups: dict[Literal["many", "medium", "few"], list[Count]]
    fingerprint: Sha256
    reference: ReferencePart


class TrainingPart(Part):
    """What training cost, in what does not depend on the machine."""

    steps: Count
    images_seen: Count
    final_losses: dict[Name, float] = Field(default_factory=dict)


class SamplesPart(Part):
    """The samples that were measured."""

    count: Count
    class_counts: Counts
    sha256: Sha256
    labelled: bool = True  # False: unconditional samples, which belong to no class; all class_counts are then 0
    resized_from: Count | None = None  # pixels, when the protocol allowed a resize
    sampler: dict[str, Any] | None = None  # the sampling settings; None for samples made elsewhere
    network_evaluations: Count | None = None  # per image


class ExtractorPart(Part):
    """A feature network, by its weights."""

    name: Name
    version: Count
    dim: Count
    weights_sha256: Sha256
    precision: Literal["fp32", "bf16"] = "fp32"
    label: Name  # how its Frechet distances are called: FID, or FD[name]


class Interval(Part):
    """A confidence interval."""

    low: Number
    high: Number
    level: Fraction
    method: Text


class GroupMetrics(BaseModel):
    """Metrics over the classes of one group; further keys are numbers or null."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    __pydantic_extra__: dict[str, Count | Number | None]
    classes: Annotated[list[Count], Field(max_length=MAX_CLASSES)]


class PerClassMetrics(BaseModel):
    """Lists with one entry a class."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    __pydantic_extra__: dict[str, PerClass]
    n_generated: Counts
    n_reference: Counts


class MetricsPart(Part):
    """What was measured; `null` is "not computed", with the reason in `notes`."""

    fid: NotNegative | None
    fid_infinity: Number | None = None
    kid: Number | None
    kid_std: NotNegative | None
    inception_score: Annotated[float, Field(ge=1, le=1e100)] | None
    inception_score_std: NotNegative | None
    f8: Fraction | None
    f1_8: Fraction | None
    precision: Fraction | None
    recall: Fraction | None
    density: NotNegative | None
    coverage: Fraction | None
    label_accuracy: Fraction | None
    per_class: PerClassMetrics
    groups: dict[Literal["many", "medium", "few"], GroupMetrics]
    head_tail_gap: dict[Name, Number | None] = Field(default_factory=dict)
    confusion: Annotated[list[Counts], Field(max_length=MAX_CLASSES)] | None = None
    confidence: dict[Name, Interval | None] = Field(default_factory=dict)
    memorisation: dict[str, Any] | None = None
    notes: dict[Name, Text] = Field(default_factory=dict)


class EnvironmentPart(Part):
    """Where it was computed."""

    python: Name
    platform: Text
    device: Text
    threads: Count
    packages: dict[Name, Name]


class CodePart(Part):
    """Which code computed it; `commit` is null outside a checkout."""

    version: Name
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None
    clean: bool | None  # whether the code in the checkout had no changes


class TimingPart(Part):
    """The only part that differs between two identical runs. Seconds of wall time, summed over resumed parts."""

    created: Name  # UTC, ISO 8601
    training_seconds: NotNegative | None = None
    sampling_seconds: NotNegative | None = None
    evaluation_seconds: NotNegative | None = None
    peak_memory_bytes: Count | None = None  # of the process, resident


# Numbers over all samples; where one is null, `notes` says why.
HEADLINE_METRICS = (
    "fid",
    "kid",
    "inception_score",
    "f8",
    "f1_8",
    "precision",
    "recall",
    "density",
    "coverage",
    "label_accuracy",
)


# What the numbers of groups and classes can be.
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("fid", "fid_floor", "density", "n_generated", "n_reference"), (0.0, 1e100)),
    **dict.fromkeys(("f8", "f1_8", "precision", "recall", "coverage", "label_accuracy"), (0.0, 1.0)),
    "inception_score": (1.0, 1e100),
}


class Record(Part):
    """Everything about one measured model."""

    schema_version: Literal[1] = 1
    method: MethodPart
    dataset: DatasetPart
    protocol: Protocol
    protocol_hash: Hash
    seed: Count | None
    training: TrainingPart | None
    samples: SamplesPart
    extractors: dict[Literal["features", "manifold"], ExtractorPart]
    metrics: MetricsPart
    environment: EnvironmentPart
    code: CodePart
    timing: TimingPart

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        """Recompute whatever can be recomputed."""
        classes = len(self.dataset.class_names)
        checks: list[tuple[bool, str]] = [
            (self.protocol_hash == self.protocol.hash(), "protocol_hash is not the hash of protocol"),
            (len(self.dataset.class_counts) == classes, "dataset.class_counts has another length than class_names"),
            (sum(self.dataset.class_counts) == self.dataset.total, "dataset.total is not the sum of class_counts"),
            (len(self.dataset.reference.class_counts) == classes, "dataset.reference.class_counts has another length"),
            (
                sorted(index for group in self.dataset.groups.values() for index in group) == list(range(classes)),
                "dataset.groups do not hold every class once",
            ),
            (len(self.samples.class_counts) == classes, "samples.class_counts has another length than class_names"),
            (
                sum(self.samples.class_counts) == (self.samples.count if self.samples.labelled else 0),
                "samples.count is not the sum of class_counts",
            ),
            (
                self.metrics.per_class.n_generated == self.samples.class_counts,
                "metrics.per_class.n_generated differs from samples.class_counts",
            ),
            (
                self.metrics.per_class.n_reference == self.dataset.reference.class_counts,
                "metrics.per_class.n_reference differs from dataset.reference.class_counts",
            ),
            (
                all(len(values) == classes for values in (self.metrics.per_class.model_extra or {}).values()),
                "a list in metrics.per_class has another length than class_names",
            ),
            (
                self.method.config is None or sha256_json(self.method.config)[:10] == self.method.config_hash,
                "method.config_hash is not the hash of method.config",
            ),
            (
                self.protocol.is_custom or self.samples.count == self.protocol.samples,
                f"samples.count {self.samples.count} is not the protocol's {self.protocol.samples}",
            ),
            (
                self.protocol.training_images is None
                or self.training is None
                or self.training.images_seen == self.protocol.training_images,
                "training.images_seen is not the protocol's training_images",
            ),
            (
                self.protocol.is_custom or self.protocol == PROTOCOLS.get(self.protocol.name),
                f"protocol {self.protocol.name!r} is not the published one of that name",
            ),
            (
                self.metrics.confusion is None
                or (
                    len(self.metrics.confusion) == classes
                    and all(len(row) == classes for row in self.metrics.confusion)
                ),
                "metrics.confusion is not a square table over the classes",
            ),
            (
                {self.protocol.extractor, self.protocol.manifold_extractor}
                == {extractor.name for extractor in self.extractors.values()},
                "extractors are not those of the protocol",
            ),
        ]
        per_class = (("per_class", key, values) for key, values in (self.metrics.per_class.model_extra or {}).items())
        groups = (
            (f"groups.{name}", key, [value])
            for name, group in self.metrics.groups.items()
            for key, value in (group.model_extra or {}).items()
        )
        for place, key, values in (*per_class, *groups):
            low, high = _RANGES.get(key.removeprefix("mean_class_"), (-1e100, 1e100))
            good = all(value is None or low <= value <= high for value in values)
            checks.append((good, f"metrics.{place}.{key} is not within {low:g} ... {high:g}"))
        checks.append(
            (_is_memorisation(self.metrics.memorisation), "metrics.memorisation is not one of the two spaces")
        )
        for name, interval in self.metrics.confidence.items():
            if interval is not None:
                checks.append((interval.low <= interval.high, f"metrics.confidence.{name} has low above high"))
        for name in type(self.metrics).model_fields:
            value = getattr(self.metrics, name)
            if name in HEADLINE_METRICS and value is None:
                checks.append(
                    (name in self.metrics.notes, f"metrics.{name} is null and metrics.notes does not say why")
                )
        for good, message in checks:
            if not good:
                raise ValueError(message)
        return self


def _is_memorisation(spaces: dict[str, Any] | None) -> bool:
    """Features and pixels only, each with its share of suspected copies or null in its place."""
    for space, scores in (spaces or {}).items():
        if space not in ("features", "pixels") or not isinstance(scores, dict):
            return False
        share = scores.get("fraction")
        if share is not None and not (type(share) in (int, float) and 0 <= share <= 1):
            return False
    return True
