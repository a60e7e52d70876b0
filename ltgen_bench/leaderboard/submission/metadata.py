"""`submission.toml`: what the submitter says about the method. It has no field for a status."""

from __future__ import annotations

import tomllib
from typing import Annotated, Literal

import tomli_w
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ltgen_bench.core.errors import first_mistake
from ltgen_bench.leaderboard.submission.terms import MOST_SEEDS, Declaration
from ltgen_bench.leaderboard.submission.untrusted import SubmissionError, printable, shown, text_problem


def _plain(text: str) -> str:
    if problem := text_problem(text, markup=False):
        raise ValueError(problem)
    return text


def _url(text: str) -> str:
    import re

    if text and not re.fullmatch(r"https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/?#@!&=%:,+-]*)?", text):
        raise ValueError("is not an address of the form https://host/path with plain characters")
    return text


Title = Annotated[str, Field(min_length=1, max_length=80), AfterValidator(_plain)]
Line = Annotated[str, Field(max_length=400), AfterValidator(_plain)]
Url = Annotated[str, Field(max_length=300), AfterValidator(_url)]
Seed = Annotated[int, Field(ge=0, lt=10**12)]


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

    def to_toml(self) -> str:
        """The metadata as a TOML file; empty fields are left out."""
        return tomli_w.dumps(
            {key: value for key, value in self.model_dump(mode="json").items() if value not in ("", None)}
        )


def parse_metadata(data: bytes, source: str) -> SubmissionMetadata:
    """Read `submission.toml`; raises SubmissionError of one line."""
    try:
        value = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        line = str(error).splitlines()[0] if str(error) else "nested too deeply"
        raise SubmissionError(f"{source} is not TOML: {printable(line)[:200]}") from None
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
    return metadata
