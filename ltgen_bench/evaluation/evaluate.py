"""The evaluation stage: images and labels in, every number of the protocol out. Needs no model and no checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ltgen_bench.core.choices import Group
from ltgen_bench.core.config import DatasetConfig
from ltgen_bench.core.devices import measuring_device, memory_errors, resolve_device
from ltgen_bench.core.distributed import World
from ltgen_bench.core.errors import MissingFileError
from ltgen_bench.core.progress import Progress
from ltgen_bench.core.protocol import Protocol, get_protocol
from ltgen_bench.core.storage import write_json
from ltgen_bench.datasets import Dataset, ImageSet, load_dataset
from ltgen_bench.datasets.unseen import unseen_images, unseen_reference
from ltgen_bench.evaluation.authenticity import Authenticity, AuthenticityInputs, assess
from ltgen_bench.evaluation.compared import Compared, compared_sides, reference_of
from ltgen_bench.evaluation.feature_sets import FeatureSets
from ltgen_bench.evaluation.parts import class_mix_differs, dataset_part, extractor_part, metric_settings, samples_part
from ltgen_bench.evaluation.places import EvaluationPlaces, missing_protocol_weights, refuse_unused_weights
from ltgen_bench.evaluation.recognition.section import UNLABELLED, recognised
from ltgen_bench.evaluation.record import DatasetPart, ExtractorPart, RecognitionPart, SamplesPart
from ltgen_bench.evaluation.samples import Samples, as_samples, check_class_counts, check_samples
from ltgen_bench.features import missing_weights
from ltgen_bench.metrics import MetricReport, compute_metrics
from ltgen_bench.metrics.label_check import label_warning


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found; the parts of a record that it can fill."""

    report: MetricReport
    protocol: Protocol
    dataset: DatasetPart
    samples: SamplesPart
    extractors: dict[str, ExtractorPart]
    authenticity: Authenticity  # whether the samples can be honest, as far as they say so themselves
    recognition: RecognitionPart | None = None  # where the protocol asks for it: `Evaluator.with_recognition`

    def __repr__(self) -> str:
        label = self.extractors["features"].label
        measured = "not computed" if self.report.fid is None else f"{self.report.fid:.4g}"
        where = f"{self.dataset.name}, {self.protocol.name}"
        return f"<evaluation of {self.samples.count:,} samples on {where}: {label} {measured}>"

    def to_dict(self) -> dict[str, Any]:
        """The metrics, as JSON values."""
        if self.recognition is None:
            return self.report.to_dict()
        return {**self.report.to_dict(), "recognition": self.recognition.model_dump(mode="json")}

    def save(self, path: str | Path) -> None:
        """Write the metrics as JSON; a record with its provenance is what the command `evaluate` writes."""
        write_json(Path(path), self.to_dict())


