"""Image files with the same bytes: counted, and kept together where a set is divided."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from ltgen_bench.core.errors import DataError
from ltgen_bench.core.storage import sha256_file


def equal_files(files: Sequence[Path]) -> list[list[int]]:
    """Positions of files with equal content, one list for each content that occurs more than once.

    Only files of equal size are read. Raises DataError for a file that cannot be read.
    """
    by_size: dict[int, list[int]] = defaultdict(list)
    try:
        for position, file in enumerate(files):
            by_size[file.stat().st_size].append(position)
        by_content: dict[tuple[int, str], list[int]] = defaultdict(list)
        for size, positions in by_size.items():
            if len(positions) > 1:
                for position in positions:
                    by_content[size, sha256_file(files[position])].append(position)
    except OSError as error:
        raise DataError(f"cannot read image {error.filename}: {error.strerror}") from error
    return [positions for positions in by_content.values() if len(positions) > 1]
