"""Means over seeds, ranks, the best of a column, and differences that are more than noise."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from ltgen_bench.leaderboard.collect import Board, Entry
from ltgen_bench.leaderboard.columns import FURTHER_COLUMNS, MAIN_COLUMNS, RANKED_BY, Column
from ltgen_bench.leaderboard.comparison import Difference, SeedSeries, compare_all, rank_ranges
from ltgen_bench.leaderboard.side_by_side import pairs_by_seed


@dataclass(frozen=True)
class Row:
    """An entry in its place: `rank` is None for what is not comparable or lacks the number that ranks."""

    entry: Entry
    rank: int | None
    rank_range: tuple[int, int] | None  # the ranks that the noise of the seeds leaves open; None without a rank
    mean: dict[str, float | None]
    std: dict[str, float | None]  # sample standard deviation over seeds; None with one seed
    difference: Difference | None  # to the first ranked row; None where no noise could be measured


def rows(board: Board) -> list[Row]:
    """The board's entries in order: ranked ones by their mean FID, then the others by theirs."""
    summary = _summary(board)
    columns = [column.key for column in (*MAIN_COLUMNS, *FURTHER_COLUMNS)]
    means: dict[str, dict[str, float | None]] = {}
    stds: dict[str, dict[str, float | None]] = {}
    for entry in board.entries:
        # a mean over some of the seeds would be another number: all of them, or none
        whole = {key for key in columns if summary["count"].get((entry.name, key), 0) == entry.n}
        means[entry.name] = {key: float(summary["mean"][entry.name, key]) if key in whole else None for key in columns}
        stds[entry.name] = {
            key: float(summary["std"][entry.name, key]) if key in whole and entry.n > 1 else None for key in columns
        }

    def place(entry: Entry) -> tuple[bool, float, str]:
        mean = means[entry.name][RANKED_BY]
        return (not entry.comparable or mean is None, float("inf") if mean is None else mean, entry.name)

    ordered = sorted(board.entries, key=place)
    ranked = [entry for entry in ordered if not place(entry)[0]]
    gaps = compare_all([series(entry) for entry in ranked], ratio=True)
    ranges = dict(zip((entry.name for entry in ranked), rank_ranges(gaps), strict=True))
    to_first = {entry.name: row[0] for entry, row in zip(ranked, gaps, strict=True)}
    decimals = shown_decimals(board, MAIN_COLUMNS[0], [means[entry.name][RANKED_BY] for entry in ordered])
    result: list[Row] = []
    for position, entry in enumerate(ordered, start=1):
        mean = means[entry.name][RANKED_BY]
        rank: int | None = None if place(entry)[0] else position
        if rank is not None and mean is not None and result and result[-1].rank is not None:
            above = result[-1].mean[RANKED_BY]
            if above is not None and f"{above:.{decimals}f}" == f"{mean:.{decimals}f}":
                rank = result[-1].rank  # what is shown alike is ranked alike
        difference = to_first.get(entry.name)
        if rank is None and mean is not None and ranked:
            # a row without a rank must not change what is said of the ranked ones
            difference = compare_all([series(other) for other in (*ranked, entry)], ratio=True)[-1][0]
        result.append(Row(entry, rank, ranges.get(entry.name), means[entry.name], stds[entry.name], difference))
    return result


def _summary(board: Board) -> pd.DataFrame:
    """Mean, standard deviation and count over seeds, indexed by (entry, metric)."""
    long = pd.DataFrame(
        [
            (entry.name, column.key, value)
            for entry in board.entries
            for column in (*MAIN_COLUMNS, *FURTHER_COLUMNS)
            for value in entry.values(column.key)
        ],
        columns=["entry", "metric", "value"],
    ).astype({"value": "float64"})
    return long.groupby(["entry", "metric"])["value"].agg(["mean", "std", "count"])


def baseline(ordered: list[Row]) -> Row | None:
    """The row that the others' differences are to: the first ranked one."""
    return next((row for row in ordered if row.rank is not None), None)


def series(entry: Entry, key: str = RANKED_BY) -> SeedSeries:
    """An entry's values of a metric by seed, as they are compared."""
    values = {seed: value for seed, value in zip(entry.records, entry.values(key), strict=True) if value is not None}
    return SeedSeries(values, pairs_by_seed(entry.submission.first))


def shown_decimals(board: Board, column: Column, means: list[float | None]) -> int:
    """Decimals of a column: one more where a distance below 1 is shown."""
    small = any(mean is not None and abs(mean) < 1 for mean in means)
    return column.decimals + (1 if small and column.decimals == 2 else 0)


def best(column: Column, shown: list[str], ordered: list[Row]) -> set[int]:
    """Positions of the best value among the ranked rows; ties of what is shown are all best, one row alone is none."""
    values = [
        (row.mean[column.key], index)
        for index, row in enumerate(ordered)
        if row.rank is not None and row.mean[column.key] is not None
    ]
    if len(values) < 2 or not column.bold:
        return set()
    chosen = (max if column.higher_is_better else min)(values, key=lambda pair: pair[0] or 0.0)
    winner = shown[chosen[1]].split(" ")[0]
    return {index for _, index in values if shown[index].split(" ")[0] == winner}
