"""Numbers that papers report: read from `leaderboards/published/*.toml`, shown beside our own and never ranked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ltgen_bench.core.errors import RecordError, first_mistake
from ltgen_bench.core.text_files import parse_toml, read_text_bounded

MetricKey = Literal["fid", "inception_score", "f8", "recall", "f1_8", "precision"]
_Text = Annotated[str, Field(min_length=1, max_length=400)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class Source(_Part):
    """Where numbers were printed; `second_hand` where they come from a quotation and not from the paper itself."""

    key: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,40}$")]
    title: _Text
    second_hand: bool


class StatedProtocol(_Part):
    """What the source says about how its numbers were measured, and what it does not say."""

    stated: list[_Text]
    unstated: list[_Text]


class PublishedTable(_Part):
    """One data set's rows of one table: method -> values in the order of `columns`."""

    number: Annotated[int, Field(ge=1, le=99)] | None = None  # the table's number in the paper
    dataset: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,99}$")]
    title: _Text
    columns: Annotated[list[MetricKey], Field(min_length=1)]
    recall: Annotated[str, Field(pattern=r"^recall\[[a-z0-9?-]{1,30},k=[0-9?]{1,3}\]$")] | None = None
    """Which network and k its recall is of, `?` where the source does not say."""
    rows: Annotated[dict[_Text, list[float]], Field(min_length=1)]

    @model_validator(mode="after")
    def _as_many_values_as_columns(self) -> Self:
        for method, values in self.rows.items():
            if len(values) != len(self.columns):
                raise ValueError(f"row {method!r} has {len(values)} values for {len(self.columns)} columns")
        if ("recall" in self.columns) != (self.recall is not None):
            raise ValueError("recall: a table with recall, and no other, says which one: recall[vgg16,k=3]")
        return self


class Publication(_Part):
    """Everything taken from one source."""

    source: Source
    protocol: StatedProtocol
    table: Annotated[list[PublishedTable], Field(min_length=1)]


class PublishedRow(BaseModel):
    """One method on one data set as one source reports it, its tables put together."""

    model_config = ConfigDict(frozen=True)

    source: Source
    tables: tuple[int, ...]
    dataset: str
    dataset_title: str
    method: str
    values: dict[str, float]
    recall: str | None = None  # which one it is

    @property
    def origin(self) -> str:
        """Source and tables in words."""
        where = self.source.title
        if self.tables:
            word = "Table" if len(self.tables) == 1 else "Tables"
            where += f", {word} {', '.join(map(str, self.tables))}"
        return where + (" (second hand)" if self.source.second_hand else "")


def read_published(folder: Path) -> list[Publication]:
    """All publications in `folder`, second-hand ones last, then by file name; raises RecordError of one line."""
    found = [_read(path) for path in sorted(Path(folder).glob("*.toml"))]
    return sorted(found, key=lambda publication: publication.source.second_hand)


def _read(path: Path) -> Publication:
    try:
        text = read_text_bounded(path, error=RecordError)
        return Publication.model_validate(parse_toml(text, str(path), error=RecordError))
    except ValidationError as error:
        mistake = first_mistake(error)
        raise RecordError(f"{path}: {mistake.place or 'file'}: {mistake.message}"[:500]) from None


def published_rows(publications: list[Publication]) -> list[PublishedRow]:
    """One row a (source, data set, method), in the order of the files; a number printed in two tables counts once.

    Raises RecordError when a source contradicts itself.
    """
    merged: dict[tuple[str, str, str], PublishedRow] = {}
    for publication in publications:
        for table in publication.table:
            for method, numbers in table.rows.items():
                key = (publication.source.key, table.dataset, method)
                values = dict(zip(table.columns, numbers, strict=True))
                known = merged.get(key)
                number = () if table.number is None else (table.number,)
                if known is None:
                    merged[key] = PublishedRow(
                        source=publication.source,
                        tables=number,
                        dataset=table.dataset,
                        dataset_title=table.title,
                        method=method,
                        values=dict(values),
                        recall=table.recall,
                    )
                    continue
                for name, value in values.items():
                    if known.values.get(name, value) != value:
                        where = f"{publication.source.key} gives {method} on {table.dataset}"
                        raise RecordError(f"published: {where} two values of {name}")
                if table.recall not in (None, known.recall or table.recall):
                    raise RecordError(f"published: {publication.source.key} has two kinds of recall on {table.dataset}")
                merged[key] = known.model_copy(
                    update={
                        "tables": known.tables + number,
                        "values": {**known.values, **values},
                        "recall": known.recall or table.recall,
                    }
                )
    return list(merged.values())
