"""The site as files: nothing from elsewhere, nothing live from a record, numbers as in the tables, readable colours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import MappingProxyType

import pytest
from leaderboard_records import command, make_record, refused, write_leaderboard, write_submission

from ltgen_bench.evaluation.report.tables import number
from ltgen_bench.leaderboard.collect import Entry, boards, read_entries
from ltgen_bench.leaderboard.columns import MAIN_COLUMNS
from ltgen_bench.leaderboard.ranking import rows
from ltgen_bench.leaderboard.site import charts
from ltgen_bench.leaderboard.site import write as site
from ltgen_bench.leaderboard.tables import shown_cells

HOSTILE = "\"'><script>window.hacked=1</script><img src=x onerror=window.hacked=1> {{ 7*7 }} \u202e</svg>"


@pytest.fixture(scope="module")
def leaderboards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_leaderboard(tmp_path_factory.mktemp("made") / "leaderboards")


@pytest.fixture(scope="module")
def built(leaderboards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site") / "out"
    assert site.write_site(leaderboards, out) == 13
    return out


class Page(HTMLParser):
    """The elements, addresses and table cells of a page."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self._cell: list[str] | None = None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self._cell = []

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None:
            self.rows[-1].append(" ".join("".join(self._cell).split()))
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)

    def addresses(self) -> Iterator[str]:
        for tag, attributes in self.tags:
            for name in ("href", "src"):
                if name in attributes and not (tag == "a" and str(attributes[name]).startswith("https://")):
                    yield str(attributes[name])


def test_nothing_comes_from_elsewhere_and_every_link_leads_somewhere(built: Path) -> None:
    pages = sorted(built.rglob("*.html"))
    assert len(pages) == 14
    for path in pages:
        for address in Page(path).addresses():
            target, _, anchor = address.partition("#")
            assert not re.match(r"[a-z]+:|//", target) or target == "data:,", (path, address)
            if target != "data:,":
                linked = (path.parent / target) if target else path
                assert linked.is_file(), (path, address)
                if anchor:
                    assert f'id="{anchor}"' in linked.read_text(encoding="utf-8")
    for path in (*built.rglob("*.css"), built / "assets" / "site.js"):
        assert not re.search(r"url\(|@import|https?:|fetch|XMLHttp|innerHTML|eval", path.read_text(encoding="utf-8"))


def test_pages_forbid_inline_code(built: Path) -> None:
    for path in built.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert "default-src 'none'" in text
        assert "unsafe-inline" not in text
        for tag, attributes in Page(path).tags:
            assert tag != "script" or attributes.get("src")
            assert not any(name == "style" or name.startswith("on") for name in attributes)


def test_the_table_shows_what_the_board_says(built: Path, leaderboards: Path) -> None:
    (board,) = boards(read_entries(leaderboards))
    ordered = rows(board)
    found = [row for row in Page(built / "index.html").rows if len(row) == 21][1:]
    assert [row[1].split()[0] for row in found] == ["CORAL", "CBDM", "T2H", "DDPM", "My"]
    column = {column.key: column for column in MAIN_COLUMNS}
    fid, recall = (shown_cells(board, column[key], ordered) for key in ("fid", "recall"))
    assert [row[4] for row in found] == fid
    assert [row[8] for row in found] == recall


def test_a_record_page_shows_numbers_in_its_titles_units(built: Path, leaderboards: Path) -> None:
    """KID times 1,000 where the title says so, and no row for what records of an earlier version lack."""
    entry = next(entry for entry in read_entries(leaderboards) if entry.name == "coral")
    numbers = {row[0]: row[1] for row in Page(built / "records/digits-lt/coral/1.html").rows if len(row) == 4}
    assert numbers["KID x 1000"] == number(entry.records[1].metrics.kid, 1000)
    assert "Density" in numbers
    assert not {"Clipped density", "Vendi score"} & set(numbers)


