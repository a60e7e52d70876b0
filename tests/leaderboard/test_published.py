"""The published numbers, compared with the paper's own text where it is at hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import SHARED

from ltgen_bench.core.errors import RecordError
from ltgen_bench.leaderboard.published import published_rows, read_published

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT / "leaderboards" / "published"
PAPER = SHARED / "paper" / "coral.txt"

# The paper's names of data sets, in the order of its headings, and ours.
PAPER_TABLES = {
    1: ["cifar10lt", "cifar10lt-0.001", "cifar100lt", "celeba5"],
    2: ["imagenet-lt"],
    4: ["cifar10lt", "imagenet-lt"],
    5: ["cifar10", "cifar100"],
}
ROW = re.compile(r"^(DDPM|CBDM|T2H|CORAL|Ambient Space Contrastive)(?: \[\w+\]| \(ours\))?((?: \d+\.\d+)+)$")


def tables_in_the_paper(text: str) -> dict[tuple[int, str], dict[str, list[float]]]:
    """Parse the plain text of the paper. Tables 1, 2 and 5 have their caption above, Table 4 below its rows."""
    lines = text.splitlines()
    found: dict[tuple[int, str], dict[str, list[float]]] = {}
    for start in [i for i, line in enumerate(lines) if line.startswith("Dataset Method FID")]:
        caption = re.match(r"Table (\d):", lines[start - 1])
        groups: list[dict[str, list[float]]] = []
        for line in lines[start + 1 :]:
            if row := ROW.match(line):
                if row[1] == "DDPM":  # the first row of every data set
                    groups.append({})
                groups[-1][row[1]] = [float(value) for value in row[2].split()]
            elif not line.startswith(("CIFAR", "ImageNet-LT", "CelebA-5", "(", "32", "64")) or len(line) > 60:
                caption = caption or re.match(r"Table (\d):", line)
                break
        assert caption is not None
        number = int(caption[1])
        for dataset, rows in zip(PAPER_TABLES[number], groups, strict=True):
            found[number, dataset] = rows
    return found


@pytest.mark.shared
def test_every_number_is_the_papers() -> None:
    printed = tables_in_the_paper(PAPER.read_text(encoding="utf-8"))
    (coral,) = [publication for publication in read_published(PUBLISHED) if publication.source.key == "CORAL"]
    ours = {(table.number, table.dataset): dict(table.rows) for table in coral.table}
    assert ours == printed
    assert sum(len(values) for rows in ours.values() for values in rows.values()) == 116


def test_second_hand_baselines_conflict_and_say_so() -> None:
    rows = published_rows(read_published(PUBLISHED))
    fid = {(row.source.key, row.dataset, row.method): row.values["fid"] for row in rows}
    assert [fid["CORAL", "cifar10lt", m] for m in ("DDPM", "CBDM", "T2H")] == [6.17, 5.62, 7.01]
    assert [fid["CM", "cifar10lt", m] for m in ("DDPM", "CBDM", "T2H", "CM")] == [10.70, 8.23, 8.39, 7.73]
    assert [fid["CM", "cifar100lt", m] for m in ("DDPM", "CBDM", "T2H", "CM")] == [10.16, 10.05, 8.31, 7.52]
    assert all(row.source.second_hand and "second hand" in row.origin for row in rows if row.source.key == "CM")
    assert all(not row.source.second_hand for row in rows if row.source.key == "CORAL")


def test_a_number_printed_twice_is_one_row() -> None:
    rows = {
        (row.dataset, row.method): row for row in published_rows(read_published(PUBLISHED)) if row.source.key == "CORAL"
    }
    assert rows["cifar10lt", "DDPM"].tables == (1, 4)
    assert rows["cifar10lt", "DDPM"].values["f8"] == 0.87
    assert rows["cifar10lt", "Ambient Space Contrastive"].tables == (4,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("DDPM = [3.84]", "DDPM = [nan]"), "finite number"),
        (("DDPM = [3.84]", "DDPM = [3.84, 1.0]"), "row 'DDPM' has 2 values for 1 columns"),
        (('columns = ["fid"]', 'columns = ["fud"]'), "input should be"),
        (("DDPM = [6.17, 9.43, 0.52]", "DDPM = [6.18, 9.43, 0.52]"), "two values of fid"),
        (("[source]", "[source"), "Expected ']' at the end of a table declaration"),
        (('recall = "recall[vgg16,k=3]"', ""), "a table with recall, and no other, says which one"),
        (('recall = "recall[vgg16,k=3]"', 'recall = "recall"'), "string should match pattern"),
        (('recall = "recall[vgg16,k=3]"', 'recall = "recall[inception,k=5]"'), "two kinds of recall on cifar10lt"),
    ],
)
def test_mistakes_get_one_line(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    text = (PUBLISHED / "coral.toml").read_text(encoding="utf-8")
    assert change[0] in text
    (tmp_path / "x.toml").write_text(text.replace(*change, 1), encoding="utf-8")
    with pytest.raises(RecordError, match=re.escape(message)) as caught:
        published_rows(read_published(tmp_path))
    assert "\n" not in str(caught.value)
