"""What the feature extractors are, without loading any of them.

The registry of names, and for each built-in one what `ltgen-bench list features` and `ltgen-bench doctor` show and
what a weights file has to look like. Nothing here imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ltgen_bench.core.errors import ConfigError
from ltgen_bench.core.plugins import where_defined
from ltgen_bench.core.registry import Registry
from ltgen_bench.features.info import BUILTIN, ExtractorInfo

if TYPE_CHECKING:
    from ltgen_bench.features.base import Extractor


def check_extractor_class(name: str, thing: object) -> None:
    """Refuse, in one line, what is not a complete subclass of `Extractor`; raises ConfigError."""
    from ltgen_bench.features.base import Extractor

    if not isinstance(thing, type):
        raise ConfigError(f"EXTRACTORS.register({name!r}) takes a class derived from Extractor, got {thing!r}")
    where = where_defined(thing)
    if not issubclass(thing, Extractor):
        raise ConfigError(f"{where}: EXTRACTORS.register({name!r}) takes a class derived from Extractor")
    missing = [*sorted(thing.__abstractmethods__), *(key for key in ("name", "dim", "info") if not hasattr(thing, key))]
    if missing:
        raise ConfigError(f"{where}: the class has to define {', '.join(missing)}")


EXTRACTORS: Registry[type[Extractor]] = Registry(
    "feature extractor",
    "ltgen_bench.features",
    {
        "digits-cnn": "ltgen_bench.features.networks.digits_cnn:DigitsExtractor",
        "digits-cnn-unseen": "ltgen_bench.features.networks.digits_cnn:UnseenDigitsExtractor",
        "efficientnet-lite0": "ltgen_bench.features.networks.efficientnet:EfficientNetLite0Extractor",
        "inception-v3-fid": "ltgen_bench.features.networks.inception:InceptionV3Extractor",
        "inception-v3-spatial": "ltgen_bench.features.networks.inception_spatial:SpatialInceptionExtractor",
        "vgg16-fc2": "ltgen_bench.features.networks.vgg16:VGG16Extractor",
        "dinov2-vit-b-14": "ltgen_bench.features.networks.dinov2:DINOv2Extractor",
        "dinov2-vit-l-14": "ltgen_bench.features.networks.dinov2:DINOv2LargeExtractor",
    },
    check_extractor_class,
)
"""Feature extractors by name; an entry is a subclass of `Extractor`, imported when it is asked for."""


def extractor_info(name: str) -> ExtractorInfo:
    """What is known about the extractor called `name`.

    Costs nothing for the built-in ones; a plug-in is imported and asked for its class attribute `info`. Raises
    UnknownNameError for a name that is not registered and ConfigError for a plug-in without `info`.
    """
    if name in BUILTIN:
        return BUILTIN[name]
    info = getattr(EXTRACTORS.get(name), "info", None)
    if not isinstance(info, ExtractorInfo):
        raise ConfigError(f"feature extractor {name!r} has no `info`; give its class an ExtractorInfo of that name")
    return info
