"""From an evaluation to a record: one builder, whoever made the samples."""

from __future__ import annotations

from ltgen_bench.core.config import SamplingConfig
from ltgen_bench.evaluation.evaluate import Evaluation
from ltgen_bench.evaluation.provenance import code_state, now, peak_memory_bytes
from ltgen_bench.evaluation.record import (
    EnvironmentPart,
    GuidancePart,
    MethodPart,
    MetricsPart,
    Record,
    TimingPart,
    TrainingPart,
)


def assemble_record(
    evaluation: Evaluation,
    method: MethodPart,
    environment: EnvironmentPart,
    *,
    seed: int | None,
    seconds: dict[str, float | None],
    training: TrainingPart | None = None,
    sampling: SamplingConfig | None = None,
    guidance: GuidancePart | None = None,
) -> Record:
    """The record of what was measured.

    `seconds` has the wall time of the stages by the keys `training`, `guidance`, `sampling`, `evaluation`. `training`,
    `sampling` and `guidance` are those of a diffusion method that ran here; None for any other model, for samples made
    elsewhere, and `guidance` where the protocol chose none.
    """
    samples = evaluation.samples
    if sampling is not None:
        sampler = {"sampler": sampling.identity(), "network_evaluations": sampling.network_evaluations}
        samples = samples.model_copy(update=sampler)
    return Record(
        method=method,
        dataset=evaluation.dataset,
        protocol=evaluation.protocol,
        protocol_hash=evaluation.protocol.hash(),
        seed=seed,
        training=training,
        samples=samples,
        guidance=guidance,
        extractors=evaluation.extractors,  # type: ignore[arg-type]
        metrics=MetricsPart.model_validate(evaluation.to_dict()),
        environment=environment,
        code=code_state(),
        timing=TimingPart(
            created=now(),
            peak_memory_bytes=peak_memory_bytes(),
            **{f"{stage}_seconds": value for stage, value in seconds.items()},
        ),
    )
