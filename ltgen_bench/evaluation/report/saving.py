"""One way to write a figure."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from ltgen_bench.core.storage import atomic_path


def save_figure(figure: Any, path: Path) -> None:
    """Write a matplotlib figure as PNG, atomically and with the same bytes for the same figure.

    A name in a script that the font lacks is drawn as boxes, which nobody has to be warned of at every figure.
    """
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support .* natively")
        figure.savefig(temporary, metadata={"Software": None})
