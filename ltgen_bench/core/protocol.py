"""Protocols: everything that a published number depends on besides the model, in one frozen, versioned object.

The hash of the protocol stands in every record. Changing any field of a published protocol makes a new name
(`.v2`); a run that overrides a field gets `+custom` behind the name. Two protocols never share a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ltgen_bench.core.choices import SamplerName
from ltgen_bench.core.errors import UnknownNameError, did_you_mean
from ltgen_bench.core.storage import sha256_json

_Count = Annotated[int, Field(gt=0, le=10_000_000)]


_TEXTS = ("summary", "source", "not_reproduced")  # change nothing that is computed
_CUSTOM = "+custom"  # behind the name of a protocol with other settings than the published ones


class Protocol(BaseModel):
    """One way to turn a trained model into numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    name: str = Field(max_length=100)
    """Its published name; with other settings than the published ones `+custom` stands behind it."""
    summary: str = Field("", max_length=500)
    """What it is for, in a line."""
    source: Annotated[str, Field(max_length=500)] | None = None
    """Where its settings are from: a paper and its code."""
    not_reproduced: Annotated[str, Field(max_length=500)] | None = None
    """What that code does besides, which is left out here."""
    training_images: Annotated[int, Field(gt=0)] | None = None
    """Images that training sees; null: the number of the method's recipe, as the papers do."""
    samples: _Count = 50_000
    """Images that are drawn and measured."""
    label_policy: Literal["uniform", "equal"] = "uniform"
    """uniform: labels are drawn, uniformly over the classes; equal: equally many of every class."""
    sampler: SamplerName = SamplerName.DDPM
    """What our own runs draw with; a run with another one is custom."""
    sampler_steps: _Count = 1000
    """Its steps."""
    clip_x0: bool = False
    """Whether the predicted image is kept within the range of pixels at every step."""
    guidance_grid: Annotated[tuple[float, ...], Field(min_length=1, max_length=100)] | None = None
    """Scales of guidance that are tried on samples of their own, of which the one nearest to the reference is taken;
    null: a method's own."""
    fixed_guidance: Annotated[float, Field(ge=0, le=100)] | None = None
    """The scale of guidance that every method is sampled at; null: a method's own, or one of the grid."""
    guidance_fine_step: Annotated[float, Field(gt=0)] | None = None
    """Then the best one plus and minus this is tried, within the grid."""
    guidance_samples: _Count | None = None
    """Samples of each scale that is tried; none of them is reported."""
    reference: Literal["data set", "unseen"] = "data set"
    """data set: the reference that it names, as the papers have it, which may hold training images; unseen: real
    images that nobody trained on, equally many of every class, with the distance to the papers' one beside it."""
    resize: Literal["none", "antialias"] = "none"
    """What is done with samples whose size is not the data set's: refused, or resized with antialiasing."""
    extractor: str = Field("inception-v3-fid", max_length=100)
    """The feature network of distances, KID, Inception Score and PRD."""
    manifold_extractor: str = Field("vgg16-fc2", max_length=100)
    """The feature network of precision, recall, density and coverage."""
    extractor_precision: Literal["fp32", "bf16"] = "fp32"
    """Number format of both."""
    neighbours: _Count = 3
    """k of precision, recall, density and coverage."""
    prd_clusters_per_class: _Count = 20
    """Clusters of PRD for every class."""
    prd_clustering: Literal["minibatch-kmeans"] = "minibatch-kmeans"
    """The clustering of PRD."""
    prd_angles: _Count = 1001
    """Points of a PRD curve."""
    prd_runs: _Count = 10
    """Clusterings that F8 and F1/8 are averaged over."""
    prd_beta: float = Field(8.0, gt=1, le=1e6)
    """The beta of F_beta and F_1/beta."""
    inception_score_splits: _Count = 10
    """Parts that the Inception Score is averaged over."""
    kid_subsets: _Count = 100
    """Random subsets that KID is averaged over."""
    kid_subset_size: _Count = 1000
    """Images in each of them."""
    metric_seed: Annotated[int, Field(ge=0)] = 0
    """Seed of everything random in the metrics."""
    random_parts: Literal["by content"] | None = None
    """by content: KID's subsets and the Inception Score's parts do not depend on the order in the file; null: as in
    version 1."""
    group_distances: Literal["equal numbers"] | None = None
    """equal numbers: distances of groups are taken at equal numbers, so that their gap is not one of sizes."""
    ceilings: Literal["real vs real"] | None = None
    """real vs real: what a perfect generator would score stands beside every number."""
    label_probe: Literal["ridge.v1"] | None = None
    """ridge.v1: label accuracy by a linear probe of the reference's features."""
    copies: Literal["mirrored"] | None = None
    """mirrored: suspected copies are sought among mirror images too."""
    recognition: Literal["cas.v1"] | None = None
    """cas.v1: classifiers are trained on real images, on generated ones and on real ones filled up with generated ones,
    three of each, and tested on real images (classification accuracy score); null: not."""

    @model_validator(mode="after")
    def _selection_is_whole(self) -> Protocol:
        if self.fixed_guidance is not None and self.guidance_grid is not None:
            raise ValueError("fixed_guidance and guidance_grid exclude each other")
        if (self.guidance_grid is None) != (self.guidance_samples is None):
            raise ValueError("guidance_grid and guidance_samples belong together")
        if self.guidance_grid is not None:
            if list(self.guidance_grid) != sorted(set(self.guidance_grid)) or self.guidance_grid[0] < 0:
                raise ValueError("guidance_grid wants scales from 0 on, ascending and each once")
        elif self.guidance_fine_step is not None:
            raise ValueError("guidance_fine_step needs a guidance_grid")
        return self

    @property
    def selects_guidance(self) -> bool:
        """Whether it chooses the scale of guidance."""
        return self.guidance_grid is not None

    def without_selection(self) -> Protocol:
        """The protocol for a scale that somebody chose."""
        return self.customised(guidance_grid=None, guidance_fine_step=None, guidance_samples=None)

    def hash(self) -> str:
        """Sha256 over every field but the texts, 16 hexadecimal digits; a field that is None says nothing."""
        return sha256_json(self.model_dump(mode="json", exclude=set(_TEXTS), exclude_none=True))[:16]

    def differences(self, other: Protocol) -> dict[str, tuple[Any, Any]]:
        """Every field but name and texts in which two protocols differ: its values here and there."""
        own, theirs = self.model_dump(mode="json"), other.model_dump(mode="json")
        keys = [key for key in own if key not in ("name", *_TEXTS) and own[key] != theirs[key]]
        return {key: (own[key], theirs[key]) for key in keys}

    def extractors(self) -> tuple[str, ...]:
        """The names of the feature extractors it uses, each once."""
        return tuple(dict.fromkeys((self.extractor, self.manifold_extractor)))

    @property
    def recall_name(self) -> str:
        """Its recall in full: papers call numbers of several networks and k by that one name."""
        short = {"inception-v3-fid": "inception", "vgg16-fc2": "vgg16"}
        return f"recall[{short.get(self.manifold_extractor, self.manifold_extractor)},k={self.neighbours}]"

    @property
    def is_custom(self) -> bool:
        """Whether a field was overridden: such a protocol belongs to one run and enters no shared table."""
        return self.name.endswith(_CUSTOM)

    def for_samples(self, count: int) -> Protocol:
        """The protocol for another number of samples: itself where it is its own number, else a custom one."""
        return self if count == self.samples else self.customised(samples=count)

    def customised(self, **changes: Any) -> Protocol:
        """The protocol with other settings, under a name that says so."""
        return self.model_copy(update={**changes, **_custom_texts(self.name)})


