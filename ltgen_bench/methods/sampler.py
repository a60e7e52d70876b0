"""Drawing images from a diffusion method's network."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from ltgen_bench.core.choices import SamplerName
from ltgen_bench.core.devices import autocast
from ltgen_bench.core.errors import SamplesError
from ltgen_bench.diffusion import NO_LABEL, SAMPLERS, BatchInvariant, SampleNoise, noise_model, to_uint8
from ltgen_bench.methods.model import DiffusionModel

# Rows of one network call on the CPU. Kernels are chosen by shape, so calls of one fixed shape make every image
# independent of the batch it is drawn in. GPUs get whole batches: there small calls would cost too much.
CPU_TILE = 32


def sample_diffusion(method: DiffusionModel, labels: Tensor, seeds: Sequence[int]) -> Tensor:
    """Draw images from a diffusion method's network: labels int64 (B,), B seeds -> uint8 (B, C, H, W) on the device."""
    config = method.run.sampling
    assert config.sampler is not None  # filled by `runs.resolve`
    assert config.guidance_scale is not None  # filled by the run's stages
    sampler = SAMPLERS[config.sampler]
    if config.sampler is SamplerName.DDIM:
        sampler = functools.partial(sampler, eta=config.eta)  # type: ignore[call-arg]
    method.network.eval()
    model = noise_model(method.network)
    if method.device.type == "cpu":
        model = BatchInvariant(model, CPU_TILE)
    noise = SampleNoise(seeds, method.spec.image_shape, method.device)
    if not config.labelled:
        labels = torch.full_like(labels, NO_LABEL)
    with autocast(method.device, config.precision):
        images = sampler(
            model,
            noise.initial(),
            labels.to(method.device),
            method.schedule,
            noise=noise,
            steps=config.steps,
            guidance_scale=config.guidance_scale,
            clip_x0=bool(config.clip_x0),
        )
    if not bool(torch.isfinite(images).all()):
        raise SamplesError(
            "the model draws images that are not finite: it has not been trained enough for this sampler; "
            "train longer, or try --set sampling.clip_x0=true"
        )
    return to_uint8(images)