def test_a_record_page_shows_where_it_comes_from(built: Path, leaderboards: Path) -> None:
    entry = next(entry for entry in read_entries(leaderboards) if entry.name == "coral")
    record = entry.records[1]
    text = (built / "records/digits-lt/coral/1.html").read_text(encoding="utf-8")
    for part in (
        record.samples.sha256, record.dataset.fingerprint, record.dataset.reference.fingerprint, record.protocol_hash,
        str(record.code.commit), record.timing.created, record.extractors["features"].weights_sha256,
        "learning_rate = 0.001", "702,625", "A. Author, A title, 2026", 'src="1.png"', ">resampled<",
    ):  # fmt: skip
        assert part in text, part
    folder = built / "records/digits-lt/coral"
    assert (folder / "1.json").read_bytes() == (entry.submission.path / "1.json").read_bytes()


def hostile(entry: Entry) -> Entry:
    """An entry whose every free text is an attack, as if the validator had let it through."""
    records = {}
    for seed, record in entry.records.items():
        dataset = record.dataset.model_copy(update={"class_names": [f"{HOSTILE}{i}" for i in range(10)]})
        metrics = record.metrics.model_copy(update={"notes": {HOSTILE: HOSTILE}})
        environment = record.environment.model_copy(update={"platform": HOSTILE, "packages": {HOSTILE: HOSTILE}})
        timing = record.timing.model_copy(update={"created": HOSTILE})
        changes = {"dataset": dataset, "metrics": metrics, "environment": environment, "timing": timing}
        records[seed] = record.model_copy(update=changes)
    text = dict.fromkeys(("method", "paper", "submitter", "note"), HOSTILE)
    metadata = entry.submission.metadata.model_copy(update=text)
    return Entry(replace(entry.submission, metadata=metadata, records=records), MappingProxyType({}))


