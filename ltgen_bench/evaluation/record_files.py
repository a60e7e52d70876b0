"""Records as files: JSON, checked on writing and on reading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ltgen_bench.core.errors import RecordError, first_mistake
from ltgen_bench.core.storage import write_json
from ltgen_bench.core.text_files import parse_json, read_text_bounded
from ltgen_bench.evaluation.contradictions import inconsistencies
from ltgen_bench.evaluation.record import Record

MAX_RECORD_BYTES = 16 << 20  # of a record file; one with 1,000 classes is below 1 MiB


def write_record(path: Path, record: Record) -> None:
    """Write a record as JSON, atomically; raises RecordError for one that contradicts itself."""
    _refuse_inconsistent(record, str(path))
    write_json(path, record.model_dump(mode="json"))


def read_record(path: Path) -> Record:
    """Read and validate a record; raises RecordError of one line with the place of the first mistake."""
    return parse_record(read_text_bounded(Path(path), error=RecordError, limit=MAX_RECORD_BYTES), str(path))


def parse_record(text: str, source: str) -> Record:
    """Validate JSON text as a record; raises RecordError of one line."""
    value = parse_json(text, source, error=RecordError)
    try:
        record = Record.model_validate(value)
    except ValidationError as error:
        mistake = first_mistake(error)
        raise RecordError(f"{source}: {mistake.place or 'record'}: {mistake.message}"[:500]) from None
    _refuse_inconsistent(record, source)
    return record


def _refuse_inconsistent(record: Record, source: str) -> None:
    for problem in inconsistencies(record):
        raise RecordError(f"{source}: record: {problem}"[:500])


def record_schema() -> dict[str, Any]:
    """The JSON schema of a record."""
    schema: dict[str, Any] = Record.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
