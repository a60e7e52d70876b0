"""Choices that configurations, protocols and records spell out: each word in one place."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


class Choice(StrEnum):
    """Words of which one is chosen; in files they are plain strings, and so they are in the JSON schema."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        words = core_schema.literal_schema([member.value for member in cls])
        as_text = core_schema.plain_serializer_function_ser_schema(str, return_schema=core_schema.str_schema())
        return core_schema.no_info_after_validator_function(cls, words, serialization=as_text)


class Group(Choice):
    """Classes by their number of training images: head, medium, tail."""

    MANY = "many"
    MEDIUM = "medium"
    FEW = "few"

    @property
    def position(self) -> str:
        """Where they stand in the distribution of classes."""
        return {Group.MANY: "head", Group.MEDIUM: "medium", Group.FEW: "tail"}[self]

    @property
    def caption(self) -> str:
        """Position and name, as rows of tables are called."""
        return self.position if self is Group.MEDIUM else f"{self.position} ({self})"


class SamplerName(Choice):
    """How images are drawn from a diffusion model."""

    DDPM = "ddpm"
    DDIM = "ddim"
    DPM_SOLVER = "dpm-solver++2m"


class Conditioning(Choice):
    """Whether samples are drawn for classes, and who is told: the network, a classifier only, or nobody."""

    CLASS = "class"
    CLASSIFIER = "classifier"
    NONE = "none"


class Guidance(Choice):
    """What draws samples towards their class: the difference of two predictions, or a classifier's gradient."""

    FREE = "free"
    CLASSIFIER = "classifier"


class ModelWeights(Choice):
    """Which of a training's weights are sampled from."""

    EMA = "ema"
    RAW = "raw"


class Level(Choice):
    """What has been checked of a leaderboard's row (`leaderboard.submission.levels`)."""

    REPORTED = "reported"
    REMEASURED = "remeasured"
    RESAMPLED = "resampled"
    RETRAINED = "retrained"

    @property
    def height(self) -> int:
        """Its place on the ladder, from 0."""
        return list(Level).index(self)
