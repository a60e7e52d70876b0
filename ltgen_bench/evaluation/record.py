"""The record of a run: what was measured, on what, by which protocol, with which weights, where and at what cost.

A record is JSON, validated on writing and on reading. Numbers are numbers; `null` means "not computed" and
`metrics.notes` says why; NaN and infinity do not exist. Everything but `timing` is the same when the same run is
repeated on the same machine. The JSON schema is `ltgen_bench/record.schema.json`.
"""

from __future__ import annotations

from statistics import fmean
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from ltgen_bench.core.choices import Group
from ltgen_bench.core.plain_text import is_hidden
from ltgen_bench.core.protocol import Protocol

MAX_CLASSES = 20_000


def _without_controls(text: str) -> str:
    """What a terminal would obey has no place in a record."""
    if any(is_hidden(character) for character in text):
        raise ValueError("holds an invisible or control character")
    return text


Text = Annotated[str, Field(max_length=2000), AfterValidator(_without_controls)]
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_without_controls)]
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
    plugin: Name | None = None  # where it is from: a file's name, or an installed package with its version


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
    groups: dict[Group, list[Count]]
    fingerprint: Sha256
    reference: ReferencePart
    papers_reference: ReferencePart | None = None  # the papers' one, where the protocol compares with unseen images


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


class GuidancePoint(Part):
    """What the selection samples of one scale scored."""

    guidance_scale: NotNegative  # w in eps_c + w (eps_c - eps_u)
    fid: NotNegative
    few_fid: NotNegative | None = None  # of the tail
    precision: Fraction | None = None
    recall: Fraction | None = None
    label_accuracy: Fraction | None = None  # by the linear probe where the protocol has one


class GuidancePart(Part):
    """The scale of guidance that the protocol's rule chose, and the curve that it saw."""

    guidance_scale: NotNegative
    curve: Annotated[list[GuidancePoint], Field(min_length=1, max_length=200)]
    samples: Count  # for every scale, none of which is reported
    network_evaluations: Count  # of the whole selection


class ExtractorPart(Part):
    """A feature network, by its weights."""

    name: Name
    version: Count
    dim: Count
    weights_sha256: Sha256
    precision: Literal["fp32", "bf16"] = "fp32"
    label: Name  # how its Frechet distances are called: FID, or FD[name]


class GroupMetrics(BaseModel):
    """Metrics over the classes of one group; further keys are numbers or null."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False, strict=True)

    __pydantic_extra__: dict[str, Count | Number | None]
    classes: Annotated[list[Count], Field(max_length=MAX_CLASSES)]

    @property
    def numbers(self) -> dict[str, Any]:
        """The group's numbers by name, None where one was not computed."""
        return dict(self.model_extra or {})


class PerClassMetrics(BaseModel):
    """Lists with one entry a class."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False, strict=True)

    __pydantic_extra__: dict[str, PerClass]
    n_generated: Counts
    n_reference: Counts

    @property
    def lists(self) -> dict[str, list[Any]]:
        """The lists of metrics by name, with None for a class that has no value."""
        return dict(self.model_extra or {})


RecognitionArm = Literal["real", "generated", "generated-balanced", "filled"]


class RecognitionRow(Part):
    """One classifier's top-1 on real images, mean over classes; null for a group without test images."""

    arm: RecognitionArm  # what it was trained on
    seed: Count  # of the classifier
    images: Count
    all: Fraction
    many: Fraction | None
    medium: Fraction | None
    few: Fraction | None


class RecognitionPart(Part):
    """What the samples are worth to a classifier of real images, after the last epoch."""

    recipe: Name
    steps: Count  # of every classifier
    fill: Name  # how many generated images a class of real ones gets
    weight: NotNegative  # of a generated image among real ones
    filter: Text | None  # which generated images were left out
    real_images: Count
    test_images: Count
    missing: dict[RecognitionArm, Count]  # generated images that an arm asks for and the samples do not have
    rows: Annotated[list[RecognitionRow], Field(min_length=1, max_length=400)]

    def accuracy(self, arm: str, place: str = "all") -> float | None:
        """Mean over the classifiers."""
        values = [getattr(row, place) for row in self.rows if row.arm == arm]
        return fmean(values) if values and None not in values else None

    def gain(self, place: str = "all") -> float | None:
        """Filled minus real."""
        filled, real = self.accuracy("filled", place), self.accuracy("real", place)
        return None if filled is None or real is None else filled - real

    def number(self, key: str) -> float | None:
        """`gain`, `few_gain`, or an arm's accuracy by its name."""
        if key.endswith("gain"):
            return self.gain(key.removesuffix("gain").removesuffix("_") or "all")
        return self.accuracy(key)


