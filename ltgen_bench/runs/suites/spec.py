"""A suite as data: methods x data sets x seeds x settings, from a TOML file, and the cells that it stands for."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ltgen_bench.core.config import RunConfig, keys
from ltgen_bench.core.errors import ConfigError, UnknownNameError, did_you_mean, first_mistake
from ltgen_bench.core.mappings import merge, nested, parse_overrides
from ltgen_bench.core.text_files import parse_toml, read_text_bounded
from ltgen_bench.datasets import dataset_names, named_options
from ltgen_bench.methods import METHODS

MOST_CELLS = 10_000
_DATA = Path(__file__).parent / "data"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,80}")

Names = Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(min_length=1)]
Seeds = Annotated[list[Annotated[int, Field(ge=0, lt=10**12)]], Field(min_length=1)]


class Grid(BaseModel):
    """Every combination of what it lists; `set` maps configuration keys to a value, or to a list of values."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    methods: Names = Field(default_factory=lambda: ["ddpm"])
    datasets: Names = Field(default_factory=lambda: ["digits-lt"])
    seeds: Seeds = Field(default_factory=lambda: [0])
    protocol: str | None = None
    set: dict[str, Any] = Field(default_factory=dict)


class SuiteFile(Grid):
    """A suite: a grid, or `rows`, each a grid of its own for which the file's is the default."""

    title: str = ""
    rows: list[dict[str, Any]] = Field(default_factory=list)


@dataclass(frozen=True)
class RunCell:
    """One run: what differs from the defaults, as a user would have typed it."""

    method: str
    dataset: str  # by its canonical name
    seed: int
    protocol: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)  # configuration key -> value

    def layers(self) -> dict[str, Any]:
        """The configuration layers of the run."""
        values: dict[str, Any] = {"method": {"name": self.method}, "dataset": named_options(self.dataset)}
        if self.protocol is not None:
            values["protocol"] = {"name": self.protocol}
        for key, value in self.settings.items():
            values = merge(values, nested(key.split("."), value))
        return {**values, "seed": self.seed}

    @property
    def label(self) -> str:
        """The cell in one line."""
        own = [f"{key}={value}" for key, value in self.settings.items()]
        protocol = [] if self.protocol is None else [self.protocol]
        return " ".join([self.method, self.dataset, f"seed {self.seed}", *protocol, *own])


@dataclass(frozen=True)
class Suite:
    """A suite's name and its cells, each once, in the order of the file."""

    name: str
    title: str
    cells: tuple[RunCell, ...]


def suite_names() -> list[str]:
    """The suites in the package, sorted."""
    return sorted(path.stem for path in _DATA.glob("*.toml"))


def read_suite(name_or_file: str) -> Suite:
    """The suite of that name in the package, or in that file.

    Raises UnknownNameError with the closest name, and ConfigError with file and line for a file that is none.
    """
    path = Path(name_or_file)
    if path.suffix != ".toml":
        if name_or_file not in suite_names():
            hint = did_you_mean(name_or_file, suite_names())
            raise UnknownNameError(f"unknown suite {name_or_file!r}; {hint}; a file's name ends in .toml")
        path = _DATA / f"{name_or_file}.toml"
    return parse_suite(read_text_bounded(path, error=ConfigError), path)


def parse_suite(text: str, path: Path) -> Suite:
    """A suite from TOML; raises ConfigError that names file and line."""
    if not _NAME.fullmatch(path.stem):
        raise ConfigError(f"{path}: a suite is called by its file, in small letters, digits, '-', '_' and '.'")
    values = parse_toml(text, str(path), error=ConfigError)
    whole = _checked(SuiteFile, values, text, path)
    grids = [_checked(Grid, _row(values, row), text, path) for row in whole.rows] or [whole]
    cells: dict[str, RunCell] = {}
    count = sum(_size(grid) for grid in grids)
    if count > MOST_CELLS:
        raise ConfigError(f"{path}: {count:,} cells; a suite has {MOST_CELLS:,} at most")
    for grid in grids:
        _check_names(grid, text, path)
        for cell in _cells(grid):
            cells.setdefault(repr((cell.label, cell.settings)), cell)
    return Suite(path.stem, whole.title, tuple(cells.values()))


def _row(values: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with what it does not say from the file; its settings are added to the file's."""
    shared = {key: value for key, value in values.items() if key not in ("title", "rows")}
    own = row.get("set", {})
    both = {"set": {**shared.get("set", {}), **own}} if isinstance(own, dict) else {}
    return {**shared, **row, **both}


def _checked(model: type[Grid], values: Mapping[str, Any], text: str, path: Path) -> Any:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        mistake = first_mistake(error)
        place = mistake.place.split(".")[0]
        if mistake.kind == "extra_forbidden":
            raise ConfigError(
                f"{_line(text, place, path)}: unknown key {place!r}; {did_you_mean(place, SuiteFile.model_fields)}"
            ) from None
        raise ConfigError(f"{_line(text, place, path)}: {mistake.place}: {mistake.message}") from None


def _check_names(grid: Grid, text: str, path: Path) -> None:
    for method in grid.methods:
        if method not in METHODS:
            raise UnknownNameError(
                f"{_line(text, method, path)}: unknown method {method!r}; {did_you_mean(method, METHODS.names())}"
            )
    for dataset in grid.datasets:
        if named_options(dataset)["name"] not in dataset_names():
            raise UnknownNameError(
                f"{_line(text, dataset, path)}: unknown data set {dataset!r}; {did_you_mean(dataset, dataset_names())}"
            )
    known = keys(RunConfig)
    for key in grid.set:
        section = key.partition(".")[0]
        if (key not in known and section != "method") or not 1 <= key.count(".") <= 1 + (section == "method"):
            raise ConfigError(
                f"{_line(text, key, path)}: unknown configuration key {key!r}; {did_you_mean(key, known)}"
            )


def _size(grid: Grid) -> int:
    count = len(grid.methods) * len(grid.datasets) * len(grid.seeds)
    for value in grid.set.values():
        count *= len(value) if isinstance(value, list) else 1
    return count


def _cells(grid: Grid) -> Iterator[RunCell]:
    """Seeds vary last, so that a suite that is stopped early has some seed of everything."""
    names = list(grid.set)
    choices = [value if isinstance(value, list) else [value] for value in grid.set.values()]
    for seed in grid.seeds:
        for dataset, method in itertools.product(grid.datasets, grid.methods):
            for values in itertools.product(*choices):
                yield RunCell(method, dataset, seed, grid.protocol, dict(zip(names, values, strict=True)))


def _line(text: str, word: str, path: Path) -> str:
    """File and line of the first line that holds `word`."""
    for number, line in enumerate(text.splitlines(), start=1):
        if word and word in line.partition("#")[0]:
            return f"{path}, line {number}"
    return str(path)


def with_overrides(suite: Suite, overrides: list[str]) -> Suite:
    """The suite with `--set` of the command line in every cell."""
    layer = parse_overrides(overrides)
    own = {f"{section}.{key}": value for section, values in layer.items() for key, value in values.items()}
    if not own:
        return suite
    cells = tuple(
        RunCell(cell.method, cell.dataset, cell.seed, cell.protocol, {**cell.settings, **own}) for cell in suite.cells
    )
    return Suite(suite.name, suite.title, cells)
