"""Tables say what a reader needs and say it once."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from ltgen_bench.evaluation.report.tables import metric_tables, number

METRICS: dict[str, Any] = {
    "fid": 12.345678,
    "kid": 0.00078,
    "kid_std": 0.0001,
    "f8": None,
    "f1_8": None,
    "per_class": {
        "n_generated": [30, 40],
        "n_reference": [40, 40],
        "fid": [10.0, 20.0],
        "fid_floor": [11.0, 9.0],
        "fid_floor_n": [20, 20],
        "kid": [-0.0007, 0.0106],
    },
    "groups": {"many": {"classes": [0], "fid": 10.0, "mean_class_fid": 10.0, "mean_class_fid_floor": 11.0}},
    "confidence": {"fid": {"low": 12.0, "high": 13.0, "level": 0.9, "method": ""}},
    "memorisation": {
        "features": {
            "median_distance": 4.0,
            "held_out_median_distance": 5.0,
            "threshold": 1.0,
            "threshold_quantile": 0.01,
            "fraction": 0.25,
            "groups": {"many": 0.5},
        }
    },
    "notes": {
        "f8": "too few",
        "f1_8": "too few",
        "kid_std": "odd",
        "inception_score": "not asked for",
        "groups.few.f8": "none of it",
        "groups.few.mean_class_fid": "see the classes",
    },
}


def rendered(**changes: Any) -> str:
    out = io.StringIO()
    console = Console(file=out, width=160)
    names = ["cat", "[bold]dog"]
    for part in metric_tables(
        {**METRICS, **changes}, heading="h", label="FD[x]", class_names=names, class_counts=[9, 5]
    ):
        console.print(part)
    return out.getvalue()


def test_what_a_reader_sees() -> None:
    text = rendered()
    assert "12.35" in text
    assert "90 % interval" in text
    assert "12.00 … 13.00" in text
    assert "0.7800 ± 0.1000" in text  # KID in thousandths, and the classes' as well
    assert "-0.7000" in text
    assert "10.60" in text
    assert "[bold]dog" in text  # a class name is not markup
    assert "f8, f1_8: too few" in text
    assert "kid_std: odd" in text
    assert "not asked for" not in text
    assert "groups.few.f8: none of it" in text
    assert "see the classes" not in text  # the notes on the classes are there already
    assert "honest: about 1.0 %" in text
    assert "25.0 %" in text
    assert "two random halves of the reference, 20 images each" in text


def test_a_floor_from_as_many_images_needs_no_caution() -> None:
    assert "random halves" not in rendered(per_class={**METRICS["per_class"], "fid_floor_n": [30, 40]})


def test_four_digits() -> None:
    shown = [number(value) for value in (None, 0, 3e-13, 0.00012, 0.12345, 1.2345, 12.345, 123.45, -0.5)]
    assert shown == ["-", "0.0000", "0.0000", "1.20e-04", "0.1235", "1.234", "12.35", "123.5", "-0.5000"]
