"""Samples that were made elsewhere: measured, with a record and figures in a folder of their own."""

from __future__ import annotations

import time
from pathlib import Path

from ltgen_bench.core.devices import cpu_threads, resolve_device
from ltgen_bench.core.progress import Progress
from ltgen_bench.core.storage import sha256_json
from ltgen_bench.evaluation.assemble import assemble_record
from ltgen_bench.evaluation.evaluate import Evaluator
from ltgen_bench.evaluation.places import EvaluationPlaces
from ltgen_bench.evaluation.provenance import environment
from ltgen_bench.evaluation.record import MethodPart, Record
from ltgen_bench.evaluation.record_files import write_record
from ltgen_bench.evaluation.report import write_figures
from ltgen_bench.evaluation.sample_sources import resize_samples
from ltgen_bench.evaluation.samples import Samples, check_samples
from ltgen_bench.runs.preflight import preflight
from ltgen_bench.runs.resolve import ResolvedRun


def evaluate_external(
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
) -> tuple[Path, Record]:
    """Measure samples and write record and figures to `out`, by default to their own folder (`evaluated_path`).

    Samples without labels are unconditional. What needs neither data nor weights is checked first; `source` names the
    samples in messages.
    """
    dataset, protocol, execution = resolved.dataset, resolved.config.protocol, resolved.config.execution
    size, wanted = samples.images.shape[2:], dataset.image_shape[1:]
    resized_from = None
    if protocol.resize == "antialias" and size != wanted and size[0] == size[1]:
        resized_from = size[0]
        samples = resize_samples(samples, wanted[0])
    check_samples(samples, dataset, source)
    if len(samples) != protocol.samples:
        progress.say(f"{len(samples):,} samples instead of the protocol's {protocol.samples:,}: recorded as custom")
        protocol = protocol.for_samples(len(samples))
    preflight(resolved, places, progress)
    started = time.monotonic()
    device = resolve_device(execution.device)
    with cpu_threads(execution.threads):
        evaluator = Evaluator(places, device, execution.evaluation_batch_size, progress)
        evaluation = evaluator.measure(samples, dataset, protocol, resized_from=resized_from)
        evaluation = evaluator.with_recognition(evaluation, samples, dataset)
        surroundings = environment(device)  # inside: it says how many threads there were
    method, seconds = MethodPart(name=name, title=name), {"evaluation": round(time.monotonic() - started, 3)}
    record = assemble_record(evaluation, method, surroundings, seed=seed, seconds={**seconds})
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