def write_hostile(leaderboards: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(site, "read_entries", lambda *_: [hostile(entry) for entry in read_entries(leaderboards)])
    site.write_site(leaderboards, out)
    return out


def test_foreign_text_stays_text(leaderboards: Path, built: Path, tmp_path: Path, monkeypatch) -> None:
    out = write_hostile(leaderboards, tmp_path / "out", monkeypatch)
    for path in sorted(out.rglob("*.html")):
        mild = Page(built / path.relative_to(out))
        page = Page(path)
        kinds = {tag for tag, _ in page.tags}
        assert kinds <= {tag for tag, _ in mild.tags} | {"li", "ul", "h3"}
        assert "<script>window" not in path.read_text(encoding="utf-8")
        assert "{{ 7*7 }}" in path.read_text(encoding="utf-8")  # a template in a name is not run
        for tag, attributes in page.tags:
            assert tag != "img" or str(attributes["src"]).endswith(".png")
            assert not any(name.startswith("on") for name in attributes)


def test_a_folder_of_somebody_else_is_left_alone(leaderboards: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    arguments = ["leaderboard", "site", tmp_path, "--leaderboards", leaderboards]
    assert "is not empty and holds no earlier site" in refused(monkeypatch, capsys, *arguments)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    arguments[2] = tmp_path / "site"
    assert command(monkeypatch, capsys, *arguments)[0] == 0
    marker = tmp_path / "site" / ".ltgen-bench-site"
    (tmp_path / "site" / "old.html").touch()
    (tmp_path / "site" / "CNAME").write_text("bench.example")
    marker.write_text(marker.read_text() + "old.html\n")
    assert command(monkeypatch, capsys, *arguments)[0] == 0  # its own earlier site is replaced
    assert not (tmp_path / "site" / "old.html").exists()
    assert (tmp_path / "site" / "CNAME").read_text() == "bench.example"
    (tmp_path / "site" / "assets").rename(tmp_path / "assets")
    (tmp_path / "site" / "assets").symlink_to(tmp_path / "assets")
    assert "is a symbolic link" in refused(monkeypatch, capsys, *arguments)
    assert (tmp_path / "assets" / "style.css").exists()
    arguments[2] = tmp_path / "thesis.tex"
    assert "is a file" in refused(monkeypatch, capsys, *arguments)


def test_an_empty_leaderboard_is_a_site_too(tmp_path: Path) -> None:
    (tmp_path / "boards").mkdir()
    assert site.write_site(tmp_path / "boards", tmp_path / "site") == 0
    assert "There are no records yet." in (tmp_path / "site" / "index.html").read_text()


def test_one_row_and_a_thousand_classes(tmp_path: Path) -> None:
    """Charts of odd sizes hold finite numbers inside their frame."""
    names, counts = [f"class {i}" for i in range(1000)], list(range(1000, 0, -1))
    series = [charts.Series(f"m{j}", [None if i % 7 == 0 else i / 100 + j for i in range(1000)]) for j in range(12)]
    for chart in (
        charts.class_chart("t", series, names, counts),
        charts.class_chart("t", [charts.Series("a", [0.0])], ["only"], [1]),
        charts.class_bars("t", series[0].values, names, counts, ["many"] * 500 + ["few"] * 500),
        charts.class_bars(
            "t", [-1.0, 0.0, None], ["a", "b", "c"], [3, 2, 1], ["many", "medium", "few"], [0.1, None, 0]
        ),
        charts.head_tail_chart("t", [("a", {"many": 5.0, "medium": None, "few": 5.0})]),
    ):
        width, height = map(float, re.search(r'viewBox="0 0 (\S+) (\S+)"', chart).groups())  # type: ignore[union-attr]
        assert "nan" not in chart
        assert "inf" not in chart
        for name, value in re.findall(r' (x|x1|x2|cx|y|y1|y2|cy)="([-\d.]+)"', chart):
            assert -1 <= float(value) <= (width if "x" in name else height) + 1
    assert charts.head_tail_chart("t", [("a", {"many": None})]) == ""
    assert charts.class_chart("t", [], names, counts) == ""
    assert charts.class_chart("t", series, names, counts).count("<polyline") == charts.MAX_SERIES


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (0, 14.5, [0, 5, 10, 15]), (0.52, 0.66, [0.5, 0.55, 0.6, 0.65, 0.7])],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert charts.ticks(low, high) == pytest.approx(expected)


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(a: str, b: str) -> float:
    high, low = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_contrast(mode: str) -> None:
    """WCAG 2.2: 4.5 for text (1.4.3), 3 for marks in charts (1.4.11)."""
    style = (Path(site.__file__).parent / "assets" / "style.css").read_text(encoding="utf-8")
    block = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[mode == "dark"]
    colour = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
    for ground in ("paper", "panel"):
        for text in ("ink", "quiet", "link", "best", "verified"):
            assert _contrast(colour[text], colour[ground]) >= 4.5, (mode, text, ground)
    for mark in ("many", "medium", "few", *(f"s{i}" for i in range(8))):
        assert _contrast(colour[mark], colour["paper"]) >= 3, (mode, mark)


def test_two_boards_have_two_tables(leaderboards: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(leaderboards, tmp_path / "boards")
    other = make_record("other", 0, foreign=True)
    other["dataset"]["fingerprint"] = "e" * 64
    write_submission(tmp_path / "boards", "other", [other])
    site.write_site(tmp_path / "boards", tmp_path / "out")
    assert (tmp_path / "out" / "index.html").read_text().count('<section class="board"') == 2


def test_separation_is_drawn_one_line_a_method(tmp_path: Path) -> None:
    from ltgen_bench.evaluation.record import SeparationPoint
    from ltgen_bench.leaderboard.site.separation_charts import separation_charts

    leaderboards = write_leaderboard(tmp_path / "leaderboards")
    assert separation_charts(boards(read_entries(leaderboards))[0]) == []
    for name, level in (("mine", 0.5), ("yours", 0.7)):
        records = [make_record(name, seed, 3.0 + seed / 10) for seed in range(3)]
        for seed, record in enumerate(records):
            points = [
                SeparationPoint(
                    images="reference", t=t, label="withheld", noise=True, group=group, metric="knn_purity",
                    value=level - t / 1000 + seed / 100,
                )
                for t in (11, 100) for group in ("all", "few")
            ]  # fmt: skip
            record["schema_version"], record["separation"] = 2, [point.model_dump() for point in points]
        write_submission(leaderboards, name, records)
    (board,) = boards(read_entries(leaderboards))
    charts = separation_charts(board)
    assert [title for title, _ in charts] == [
        "Neighbours of the same class, all classes",
        "Neighbours of the same class, tail",
    ]
    assert "yours, t = 100: 0.61 (0.6 to 0.62)" in charts[0][1]
    site.write_site(leaderboards, tmp_path / "site")
    page = (tmp_path / "site/records/digits-lt/mine/0.html").read_text()
    assert "How far the classes lie apart in the bottleneck" in page