def evaluate(
    images: np.ndarray,
    labels: np.ndarray | None,
    *,
    dataset: str | Dataset,
    protocol: str | Protocol | None = None,
    places: EvaluationPlaces | None = None,
    device: str = "auto",
    batch_size: int = 128,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure generated images, uint8 (N, H, W, C) or (N, C, H, W), with integer labels (N,), by a data set's protocol.

    `labels` is None for unconditional images. `protocol` is a published one by name, one of your own, or None for the
    data set's default with as many samples as are given (`+custom` where that is another number). Raises SamplesError
    for images or labels that do not fit the data set, MissingFileError when the data set's images or the extractor's
    weights are not there.

    Nothing is written anywhere unless `places` says where features are kept: `EvaluationPlaces(Path("data"))`.
    """
    places = places or EvaluationPlaces(cache=False)
    if isinstance(dataset, str):
        dataset = load_dataset(DatasetConfig(name=dataset), places.data_root)
    if protocol is None:
        protocol = get_protocol(dataset.default_protocol)
    elif isinstance(protocol, str):
        protocol = get_protocol(protocol)
    samples = as_samples(images, labels, dataset)
    evaluator = Evaluator(places, resolve_device(device), batch_size, progress or Progress())
    evaluation = evaluator.measure(samples, dataset, protocol.for_samples(len(samples)))
    return evaluator.with_recognition(evaluation, samples, dataset)


@dataclass(frozen=True)
class Evaluator:
    """Measures samples by protocols; the work behind `evaluate`, runs, submissions and verifications."""

    places: EvaluationPlaces
    device: torch.device
    batch_size: int = 128  # images extracted at a time
    progress: Progress = field(default_factory=Progress)

    def measure(
        self,
        samples: Samples,
        dataset: Dataset,
        protocol: Protocol,
        *,
        resized_from: int | None = None,
        secret: int | None = None,
    ) -> Evaluation:
        """Every number of `protocol`; samples without labels get none by class. `resized_from`: pixels, for the record.

        `secret` is a number that the samples' sender cannot foresee (`evaluation.authenticity`); None: one that
        follows from the samples, so that the same samples give the same record.

        Raises SamplesError for samples that do not fit the data set, ConfigError for weights that the protocol does not
        use, MissingFileError for missing ones, DeviceError when memory runs out.
        """
        check_samples(samples, dataset)
        check_class_counts(samples, dataset, protocol)
        refuse_unused_weights(protocol, self.places)
        if missing := missing_protocol_weights(protocol, self.places):
            raise MissingFileError("; ".join(f"{protocol.name} needs {file}" for file in missing.values()))
        device = measuring_device(self.device, self.progress.say)
        with memory_errors(_LESS_MEMORY):
            sets = self.feature_sets(protocol)
            seed = int(samples.sha256()[:12], 16) if secret is None else secret
            others = {} if secret is None else self.other_networks(protocol, dataset)
            report, authenticity = self._report(samples, dataset, protocol, sets, device, seed, others)
            unseen = unseen_reference(dataset) if protocol.reference == "unseen" else None
        extractors = {"features": sets.main, "manifold": sets.manifold}
        return Evaluation(
            report=report,
            protocol=protocol,
            dataset=dataset_part(dataset, unseen),
            samples=samples_part(samples, dataset, resized_from),
            extractors={role: extractor_part(extractor, protocol) for role, extractor in extractors.items()},
            authenticity=authenticity,
        )

    def with_recognition(self, evaluation: Evaluation, samples: Samples, dataset: Dataset) -> Evaluation:
        """The evaluation of these samples with what a classifier learns from them, where its protocol asks for it.

        Trains classifiers, so that it takes longer than all the rest; what verifies an evaluation leaves it out.
        """
        protocol = evaluation.protocol
        part = recognised(samples, dataset, protocol, self.places, self.device, self.progress)
        if part is None and protocol.recognition is not None:
            report = evaluation.report
            report = replace(report, notes={**report.notes, "recognition": UNLABELLED})
            return replace(evaluation, report=report)
        return replace(evaluation, recognition=part)

    def feature_sets(self, protocol: Protocol) -> FeatureSets:
        """The networks of `protocol` with the feature cache; raises MissingFileError or CheckpointError."""
        device = measuring_device(self.device)
        return FeatureSets.of(protocol, self.places, device, self.batch_size, self.progress)

    def other_networks(self, protocol: Protocol, dataset: Dataset) -> dict[str, FeatureSets]:
        """Trained networks that are here, take these images, and are not the protocol's: what nobody tuned to."""
        found: dict[str, FeatureSets] = {}
        if min(dataset.image_shape[1:]) < _FEWEST_PIXELS:
            return found
        device = measuring_device(self.device)
        for name in _FURTHER:
            if name in protocol.extractors():
                continue
            own = self.places.weights.get(name)
            if missing_weights(name, weights=own, weights_root=self.places.weights_root) is not None:
                continue
            other = protocol.model_copy(update={"extractor": name, "manifold_extractor": name})
            sets = FeatureSets.of(other, self.places, device, self.batch_size, self.progress)
            if dataset.image_shape[0] in sets.main.image_channels:
                found[name] = sets
        return found

    def judge(self, dataset: Dataset, protocol: Protocol) -> Callable[[Samples], dict[str, float | None]]:
        """What measures samples briefly, again and again against the same reference: the numbers of a `GuidancePoint`.

        Raises as `measure` does.
        """
        device = measuring_device(self.device)
        with memory_errors(_LESS_MEMORY):
            sets = self.feature_sets(protocol)
            info, reference = reference_of(dataset, protocol)
            real = sets.arrays(f"reference {info.name}", reference.images, reference.labels)
        settings = replace(metric_settings(protocol), intervals=False, real_vs_real=False)
        passing = replace(sets, cache=None)  # nobody asks for these samples' features again

        def numbers(samples: Samples) -> dict[str, float | None]:
            with memory_errors(_LESS_MEMORY):
                report = compute_metrics(
                    passing.arrays("samples", samples.images, samples.labels),
                    real,
                    settings=settings,
                    class_count=dataset.class_count,
                    groups=dataset.groups.as_dict(),
                    only=("fid", "per_class_fid", "precision_recall"),
                    reference_statistics=sets.reference_statistics(real, reference.images, len(samples)),
                    device=str(device),
                )
            few = (report.groups or {}).get(Group.FEW, {})
            return {
                "fid": report.fid,
                "few_fid": few.get("fid"),
                "precision": report.precision,
                "recall": report.recall,
                "label_accuracy": report.probe_accuracy,
            }

        return numbers

    def share_extraction(self, samples: Samples, dataset: Dataset, protocol: Protocol, world: World) -> None:
        """Do this process's share of what `measure` extracts, into the cache; collective, nothing where alone.

        Raises as `measure` does.
        """
        if world.size == 1 or not self.places.cache:
            return
        with memory_errors(_LESS_MEMORY):
            sets = self.feature_sets(protocol)
            compared_sides(samples, dataset, protocol, replace(sets, share=(world.rank, world.size)))
        world.barrier()

    def _report(
        self,
        samples: Samples,
        dataset: Dataset,
        protocol: Protocol,
        sets: FeatureSets,
        device: torch.device,
        seed: int,
        others: Mapping[str, FeatureSets],
    ) -> tuple[MetricReport, Authenticity]:
        labelled = samples.labels is not None
        compared = compared_sides(samples, dataset, protocol, sets)
        generated, real = compared.generated, compared.real
        warning = label_warning(generated, real, dataset.class_names) if labelled else None
        if warning is not None:
            self.progress.say(f"warning: {warning}")
        knows_classes = labelled and sets.main.class_names == tuple(dataset.class_names)
        papers, papers_statistics = compared.papers, None
        if papers is not None:
            papers_statistics = sets.reference_statistics(papers, dataset.reference_set().images, len(samples))
        report = compute_metrics(
            generated,
            real,
            settings=metric_settings(protocol),
            class_count=dataset.class_count,
            groups=dataset.groups.as_dict(),
            classifier_probabilities=generated.probabilities if knows_classes else None,
            reference_statistics=sets.reference_statistics(real, compared.reference.images, len(samples)),
            papers=papers,
            papers_statistics=papers_statistics,
            training=compared.training,
            progress=self.progress.say,
            device=str(device),
        )
        authenticity = _authenticity(samples, dataset, compared, sets, report, seed, str(device), others)
        notes = _notes(samples, dataset, compared, sets, report)
        if warning is not None:
            notes["labels"] = warning
        if authenticity.broken:
            notes["authenticity"] = authenticity.line()
            self.progress.say(f"warning: {authenticity.line()}")
        if not labelled:
            counts = samples.class_counts(dataset.class_count)
            report = replace(report, per_class={**(report.per_class or {}), "n_generated": counts})
        return replace(report, notes={**report.notes, **notes}), authenticity


def _notes(
    samples: Samples, dataset: Dataset, compared: Compared, sets: FeatureSets, report: MetricReport
) -> dict[str, str]:
    notes = {}
    if samples.labels is None:
        notes["per_class"] = "unconditional samples belong to no class"
    if report.fid is not None and len(samples) <= sets.main.dim:
        notes["fid"] = (
            f"{len(samples):,} samples are fewer than the {sets.main.dim:,} features: its bias dominates, so "
            "compare it with numbers from exactly as many samples only"
        )
    if words := _small_reference(compared.reference, dataset, sets.main.dim):
        notes["reference"] = words
    held_out = compared.held_out
    if held_out is not None and class_mix_differs(samples.labels, held_out.labels, dataset.class_count):
        notes["memorisation"] = _CLASS_MIX
    return notes


def _small_reference(reference: ImageSet, dataset: Dataset, dim: int) -> str:
    """What few reference images do to the numbers; empty where there are enough."""
    words = []
    if len(reference) <= dim:
        words.append(
            f"{len(reference):,} reference images are fewer than the {dim:,} features: distances are biased up"
        )
    counts = reference.counts(dataset.class_count)
    few = [name for name, count in zip(dataset.class_names, counts, strict=True) if 0 < count < _FEW_OF_A_CLASS]
    if few:
        some = ", ".join(few[:5]) + (", ..." if len(few) > 5 else "")
        words.append(
            f"{len(few)} of {dataset.class_count} classes have fewer than {_FEW_OF_A_CLASS} reference images ({some}): "
            "their numbers are coarse"
        )
    return "; ".join(words)


def _authenticity(
    samples: Samples,
    dataset: Dataset,
    compared: Compared,
    sets: FeatureSets,
    report: MetricReport,
    seed: int,
    device: str,
    others: Mapping[str, FeatureSets],
) -> Authenticity:
    unseen = unseen_images(dataset)
    features = None
    if unseen is not None:
        theirs = sets.real_images("unseen images", unseen, compared.reference, compared.real)
        training = compared.training.training_features
        assert training is not None
        networks = {name: partial(each.of_images, "samples and unseen images") for name, each in others.items()}
        features = AuthenticityInputs(compared.generated.features, training, theirs, unseen, networks)
    interval = report.confidence.get("fid")
    return assess(
        samples,
        dataset,
        features,
        seed=seed,
        fid_upper=None if interval is None else interval.high,
        fid_floor=report.fid_floor,
        device=device,
    )


_FEW_OF_A_CLASS = 50
_FURTHER = ("efficientnet-lite0", "dinov2-vit-b-14", "dinov2-vit-l-14")
_FEWEST_PIXELS = 32  # a side: networks for photographs have nothing to say of less
_LESS_MEMORY = "try a smaller --set execution.evaluation_batch_size"
_CLASS_MIX = (
    "the held-out images have other class shares than the samples (reference images that were trained on are "
    "left out), so an honest generator need not have the threshold's share of suspiciously near samples"
)
