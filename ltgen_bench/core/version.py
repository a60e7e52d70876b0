"""The version, where every room can read it without importing the package's front door."""

from __future__ import annotations

from pathlib import Path

__version__ = "0.1.0"

PACKAGE_ROOT = Path(__file__).resolve().parents[1]  # the folder of the installed package `ltgen_bench`