class MetricsPart(Part):
    """What was measured; `null` is "not computed", with the reason in `notes`."""

    class Interval(Part):
        """A confidence interval."""

        low: Number
        high: Number
        level: Fraction
        method: Text

    fid: NotNegative | None
    fid_infinity: Number | None = None
    fid_floor: NotNegative | None = None
    papers_fid: NotNegative | None = None
    copying_gain: Number | None = None
    coverage_ceiling: Fraction | None = None
    precision_ceiling: Fraction | None = None
    recall_ceiling: Fraction | None = None
    f8_ceiling: Fraction | None = None
    f1_8_ceiling: Fraction | None = None
    probe_accuracy: Fraction | None = None
    probe_accuracy_ceiling: Fraction | None = None
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
    clipped_density: Fraction | None = None
    clipped_coverage: Fraction | None = None
    vendi_score: Annotated[float, Field(ge=1, le=1e100)] | None = None
    label_accuracy: Fraction | None
    per_class: PerClassMetrics
    groups: dict[Group, GroupMetrics]
    head_tail_gap: dict[Name, Number | None] = Field(default_factory=dict)
    confusion: Annotated[list[Counts], Field(max_length=MAX_CLASSES)] | None = None
    confidence: dict[Name, Interval | None] = Field(default_factory=dict)
    memorisation: dict[str, Any] | None = None
    recognition: RecognitionPart | None = None
    notes: dict[Name, Text] = Field(default_factory=dict)

    @property
    def gap(self) -> float | None:
        """The distance of the tail minus that of the head, above what real images score where that is known."""
        excess = self.head_tail_gap.get("fid_excess")
        return self.head_tail_gap.get("fid") if excess is None else excess

    def number(self, key: str) -> float | None:
        """A number by its key: `fid`, `gap`, `groups.few.fid`, `memorisation.pixels.fraction`; or None."""
        part, *path = key.split(".")
        if part == "gap":
            value: Any = self.gap
        elif part == "groups":
            group = self.groups.get(Group(path[0]))
            value = None if group is None else group.numbers.get(path[1])
        elif part == "memorisation":
            value = ((self.memorisation or {}).get(path[0]) or {}).get(path[1])
        elif part == "recognition":
            value = None if self.recognition is None else self.recognition.number(path[0])
        else:
            value = getattr(self, key)
        return None if value is None else float(value)


class EnvironmentPart(Part):
    """Where it was computed."""

    python: Name
    platform: Text
    device: Text
    threads: Count
    packages: dict[Name, Name]
    speed: Name | None = None  # what `--speed` stood for: precisions, TF32, memory format, compiled or not


class CodePart(Part):
    """Which code computed it; `commit` is null outside a checkout."""

    version: Name
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None
    clean: bool | None  # whether the code in the checkout had no changes


class TimingPart(Part):
    """The only part that differs between two identical runs. Seconds of wall time, summed over resumed parts."""

    created: Name  # UTC, ISO 8601
    training_seconds: NotNegative | None = None
    guidance_seconds: NotNegative | None = None
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


# Numbers of `analyze` that a record may hold, of all classes and of the groups.
SEPARATION_METRICS = ("knn_purity", "silhouette", "nearest_mean_accuracy", "probe_accuracy", "nc1", "effective_rank")


class SeparationPoint(Part):
    """How far the classes lie apart in what the model makes of real images: one number at one noise level."""

    images: Literal["reference", "train", "unseen"]
    t: Annotated[int, Field(ge=1, le=10**6)]
    label: Literal["withheld", "given"]
    noise: bool
    group: Literal["all", "many", "medium", "few"]
    metric: Literal["knn_purity", "silhouette", "nearest_mean_accuracy", "probe_accuracy", "nc1", "effective_rank"]
    value: Number | None
    low: Number | None = None
    high: Number | None = None
    reason: Text = ""

    @property
    def place(self) -> tuple[str, int, str, bool, str, str]:
        """What is said once only."""
        return (self.images, self.t, self.label, self.noise, self.group, self.metric)


class Record(Part):
    """Everything about one measured model.

    Version 2 of the schema has `separation`, which `analyze` adds; records of version 1 stay as they are.
    """

    schema_version: Literal[1, 2] = 1
    method: MethodPart
    dataset: DatasetPart
    protocol: Protocol
    protocol_hash: Hash
    seed: Count | None
    training: TrainingPart | None
    samples: SamplesPart
    guidance: GuidancePart | None = None  # None: not chosen by the protocol, or a method without guidance
    extractors: dict[Literal["features", "manifold"], ExtractorPart]
    metrics: MetricsPart
    separation: Annotated[list[SeparationPoint], Field(min_length=1, max_length=5000)] | None = None
    environment: EnvironmentPart
    code: CodePart
    timing: TimingPart

    @model_validator(mode="after")
    def _versions_say_what_they_hold(self) -> Record:
        if (self.separation is not None) != (self.schema_version == 2):
            raise ValueError("schema_version 2 is that of records with separation, and 1 of those without")
        places = [point.place for point in self.separation or []]
        if len(set(places)) != len(places):
            raise ValueError("separation says one number twice")
        return self
