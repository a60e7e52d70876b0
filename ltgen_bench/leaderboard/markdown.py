"""Tables in Markdown, through pandas and tabulate."""

from __future__ import annotations

import pandas as pd
import tabulate as tabulate_module

from ltgen_bench.leaderboard import text


def markdown_table(frame: pd.DataFrame, left: tuple[str, ...]) -> str:
    """A frame of escaped strings as a Markdown table; the same bytes with and without tabulate's optional wcwidth."""
    shown = frame.set_axis([name if name in left else text.markdown(name) for name in frame.columns], axis=1)
    wide, tabulate_module.WIDE_CHARS_MODE = tabulate_module.WIDE_CHARS_MODE, False
    try:
        align = tuple("left" if name in left else "right" for name in frame.columns)
        table: str = shown.to_markdown(index=False, tablefmt="pipe", disable_numparse=True, colalign=align)
    finally:
        tabulate_module.WIDE_CHARS_MODE = wide
    return table
