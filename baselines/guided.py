"""DDPM that a classifier of noisy images guides (Dhariwal and Nichol 2021), for long tails."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from baselines.ddpm import DDPM
from baselines.variants import VariantConfig
from ltgen_bench.methods import (
    ClassifierConfig,
    ClassSampling,
    DataSpec,
    FitContext,
    ImageSet,
    MethodConfig,
    NoiseClassifier,
    RunConfig,
    fit_classifier,
    load_parts,
    save_model,
)


class GuidedConfig(VariantConfig):
    """The classifier's keys."""

    classifier: ClassifierConfig = ClassifierConfig()
    """Sizes and training of the classifier of noisy images."""


class BalancedClassifierConfig(ClassifierConfig):
    """Of a classifier that sees every class equally often."""

    class_sampling: ClassSampling = "balanced"
    """How often each class is drawn, as training.class_sampling says: natural, balanced, exponent:q or tail:f."""


class BalancedGuidedConfig(VariantConfig):
    """The same, of a classifier that sees every class equally often."""

    classifier: BalancedClassifierConfig = BalancedClassifierConfig()
    """Sizes and training of the classifier of noisy images."""


class ClassifierGuided(DDPM):
    """DDPM guided by a classifier of noisy images, trained on the data as they are.

    After DDPM, log p(y | x_t) is trained; sampling moves the noise by -s sqrt(1 - ab_t) grad log p(y | x_t) (DDIM), or
    the mean by beta_t s grad (ancestral). s is `sampling.guidance_scale`. The network is told the class as well, unless
    `sampling.conditioning` is classifier; `sampling.free_scale` adds classifier-free guidance.

    A classifier trained on a long tail favours the frequent classes: `sampling.classifier_prior=uniform` divides their
    shares out, `ddpm-cg-balanced` trains it on balanced draws.
    """

    title = "DDPM, classifier guidance"
    fidelity = "from the paper"
    paper = "Dhariwal and Nichol, Diffusion Models Beat GANs on Image Synthesis, NeurIPS 2021"
    Config: ClassVar[type[MethodConfig]] = GuidedConfig
    brings_classifier = True
    classifier: NoiseClassifier

    def __init__(self, spec: DataSpec, run: RunConfig):
        super().__init__(spec, run)
        self.classifier = NoiseClassifier(spec, run, self.config.classifier)

    @classmethod
    def implied(cls, config: Any) -> dict[str, Any]:
        """Guidance is the classifier's."""
        return {**super().implied(config), "sampling": {"guidance": "classifier"}}

    def fit(self, train_set: ImageSet, context: FitContext) -> None:
        """Train the network, then the classifier."""
        super().fit(train_set, context)
        self.classifier = fit_classifier(self.spec, self.run, self.config.classifier, train_set, context)

    def save(self, path: Path) -> None:
        """Write the weights of both."""
        own = {f"classifier.{name}": value for name, value in self.classifier.network.state_dict().items()}
        save_model(path, {**self.network.state_dict(), **own}, self.identity())

    def load(self, path: Path) -> None:
        """Read the weights of both; raises CheckpointError for those of other networks."""
        load_parts(path, {"": self.network, "classifier.": self.classifier.network}, self.identity())

    def identity(self) -> dict[str, Any]:
        """What the weights belong to: the classifier's sizes as well."""
        return {**super().identity(), "classifier": self.classifier.identity()}


class BalancedClassifierGuided(ClassifierGuided):
    """DDPM guided by a classifier of noisy images that sees every class equally often."""

    title = "DDPM, class-balanced classifier guidance"
    Config: ClassVar[type[MethodConfig]] = BalancedGuidedConfig
