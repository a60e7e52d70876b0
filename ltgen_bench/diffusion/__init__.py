"""Diffusion: schedule, U-Net, guidance, samplers, per-sample noise, EMA. Knows no other part of the package."""

from ltgen_bench.diffusion.batch_invariance import BatchInvariant
from ltgen_bench.diffusion.classifier_network import ClassifierNetwork
from ltgen_bench.diffusion.ema import ExponentialMovingAverage
from ltgen_bench.diffusion.guidance import NO_LABEL, Guide, NoiseModel, guided_noise, noise_model
from ltgen_bench.diffusion.noise import NoiseSource, SampleNoise
from ltgen_bench.diffusion.samplers import (
    SAMPLERS,
    Sampler,
    sample_ddim,
    sample_ddpm,
    sample_dpm_solver_pp_2m,
    to_uint8,
)
from ltgen_bench.diffusion.schedule import DiffusionSchedule, linear_schedule
from ltgen_bench.diffusion.spacing import SPACINGS, Spacing, step_indices
from ltgen_bench.diffusion.unet import UNet, UNetOutput
from ltgen_bench.diffusion.unet_config import UNetConfig

__all__ = [
    "NO_LABEL",
    "SAMPLERS",
    "SPACINGS",
    "BatchInvariant",
    "ClassifierNetwork",
    "DiffusionSchedule",
    "ExponentialMovingAverage",
    "Guide",
    "NoiseModel",
    "NoiseSource",
    "SampleNoise",
    "Sampler",
    "Spacing",
    "UNet",
    "UNetConfig",
    "UNetOutput",
    "guided_noise",
    "linear_schedule",
    "noise_model",
    "sample_ddim",
    "sample_ddpm",
    "sample_dpm_solver_pp_2m",
    "step_indices",
    "to_uint8",
]
