"""`submission.toml`: what the submitter says about the method. It has no field for a status."""

from __future__ import annotations

from typing import Annotated, Literal

import tomli_w
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ltgen_bench.core.errors import first_mistake
from ltgen_bench.core.plain_text import printable, shown, text_problem
from ltgen_bench.core.text_files import parse_toml
from ltgen_bench.leaderboard.exchange.fetch import MOST_BYTES, RemoteFile
from ltgen_bench.leaderboard.submission.names import title_problem
from ltgen_bench.leaderboard.submission.terms import MOST_SEEDS, Declaration
from ltgen_bench.leaderboard.submission.untrusted import SubmissionError


def _plain(text: str) -> str:
    if problem := text_problem(text, markup=False):
        raise ValueError(problem)
    return text


def _title(text: str) -> str:
    if problem := title_problem(text):
        raise ValueError(problem)
    return _plain(text)


def _url(text: str) -> str:
    import re

    if text and not re.fullmatch(r"https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/?#@!&=%:,+-]*)?", text):
        raise ValueError("is not an address of the form https://host/path with plain characters")
    return text


def _remote(text: str) -> str:
    import re

    if not re.fullmatch(r"(?:https|s3|hf)://[A-Za-z0-9.-]+(?::[0-9]{1,5})?/[A-Za-z0-9._~/?#@!&=%:,+-]+", text):
        raise ValueError("is not an address of the form https://host/path (or s3://, hf://) with plain characters")
    return text


Title = Annotated[str, Field(min_length=1, max_length=80), AfterValidator(_title)]
Line = Annotated[str, Field(max_length=400), AfterValidator(_plain)]
Url = Annotated[str, Field(max_length=300), AfterValidator(_url)]
SeedName = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,11})$")]
Seed = Annotated[int, Field(ge=0, lt=10**12)]


class PublishedFile(BaseModel):
    """A file that anybody can fetch, and what it has to be (`leaderboard.exchange.fetch`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    url: Annotated[str, Field(max_length=500), AfterValidator(_remote)]
    size: Annotated[int, Field(gt=0, le=MOST_BYTES)]  # bytes
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    def remote(self) -> RemoteFile:
        """What `fetch_remote` takes."""
        return RemoteFile(self.url, self.size, self.sha256)


class PublishedSeed(BaseModel):
    """A seed's samples and the weights that drew them, where they are published."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    samples: PublishedFile | None = None
    weights: PublishedFile | None = None


class SubmissionMetadata(BaseModel):
    """Name and origin of a method, and the declaration that no seed was left out."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal[1] = 1
    method: Title  # as tables show it
    paper: Line = ""
    paper_url: Url = ""
    code_url: Url = ""
    submitter: Line = ""
    note: Line = ""
    # of samples made elsewhere: w in eps_c + w (eps_c - eps_u), which is the `cfg_scale` of ADM, DiT and diffusers - 1
    guidance_scale: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = None
    seeds_run: Annotated[list[Seed], Field(min_length=1, max_length=MOST_SEEDS)]
    declaration: Declaration
    # seed -> what is published of it
    files: Annotated[dict[SeedName, PublishedSeed], Field(max_length=MOST_SEEDS)] = Field(default_factory=dict)

    def to_toml(self) -> str:
        """The metadata as a TOML file; empty fields are left out."""
        values = self.model_dump(mode="json", exclude_none=True)
        return tomli_w.dumps({key: value for key, value in values.items() if value not in ("", {})})


def parse_metadata(data: bytes, source: str) -> SubmissionMetadata:
    """Read `submission.toml`; raises SubmissionError of one line."""
    try:
        value = parse_toml(data.decode("utf-8"), source, error=SubmissionError)
    except UnicodeDecodeError:
        raise SubmissionError(f"{source} is not UTF-8 text") from None
    except SubmissionError as error:
        raise SubmissionError(f"{source} is not TOML: {printable(str(error))[:300]}") from None
    return make_metadata(value, source)


def make_metadata(value: dict[str, object], source: str) -> SubmissionMetadata:
    """Validate metadata; raises SubmissionError of one line with the first mistake."""
    try:
        metadata = SubmissionMetadata.model_validate(value)
    except ValidationError as error:
        mistake = first_mistake(error)
        if mistake.kind == "extra_forbidden":
            known = ", ".join(SubmissionMetadata.model_fields)
            raise SubmissionError(f"{source}: unknown key {shown(mistake.place)}; known: {known}") from None
        raise SubmissionError(f"{source}: {printable(mistake.place)}: {printable(mistake.message)[:300]}") from None
    if len(set(metadata.seeds_run)) != len(metadata.seeds_run):
        raise SubmissionError(f"{source}: seeds_run names a seed twice")
    for seed in metadata.files:
        if int(seed) not in metadata.seeds_run:
            raise SubmissionError(f"{source}: files names seed {seed}, which is not in seeds_run")
    return metadata
