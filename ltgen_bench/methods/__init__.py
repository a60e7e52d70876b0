"""The public door for methods: the common model interface, and everything that a plug-in needs.

    from ltgen_bench.methods import METHODS, DiffusionMethod, MethodConfig

`interface` says what any generative model offers; `diffusion` has the base class of diffusion methods.
"""

from ltgen_bench.core.config import ClassSampling, RunConfig
from ltgen_bench.core.distributed import gather_with_gradient
from ltgen_bench.datasets import ImageSet
from ltgen_bench.diffusion import NO_LABEL
from ltgen_bench.methods.adapters import add_low_rank_to_decoder, without_low_rank
from ltgen_bench.methods.batches import DiffusionBatch
from ltgen_bench.methods.checkpoints import load_parts, save_model
from ltgen_bench.methods.class_sampling import image_weights_by_class
from ltgen_bench.methods.classifier_training import fit_classifier
from ltgen_bench.methods.diffusion import DiffusionMethod
from ltgen_bench.methods.interface import METHODS, DataSpec, FitContext, Method, MethodConfig
from ltgen_bench.methods.joined import join
from ltgen_bench.methods.noise_classifier import ClassifierConfig, NoiseClassifier
from ltgen_bench.methods.parts import PartMethod, Passes
from ltgen_bench.methods.unet_sizes import unet_config

__all__ = [
    "METHODS",
    "NO_LABEL",
    "ClassSampling",
    "ClassifierConfig",
    "DataSpec",
    "DiffusionBatch",
    "DiffusionMethod",
    "FitContext",
    "ImageSet",
    "Method",
    "MethodConfig",
    "NoiseClassifier",
    "PartMethod",
    "Passes",
    "RunConfig",
    "add_low_rank_to_decoder",
    "fit_classifier",
    "gather_with_gradient",
    "image_weights_by_class",
    "join",
    "load_parts",
    "save_model",
    "unet_config",
    "without_low_rank",
]
