"""Two variants of a method where its paper and its authors' released code differ.

`method.variant` only chooses the defaults of keys that can each be set alone; the resolved values, never the name,
decide what is computed, and all of them stand in the record.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from ltgen_bench.methods import MethodConfig


class VariantConfig(MethodConfig):
    """Keys of a method that has a paper and a released variant.

    A subclass lists the keys that differ in `differences`, by variant; what is set explicitly wins over both.
    """

    differences: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}, "released": {}}

    variant: Literal["paper", "released"] = "paper"
    """paper, or released: what the authors' code does where it differs."""

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {**cls.differences.get(str(values.get("variant", "paper")), {}), **values}


TimeIndex = Literal["one", "zero"]
"""Whether t in a weight's t/T runs from 1 to T, as in the papers, or from 0 to T - 1, as in the released losses."""


def implied_by_variant(config: VariantConfig) -> dict[str, Any]:
    """What a variant implies outside of the method's own keys: CBDM's code, and what was built on it, drops batches."""
    return {"training": {"label_drop_unit": {"paper": "sample", "released": "batch"}[config.variant]}}
