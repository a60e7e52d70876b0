"""Feature extractors: from images to the vectors that the metrics compare.

    extractor = load_extractor("efficientnet-lite0", weights_root=Path("data/weights"))
    features, probabilities = extract_features(images, extractor, cache=FeatureCache(Path("data/features")))

| name | D | weights |
|---|---|---|
| `digits-cnn` | 64 | bundled; 8x8 grey digits |
| `efficientnet-lite0` | 1280 | a package from the registry, extra `[offline]` |
| `inception-v3-fid` | 2048 | download; the only one whose distance is called FID |
| `vgg16-fc2` | 4096 | download; improved precision and recall |
| `dinov2-vit-l-14` | 1024 | download; FD-DINOv2 as papers report it |
| `dinov2-vit-b-14` | 768 | download; torch-fidelity's smaller one |

`precision="bf16"` computes the network in bfloat16. Measured with EfficientNet-Lite0 on 2,000 CIFAR-10 test images
(JPEG copies), one thread: 4 times as many images a second; features move by 6 % of their norm, the distance between
animals and vehicles from 281.9 to 280.1 and that between two random halves from 89.47 to 89.58. Good for watching a
training; a figure to publish is computed in fp32, and the labels differ (`FD[efficientnet-lite0,bf16]`).

Importing this package imports no torch; `Extractor` and `ExtractorOutput` import it when they are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ltgen_bench.features.cache import CacheEntry, FeatureCache, feature_key
from ltgen_bench.features.catalogue import EXTRACTORS, extractor_info
from ltgen_bench.features.extract import ExtractedFeatures, extract_features, extract_share
from ltgen_bench.features.info import ExtractorInfo
from ltgen_bench.features.weights import download_weights, load_extractor, missing_weights, weights_sha256

if TYPE_CHECKING:
    from ltgen_bench.features.base import Extractor, ExtractorOutput

__all__ = [
    "EXTRACTORS",
    "CacheEntry",
    "ExtractedFeatures",
    "Extractor",
    "ExtractorInfo",
    "ExtractorOutput",
    "FeatureCache",
    "download_weights",
    "extract_features",
    "extract_share",
    "extractor_info",
    "feature_key",
    "load_extractor",
    "missing_weights",
    "weights_sha256",
]


def __getattr__(name: str) -> Any:
    if name in ("Extractor", "ExtractorOutput"):
        from ltgen_bench.features import base

        return getattr(base, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
