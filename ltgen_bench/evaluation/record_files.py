"""Records as files: JSON, checked on writing and on reading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ltgen_bench.core.errors import RecordError, first_mistake
from ltgen_bench.core.storage import write_json
from ltgen_bench.evaluation.contradictions import inconsistencies
from ltgen_bench.evaluation.record import Record

MAX_RECORD_BYTES = 16 << 20  # of a record file; one with 1,000 classes is below 1 MiB


def write_record(path: Path, record: Record) -> None:
    """Write a record as JSON, atomically; raises RecordError for one that contradicts itself."""
    _refuse_inconsistent(record, str(path))
    write_json(path, record.model_dump(mode="json"))


def read_record(path: Path) -> Record:
    """Read and validate a record; raises RecordError of one line with the place of the first mistake."""
    path = Path(path)
    try:
        if path.stat().st_size > MAX_RECORD_BYTES:
            raise RecordError(f"{path} is larger than {MAX_RECORD_BYTES >> 20} MiB, which no record is")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path} cannot be read: {error}") from error
    return parse_record(text, str(path))


def parse_record(text: str, source: str) -> Record:
    """Validate JSON text as a record; raises RecordError of one line."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON; a number that was not computed is null")

    try:
        value = json.loads(text, parse_constant=refuse, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{source} is not JSON: {str(error).splitlines()[0] or 'nested too deeply'}") from error
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


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object has the same key twice")
    return value
