"""Figures and tables of one run."""

from ltgen_bench.evaluation.report.figures import write_figures
from ltgen_bench.evaluation.report.grid import sample_grid
from ltgen_bench.evaluation.report.tables import record_tables

__all__ = ["record_tables", "sample_grid", "write_figures"]
