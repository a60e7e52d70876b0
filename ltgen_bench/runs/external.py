"""Records of samples that were made elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ltgen_bench.core.devices import cpu_threads, resolve_device
from ltgen_bench.core.progress import Progress
from ltgen_bench.core.protocol import custom_protocol
from ltgen_bench.core.storage import sha256_json
from ltgen_bench.evaluation.evaluate import evaluate_samples
from ltgen_bench.evaluation.places import EvaluationPlaces
from ltgen_bench.evaluation.provenance import code_state, environment, now, peak_memory_bytes
from ltgen_bench.evaluation.record import MethodPart, MetricsPart, Record, TimingPart
from ltgen_bench.evaluation.record_files import write_record
from ltgen_bench.evaluation.report import write_figures
from ltgen_bench.evaluation.sample_sources import resize_samples
from ltgen_bench.evaluation.samples import Samples, check_samples
from ltgen_bench.runs.resolve import ResolvedRun


def evaluate_foreign(
    samples: Samples,
    resolved: ResolvedRun,
    places: EvaluationPlaces,
    progress: Progress,
    *,
    source: str,
    name: str,
    seed: int | None,
    runs_dir: Path,
    out: Path | None,
    before: Callable[[], None],
) -> tuple[Path, Record]:
    """Measure samples and write record and figures to `out`, by default to their own folder (`evaluated_path`).

    `before` is called between the checks that need nothing and those that need data and weights.
    """
    dataset, protocol, config = resolved.dataset, resolved.config.protocol, resolved.config
    size, wanted = samples.images.shape[2:], dataset.image_shape[1]
    resized_from = None
    if protocol.resize == "antialias" and size != dataset.image_shape[1:] and size[0] == size[1]:
        resized_from = size[0]
        samples = resize_samples(samples, wanted)
    check_samples(samples, dataset, source)
    if len(samples) != protocol.samples:
        progress.say(f"{len(samples):,} samples instead of the protocol's {protocol.samples:,}: recorded as custom")
        protocol = custom_protocol(protocol, samples=len(samples))
    before()
    started = time.monotonic()
    device = resolve_device(config.execution.device)
    with cpu_threads(config.execution.threads):
        evaluation = evaluate_samples(
            samples,
            dataset,
            protocol,
            places=places,
            device=device,
            batch_size=config.execution.evaluation_batch_size,
            progress=progress,
            resized_from=resized_from,
            labelled=config.sampling.conditioning == "class",
        )
        surroundings = environment(device)  # inside: it says how many threads there were
    record = Record(
        method=MethodPart(name=name, title=name),
        dataset=evaluation.dataset,
        protocol=evaluation.protocol,
        protocol_hash=evaluation.protocol.hash(),
        seed=seed,
        training=None,
        samples=evaluation.samples,
        extractors=evaluation.extractors,  # type: ignore[arg-type]
        metrics=MetricsPart.model_validate(evaluation.to_dict()),
        environment=surroundings,
        code=code_state(),
        timing=TimingPart(
            created=now(),
            evaluation_seconds=round(time.monotonic() - started, 3),
            peak_memory_bytes=peak_memory_bytes(),
        ),
    )
    folder = out or evaluated_path(runs_dir, record)
    write_figures(folder, record, samples, dataset.train())
    write_record(folder / "record.json", record)
    return folder, record


def evaluated_path(runs_dir: Path, record: Record) -> Path:
    """`runs_dir/<data set>/evaluated/<samples>-<everything else that was asked for>/`, ten digits of a sha256 each.

    The same command again meets its own folder; the same samples on another data set, by another protocol, in other
    weights, or under another name or seed never write over a record.
    """
    asked = record.model_dump(
        mode="json", include={"dataset", "protocol_hash", "extractors", "method", "seed", "samples"}
    )
    name = f"{record.samples.sha256[:10]}-{sha256_json(asked)[:10]}"
    return runs_dir / record.dataset.name / "evaluated" / name