_DIGITS = Protocol(
    name="digits-1k.v1",
    summary="The embedded default: 1,000 digits of 8x8 px in the bundled digits network; no download.",
    samples=1000,
    sampler=SamplerName.DDIM,
    sampler_steps=25,
    clip_x0=True,
    extractor="digits-cnn",
    manifold_extractor="digits-cnn",
    kid_subset_size=500,
)
_CIFAR = Protocol(
    name="cifar-50k.v1",
    summary="CIFAR as in the papers: 50,000 samples against the 50,000 balanced training images.",
)


def _fixed_budget(base: Protocol, images: int, shown: str) -> Protocol:
    """`base` for methods that have all seen the same number of training images; `shown` is that number in words."""
    stem, _, version = base.name.rpartition(".")
    return base.model_copy(
        update={
            "name": f"{stem}-fixed-budget.{version}",
            "summary": f"{base.name} with the same number of images seen by every method: {shown}.",
            "training_images": images,
        }
    )


def _second(base: Protocol, summary: str, *, guidance_samples: int, **changes: Any) -> Protocol:
    """Version 2 of a protocol: unseen reference images, equally many samples of every class, guidance by one rule."""
    name = base.name.removesuffix(".v1") + ".v2"
    fixed = {
        "name": name,
        "summary": summary,
        "label_policy": "equal",
        "reference": "unseen",
        "random_parts": "by content",
        "group_distances": "equal numbers",
        "ceilings": "real vs real",
        "label_probe": "ridge.v1",
        "copies": "mirrored",
        "guidance_grid": (0.0, 0.5, 1.0, 1.5, 2.0),
        "guidance_fine_step": 0.2,
        "guidance_samples": guidance_samples,
    }
    return base.model_copy(update={**fixed, **changes})


