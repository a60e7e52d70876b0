"""The numbers of an analysis in the records of its runs."""

from __future__ import annotations

from ltgen_bench.core.choices import Group
from ltgen_bench.core.errors import UserError
from ltgen_bench.core.progress import Progress
from ltgen_bench.evaluation.record import SEPARATION_METRICS, Record, SeparationPoint
from ltgen_bench.evaluation.record_files import read_record, write_record
from ltgen_bench.runs.analysis.analyze import Analysis

_PLACES = ("all", *(str(group) for group in Group))


def with_separation(record: Record, points: list[SeparationPoint]) -> Record:
    """The record with these numbers, in place of earlier ones of the same settings."""
    kept = {point.place: point for point in [*(record.separation or []), *points]}
    found = [kept[place] for place in sorted(kept)]
    return record.model_copy(update={"separation": found, "schema_version": 2})


def keep_in_records(analysis: Analysis, progress: Progress | None = None) -> list[Record]:
    """Write the numbers of all classes and of the groups into the record of every finished run; those records.

    A record that cannot be read is named and left alone: the numbers are kept in `analysis/` in any case.
    """
    written = []
    for subject in analysis.subjects:
        path = subject.run.folder.record
        if subject.untrained or not path.is_file():
            continue
        points = [
            SeparationPoint(
                **{key: row[key] for key in SeparationPoint.model_fields if key in row},
            )
            for row in analysis.rows
            if row["run"] == str(subject.run.folder.path)
            and row["method"] == subject.title
            and row["group"] in _PLACES
            and row["metric"] in SEPARATION_METRICS
        ]
        try:
            record = with_separation(read_record(path), points)
        except UserError as error:
            (progress or Progress()).say(f"left as it is: {error}")
            continue
        write_record(path, record)
        written.append(record)
    return written
