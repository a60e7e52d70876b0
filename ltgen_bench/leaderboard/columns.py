"""The columns of a board: which metrics it shows, what they are called, and the one that ranks."""

from __future__ import annotations

from dataclasses import dataclass

RANKED_BY = "fid"


@dataclass(frozen=True)
class Column:
    """A metric as a column; `title` may hold `{fid}`, the board's name of the Frechet distance."""

    key: str
    title: str
    higher_is_better: bool
    decimals: int


MAIN_COLUMNS = (
    Column("fid", "{fid}", False, 2),
    Column("inception_score", "IS", True, 2),
    Column("f8", "F8", True, 3),
    Column("recall", "Recall", True, 3),
    Column("f1_8", "F1/8", True, 3),
    Column("precision", "Precision", True, 3),
    Column("groups.few.fid", "Tail {fid}", False, 2),
    Column("groups.medium.fid", "Medium {fid}", False, 2),
    Column("groups.many.fid", "Head {fid}", False, 2),
    Column("groups.few.recall", "Tail recall", True, 3),
    Column("groups.medium.recall", "Medium recall", True, 3),
    Column("groups.many.recall", "Head recall", True, 3),
)
# Only in the CSV: a table on paper has no room for them.
FURTHER_COLUMNS = (
    Column("kid", "KID", False, 4),
    Column("density", "Density", True, 3),
    Column("coverage", "Coverage", True, 3),
    Column("label_accuracy", "Label accuracy", True, 3),
    Column("groups.few.label_accuracy", "Tail label accuracy", True, 3),
    Column("groups.medium.label_accuracy", "Medium label accuracy", True, 3),
    Column("groups.many.label_accuracy", "Head label accuracy", True, 3),
    Column("memorisation.features.fraction", "Suspected copies (features)", False, 4),
    Column("memorisation.pixels.fraction", "Suspected copies (pixels)", False, 4),
)