_IMAGES = Protocol(
    name="images-50k.v1",
    summary="Any image set: 50,000 samples against the data set's reference images.",
)
_IMAGENET = Protocol(
    name="imagenet-lt-50k.v1",
    summary="ImageNet-LT as in the CORAL paper: 50,000 samples against the 20,000 validation images; 2,000 PRD "
    "clusters, as its text says.",
    prd_clusters_per_class=2,  # 20 a class would be 20,000 clusters, as many as there are real images
)
_OFFLINE = Protocol(
    name="offline-10k.v1",
    summary="Any RGB image set without a download: 10,000 samples, 50-step DDIM, EfficientNet-Lite0 features.",
    samples=10_000,
    sampler=SamplerName.DDIM,
    sampler_steps=50,
    extractor="efficientnet-lite0",
    manifold_extractor="efficientnet-lite0",
)


_DIGITS_SECOND = _second(
    _DIGITS,
    "1,000 digits, 100 a class, against 540 unseen ones, in a network that has not seen them either.",
    extractor="digits-cnn-unseen",
    manifold_extractor="digits-cnn-unseen",
    prd_clusters_per_class=5,  # 20 would be 200 clusters for 1,080 images
    guidance_samples=600,  # 195,000 network calls at most: three for each of the training's 64,000 images
)
_CIFAR_SECOND = _second(
    _CIFAR,
    "CIFAR: 50,000 samples, equally many a class, against the 10,000 test images.",
    guidance_samples=10_000,
)


def _in_dinov2(base: Protocol) -> Protocol:
    """`base` in DINOv2's features for everything: FD-DINOv2 as dgm-eval and edm2 publish it."""
    return base.model_copy(
        update={
            "name": f"{base.name.removesuffix('.v1')}-dinov2.v1",
            "summary": f"{base.name} in DINOv2 ViT-L/14: FD-DINOv2, and precision and recall with k = 5 (dgm-eval).",
            "extractor": "dinov2-vit-l-14",
            "manifold_extractor": "dinov2-vit-l-14",
            "neighbours": 5,
        }
    )


def _with_recognition(base: Protocol) -> Protocol:
    """`base` and what its samples are worth to a classifier."""
    stem, _, version = base.name.rpartition(".")
    return base.model_copy(
        update={
            "name": f"{stem}-recognition.{version}",
            "summary": f"{base.name}, and classifiers trained on the samples and tested on real images.",
            "recognition": "cas.v1",
        }
    )


_NO_OP = "Its DDIM visits t = 990, 980, ... 0, and the last step changes nothing; here every step counts (trailing)."


def _of_paper(name: str, summary: str, source: str, not_reproduced: str, **settings: Any) -> Protocol:
    """What a paper's code computes, in InceptionV3 throughout, so that its numbers can be made again."""
    return Protocol(
        name=name,
        summary=summary,
        source=source,
        not_reproduced=not_reproduced,
        **{"manifold_extractor": "inception-v3-fid", "neighbours": 5, **settings},
    )


