"""The columns of a board: which metrics it shows, what they are called, and the one that ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ltgen_bench.core.errors import ConfigError, did_you_mean

RANKED_BY = "fid"


@dataclass(frozen=True)
class Column:
    """A metric as a column; `title` may hold `{fid}`, the board's name of the Frechet distance.

    Only columns with `bold` mark their best value: numbers that are better on their own account. Recall and its like
    also grow with scattered samples, and the Inception Score knows no reference.
    """

    key: str
    title: str
    higher_is_better: bool
    decimals: int
    bold: bool = False
    scale: float = 1.0  # what a value is multiplied by before it is shown
    optional: bool = False  # shown only where some row has it: protocols of version 1 do not

    def named(self, fid: str) -> str:
        """The title with the direction in which the number is better."""
        return f"{self.title.format(fid=fid)} {'↑' if self.higher_is_better else '↓'}"


MAIN_COLUMNS = (
    Column("fid", "{fid}", False, 2, bold=True),
    Column("label_accuracy", "Label accuracy", True, 3, bold=True),
    Column("probe_accuracy", "Label accuracy, probe", True, 3, bold=True, optional=True),
    Column("coverage", "Coverage", True, 3, bold=True),
    Column("precision", "Precision", True, 3),
    Column("recall", "Recall", True, 3),
    Column("f1_8", "F1/8", True, 3),
    Column("f8", "F8", True, 3),
    Column("inception_score", "IS", True, 2),
    Column("groups.few.fid", "Tail {fid}", False, 2, bold=True),
    Column("groups.medium.fid", "Medium {fid}", False, 2, bold=True),
    Column("groups.many.fid", "Head {fid}", False, 2, bold=True),
    Column("gap", "Gap", False, 2),
    Column("groups.few.label_accuracy", "Tail label accuracy", True, 3, bold=True),
    Column("groups.few.probe_accuracy", "Tail label accuracy, probe", True, 3, bold=True, optional=True),
    Column("groups.few.recall", "Tail recall", True, 3),
    Column("groups.medium.recall", "Medium recall", True, 3),
    Column("groups.many.recall", "Head recall", True, 3),
    Column("memorisation.features.fraction", "Suspected copies", False, 3),
    Column("copying_gain", "Gain from copying", False, 2, optional=True),
    Column("papers_fid", "{fid} to the papers' reference", False, 2, optional=True),
)
# Only in the CSV: a table on paper has no room for them.
FURTHER_COLUMNS = (
    Column("kid", "KID x 1000", False, 2, scale=1000.0),
    Column("density", "Density", True, 3),
    Column("clipped_density", "Clipped density", True, 3, optional=True),
    Column("clipped_coverage", "Clipped coverage", True, 3, optional=True),
    Column("vendi_score", "Vendi score", True, 2, optional=True),
    Column("recognition.gain", "Recognition: filled minus real, points", True, 2, scale=100.0, optional=True),
    Column("recognition.few_gain", "Recognition, tail: filled minus real, points", True, 2, scale=100.0, optional=True),
    Column("recognition.generated", "Recognition: generated only, %", True, 2, scale=100.0, optional=True),
    Column("groups.medium.label_accuracy", "Medium label accuracy", True, 3),
    Column("groups.many.label_accuracy", "Head label accuracy", True, 3),
    Column("memorisation.pixels.fraction", "Suspected copies (pixels)", False, 4),
)


# What fits the width of a page.
PAPER_COLUMNS = ("fid", "groups.few.fid", "gap", "coverage", "recall", "label_accuracy", "groups.few.label_accuracy")


def columns_called(names: Sequence[str]) -> tuple[Column, ...]:
    """The columns of these keys, in this order; `few.fid` is short for `groups.few.fid`.

    Raises ConfigError with the closest key for one that no board has.
    """
    known = {column.key: column for column in (*MAIN_COLUMNS, *FURTHER_COLUMNS)}
    chosen = []
    for name in names:
        column = known.get(name) or known.get(f"groups.{name}") or known.get(f"memorisation.{name}")
        if column is None:
            raise ConfigError(f"no column {name!r}; {did_you_mean(name, known)}")
        chosen.append(column)
    return tuple(chosen)


def shown_columns(columns: tuple[Column, ...], has_value: Callable[[str], bool]) -> tuple[Column, ...]:
    """The columns of a table, without optional ones for which no row has a value."""
    return tuple(column for column in columns if not column.optional or has_value(column.key))
