"""The spread over cuts, orders and seeds, and the control, against numbers known beforehand."""

import json
from pathlib import Path

import pytest

from ltgen_bench.core.errors import RecordError
from ltgen_bench.evaluation.record import Record
from ltgen_bench.leaderboard.factors import factors

COMMITTED = Path(__file__).parents[2] / "leaderboards" / "records" / "digits-lt" / "ddpm" / "0.json"


def made(name, seed, fid, few, many, counts=None):
    """A committed record with another data set name and other distances."""
    values = json.loads(COMMITTED.read_text())
    values["dataset"]["name"] = name
    if counts is not None:
        values["dataset"]["class_counts"] = counts
    values["seed"] = seed
    metrics = values["metrics"]
    metrics["fid"] = fid
    metrics["groups"]["few"]["fid"], metrics["groups"]["many"]["fid"] = few, many
    metrics["head_tail_gap"]["fid"] = few - many
    return Record.model_validate_json(json.dumps(values))


def test_the_spread_of_known_numbers():
    records = [
        made("digits-lt", 0, 2.0, 8.0, 2.0),
        made("digits-lt", 1, 3.0, 8.0, 2.0),
        made("digits-lt-cut1", 0, 4.5, 8.0, 2.0),
        made("digits-lt-order3", 0, 2.5, 9.0, 2.0),
        made("digits-8", 0, 9.0, 7.0, 4.0, [8] * 10),
        made("digits-8", 1, 9.0, 6.0, 4.0, [8] * 10),
    ]
    result = factors(records)
    spread = result["methods"]["DDPM"]
    assert spread["fid"]["mean"] == pytest.approx((2.5 + 4.5 + 2.5) / 3)
    assert spread["fid"]["settings"] == 3
    assert spread["fid"]["seed"] == pytest.approx(0.5**0.5)
    assert spread["fid"]["cut"] == pytest.approx(2**0.5)  # of 2.5 and 4.5
    assert spread["fid"]["order"] == pytest.approx(0.0)  # of 2.5 and 2.5
    assert spread["gap"]["control"] == pytest.approx(2.5)
    assert spread["groups.few.fid"]["order"] == pytest.approx(0.5**0.5)
    assert (result["dataset"], result["label"]) == ("digits-lt", "FD[digits-cnn]")


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([made("digits-8", 0, 9.0, 7.0, 4.0, [8] * 10)], "no record is of a long-tailed set"),
        ([made("digits-lt", 0, 2, 8, 2), made("digits-lt-0.1", 0, 2, 8, 2)], "several data sets"),
        ([made("digits-lt", 0, 2, 8, 2), made("digits-9", 0, 2, 8, 2, [9] * 10)], "neither a cut of digits-lt nor"),
    ],
)
def test_records_without_a_common_spread(records, message):
    with pytest.raises(RecordError, match=message):
        factors(records)