_PAPERS = (
    _of_paper(
        "coral-50k-ddpm1000.v1",
        "CORAL: 50,000 samples, 1,000 ancestral steps, recall in VGG16 with k = 3.",
        "Rodriguez et al. 2025, text; code SankarLab/coral-lt-diffusion 62c9dfa. Guidance by method and set.",
        "Its code computes recall with k = 5 in InceptionV3, its text says VGG16 and k = 3, which is done here. "
        "Samples are compared as floats there, as 8-bit images here.",
        manifold_extractor="vgg16-fc2",
        neighbours=3,
    ),
    _of_paper(
        "cbdm-50k-ddpm1000.v1",
        "CBDM: 50,000 samples, 1,000 ancestral steps, recall in InceptionV3 with k = 5.",
        "Qin et al. 2023, code 94e201e. Guidance by method: README .8 (DDPM), 1.6 (CBDM), 1.4 (ADA), 2.0 (fine-tuned).",
        "Samples are compared as floats there, as 8-bit images here; its README's scales are not those of its tables.",
    ),
    _of_paper(
        "t2h-50k-ddim100.v1",
        "T2H: 50,000 samples, DDIM of 100 steps, guidance 1.5.",
        "Zhang et al. 2024, code ced1843; it reports FID and IS; guidance 1.5 in its README (the flag has 2).",
        f"{_NO_OP} Its generation script leaves dropout on.",
        sampler=SamplerName.DDIM,
        sampler_steps=100,
        fixed_guidance=1.5,
    ),
    _of_paper(
        "cm-50k-ddim50.v1",
        "CM: 50,000 samples, equally many a class, DDIM of 50 steps, guidance 1.5, recall in InceptionV3 with k = 5.",
        "Hong et al. 2026, code as vendored at 04262d7; splits are thirds of the classes, with 20,000 samples each.",
        f"{_NO_OP} Its two repeats permute the same samples, so that their deviation is none.",
        label_policy="equal",
        sampler=SamplerName.DDIM,
        sampler_steps=50,
        fixed_guidance=1.5,
    ),
    _of_paper(
        "ccua-10k-ddim100.v1",
        "CCUA, U-Net: 10,000 samples, DDIM of 100 steps, recall in InceptionV3 with k = 3.",
        "arXiv 2507.09052, code baff9de, eval.sh; guidance searched for every method (1.5 as the flag's default).",
        f"{_NO_OP} Samples are cut to 8 bits by truncation there, rounded here; its tail leaves out two classes.",
        samples=10_000,
        sampler=SamplerName.DDIM,
        sampler_steps=100,
        neighbours=3,
    ),
)

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        _DIGITS,
        _CIFAR,
        _fixed_budget(_DIGITS, 64_000, "64,000 (1,000 batches of 64)"),
        _fixed_budget(_CIFAR, 19_200_000, "19.2 million (150k x 128)"),
        _IMAGES,
        _IMAGENET,
        _OFFLINE,
        _DIGITS_SECOND,
        _CIFAR_SECOND,
        _second(
            _IMAGES,
            "Any image set: 50,000 samples, equally many a class, against unseen images.",
            guidance_samples=10_000,
            clip_x0=True,  # a short training saturates without
        ),
        _second(
            _IMAGENET,
            "ImageNet-LT: 50,000 samples, 50 a class, against the 20,000 validation images.",
            guidance_samples=10_000,
        ),
        _second(
            _OFFLINE,
            "Any RGB image set without a download, against images that nobody trained on.",
            guidance_samples=5000,
            clip_x0=True,
        ),
        _second(
            _OFFLINE.model_copy(update={"name": "offline-1k.v1"}),
            "A small RGB image set on a laptop: 1,000 samples, 25-step DDIM, against images that nobody trained on.",
            guidance_samples=500,
            clip_x0=True,
            samples=1000,
            sampler_steps=25,
            kid_subset_size=500,
        ),
        *(_with_recognition(base) for base in (_DIGITS_SECOND, _CIFAR_SECOND)),
        *_PAPERS,
        *(_in_dinov2(base) for base in (_CIFAR, _IMAGES)),
    )
}


def get_protocol(name: str) -> Protocol:
    """The published protocol called `name`; raises UnknownNameError with the closest name."""
    if name not in PROTOCOLS:
        raise UnknownNameError(f"unknown protocol {name!r}; {did_you_mean(name, PROTOCOLS)}")
    return PROTOCOLS[name]


def resolve_protocol(values: Mapping[str, Any]) -> dict[str, Any]:
    """Fill `values` (a name and overrides) from the published protocol; any difference adds `+custom` to the name."""
    published = get_protocol(_published_name(str(values["name"])))
    own = {"name": published.name, **{key: getattr(published, key) for key in _TEXTS}}
    # JSON and TOML have lists where a protocol has tuples: a run's own config.toml is no other protocol
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    merged = {**published.model_dump(), **given, **own}
    return merged if merged == published.model_dump() else {**merged, **_custom_texts(published.name)}


def _published_name(name: str) -> str:
    return name.removesuffix(_CUSTOM)


def _custom_texts(name: str) -> dict[str, str]:
    published = _published_name(name)
    return {"name": published + _CUSTOM, "summary": f"{published} with other settings."}
