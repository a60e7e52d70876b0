"""Protocols: everything that a published number depends on besides the model, in one frozen, versioned object.

The hash of the protocol stands in every record. Changing any field of a published protocol makes a new name
(`.v2`); a run that overrides a field gets `+custom` behind the name. Two protocols never share a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ltgen_bench.core.choices import SamplerName
from ltgen_bench.core.errors import UnknownNameError, did_you_mean
from ltgen_bench.core.storage import sha256_json

Count = Annotated[int, Field(gt=0, le=10_000_000)]


class Protocol(BaseModel):
    """One way to turn a trained model into numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(max_length=100)
    summary: str = Field("", max_length=500)
    # training: None leaves the number of images seen to the method's recipe, as the papers do
    training_images: Annotated[int, Field(gt=0)] | None = None
    # samples
    samples: Count = 50_000
    label_policy: Literal["uniform"] = "uniform"  # i.i.d. uniform over the classes, drawn from each sample's seed
    sampler: SamplerName = SamplerName.DDPM  # what our own runs use unless their recipe says more
    sampler_steps: Count = 1000
    clip_x0: bool = False
    # reference
    reference: Literal["data set"] = "data set"  # the balanced reference set that the data set names
    resize: Literal["none", "antialias"] = "none"  # of samples whose size is not the data set's
    # features
    extractor: str = Field("inception-v3-fid", max_length=100)  # FID, KID, IS, PRD
    manifold_extractor: str = Field("vgg16-fc2", max_length=100)  # precision, recall, density, coverage
    extractor_precision: Literal["fp32", "bf16"] = "fp32"
    # metrics
    neighbours: Count = 3
    prd_clusters_per_class: Count = 20
    prd_clustering: Literal["minibatch-kmeans"] = "minibatch-kmeans"
    prd_angles: Count = 1001
    prd_runs: Count = 10
    prd_beta: float = Field(8.0, gt=1, le=1e6)  # as in `MetricSettings`
    inception_score_splits: Count = 10
    kid_subsets: Count = 100
    kid_subset_size: Count = 1000
    metric_seed: Annotated[int, Field(ge=0)] = 0

    def hash(self) -> str:
        """Sha256 over every field but the summary, 16 hexadecimal digits; a field that is None says nothing."""
        return sha256_json(self.model_dump(mode="json", exclude={"summary"}, exclude_none=True))[:16]

    def extractors(self) -> tuple[str, ...]:
        """The names of the feature extractors it uses, each once."""
        return tuple(dict.fromkeys((self.extractor, self.manifold_extractor)))

    @property
    def is_custom(self) -> bool:
        """Whether a field was overridden: such a protocol belongs to one run and enters no shared table."""
        return self.name.endswith("+custom")


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="digits-1k.v1",
            summary="The embedded default: 1,000 digits of 8x8 px in the bundled digits network; no download.",
            samples=1000,
            sampler=SamplerName.DDIM,
            sampler_steps=25,
            clip_x0=True,
            extractor="digits-cnn",
            manifold_extractor="digits-cnn",
            kid_subset_size=500,
        ),
        Protocol(
            name="cifar-50k.v1",
            summary="CIFAR as in the papers: 50,000 samples against the 50,000 balanced training images.",
        ),
        Protocol(
            name="digits-1k-fixed-budget.v1",
            summary="digits-1k.v1 with the same number of images seen by every method: 64,000 (1,000 batches of 64).",
            training_images=64_000,
            samples=1000,
            sampler=SamplerName.DDIM,
            sampler_steps=25,
            clip_x0=True,
            extractor="digits-cnn",
            manifold_extractor="digits-cnn",
            kid_subset_size=500,
        ),
        Protocol(
            name="cifar-50k-fixed-budget.v1",
            summary="cifar-50k.v1 with the same number of images seen by every method: 19.2 million (150k x 128).",
            training_images=19_200_000,
        ),
        Protocol(
            name="images-50k.v1",
            summary="Any image set: 50,000 samples against the data set's reference images.",
        ),
        Protocol(
            name="imagenet-lt-50k.v1",
            summary="ImageNet-LT as in the CORAL paper: 50,000 samples against the 20,000 validation images; 2,000 PRD "
            "clusters, as its text says.",
            prd_clusters_per_class=2,  # 20 a class would be 20,000 clusters, as many as there are real images
        ),
        Protocol(
            name="offline-10k.v1",
            summary="Any RGB image set without a download: 10,000 samples, 50-step DDIM, EfficientNet-Lite0 features.",
            samples=10_000,
            sampler=SamplerName.DDIM,
            sampler_steps=50,
            extractor="efficientnet-lite0",
            manifold_extractor="efficientnet-lite0",
        ),
    )
}


def get_protocol(name: str) -> Protocol:
    """The published protocol called `name`; raises UnknownNameError with the closest name."""
    if name not in PROTOCOLS:
        raise UnknownNameError(f"unknown protocol {name!r}; {did_you_mean(name, PROTOCOLS)}")
    return PROTOCOLS[name]


def resolve_protocol(values: Mapping[str, Any]) -> dict[str, Any]:
    """Fill `values` (a name and overrides) from the published protocol; any difference adds `+custom` to the name."""
    published = get_protocol(str(values["name"]).removesuffix("+custom")).model_dump()
    merged = {**published, **values, "name": published["name"], "summary": published["summary"]}
    if merged != published:
        merged["name"] += "+custom"
        merged["summary"] = f"{published['name']} with other settings."
    return merged


def custom_protocol(protocol: Protocol, **changes: Any) -> Protocol:
    """`protocol` with other settings, under a name that says so."""
    base = protocol.name.removesuffix("+custom")
    return protocol.model_copy(update={**changes, "name": f"{base}+custom", "summary": f"{base} with other settings."})
