"""Where weights and caches live, and which weights are missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ltgen_bench.core.errors import ConfigError
from ltgen_bench.core.progress import Progress
from ltgen_bench.core.protocol import Protocol
from ltgen_bench.core.storage import MissingFile
from ltgen_bench.features import FeatureCache, missing_weights


@dataclass(frozen=True)
class EvaluationPlaces:
    """Where weights and caches live."""

    data_root: Path = Path("data")
    weights: dict[str, Path] = field(default_factory=dict)  # extractor name -> file, for weights kept elsewhere
    cache: bool = True

    @property
    def weights_root(self) -> Path:
        """The folder of downloaded weights."""
        return self.data_root / "weights"

    @property
    def recognition_cache(self) -> Path:
        """The folder of what recognition's classifiers scored."""
        return self.data_root / ".cache" / "recognition"

    def feature_cache(self, progress: Progress) -> FeatureCache | None:
        """The cache of extracted features, keyed by content; `progress` shows a warning when it cannot be written."""
        if not self.cache:
            return None
        return FeatureCache(self.data_root / ".cache" / "features", lambda text: progress.say(f"warning: {text}"))


def missing_protocol_weights(protocol: Protocol, places: EvaluationPlaces) -> dict[str, MissingFile]:
    """The extractors whose weights a protocol needs and that are not there; cheap, so asked before any training."""
    found = {
        name: missing_weights(name, weights=places.weights.get(name), weights_root=places.weights_root)
        for name in protocol.extractors()
    }
    return {name: missing for name, missing in found.items() if missing is not None}


def refuse_unused_weights(protocol: Protocol, places: EvaluationPlaces) -> None:
    """Raise ConfigError for weights of an extractor that `protocol` does not use: they were meant to count."""
    used = protocol.extractors()
    for name, file in places.weights.items():
        if name not in used:
            raise ConfigError(
                f"weights of {name} are given ({file}) and protocol {protocol.name} uses {' and '.join(used)}; "
                "leave them out, or choose the extractor with --features"
            )
