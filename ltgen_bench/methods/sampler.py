"""Drawing images from a diffusion method's network."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from ltgen_bench.core.choices import Conditioning, SamplerName
from ltgen_bench.core.devices import autocast, compile_network, graphs_step
from ltgen_bench.core.errors import SamplesError
from ltgen_bench.diffusion import (
    NO_LABEL,
    SAMPLERS,
    BatchInvariant,
    Guide,
    NoiseModel,
    SampleNoise,
    noise_model,
    to_uint8,
)
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
    free_scale = config.free_scale if config.classified else config.guidance_scale
    model = _tiled(method, free_scale)
    noise = SampleNoise(seeds, method.spec.image_shape, method.device)
    start = noise.initial()
    if method.device.type == "cuda" and method.run.execution.channels_last:
        start = start.contiguous(memory_format=torch.channels_last)
    if not config.labelled:
        labels = torch.full_like(labels, NO_LABEL)
    if config.conditioning is Conditioning.CLASSIFIER:
        model = _untold(model)
    with autocast(method.device, config.precision):
        images = sampler(
            model,
            start,
            labels.to(method.device),
            method.schedule,
            noise=noise,
            steps=config.steps,
            guidance_scale=free_scale,
            guide=_guide(method) if config.classified and config.guidance_scale else None,
            clip_x0=bool(config.clip_x0),
        )
    if not bool(torch.isfinite(images).all()):
        raise SamplesError(
            "the model draws images that are not finite: it has not been trained enough for this sampler; "
            "train longer, or try --set sampling.clip_x0=true"
        )
    return to_uint8(images)


def _tiled(method: DiffusionModel, guidance_scale: float) -> NoiseModel:
    """The network as samplers call it: in tiles of one shape, where that makes images independent or saves compiling.

    A CPU stays with the memory format of the weights: kernels of another one add in another order, and samples are
    promised to the last bit there.
    """
    network, execution = method.network, method.run.execution
    if method.device.type == "cpu":
        return BatchInvariant(noise_model(network), CPU_TILE)
    if execution.channels_last:
        network.to(memory_format=torch.channels_last)
    if not execution.compile:
        return noise_model(network)
    compile_network(network, execution.cuda_graphs)
    # the last batch is smaller: padded, it needs no network of its own
    rows = execution.sampling_batch_size * (1 if guidance_scale == 0 else 2)
    return BatchInvariant(_marked(noise_model(network), execution.cuda_graphs), rows)


def _guide(method: DiffusionModel) -> Guide:
    """What moves the noise by the classifier's gradient, in tiles of one shape on a CPU."""
    classifier, config = method.classifier, method.run.sampling
    scale = config.guidance_scale
    assert classifier is not None  # `runs.resolve` and `runs.trained_models` see to it
    assert scale is not None
    sigma = method.schedule.tables(method.device).sqrt_one_minus_alpha_bar

    def gradient(x: Tensor, t: Tensor, labels: Tensor, /) -> Tensor:
        return classifier.gradient(x, t, labels, config.classifier_prior)

    tiled = BatchInvariant(gradient, CPU_TILE) if method.device.type == "cpu" else gradient

    def guide(x: Tensor, t: Tensor, labels: Tensor, noise: Tensor, /) -> Tensor:
        shift = sigma[t][:, None, None, None] * tiled(x, t, labels)
        return torch.add(noise, shift, alpha=-scale)

    return guide


def _untold(model: NoiseModel) -> NoiseModel:
    """The same model, without the labels."""
    return lambda x, t, labels: model(x, t, torch.full_like(labels, NO_LABEL))


def _marked(model: NoiseModel, cuda_graphs: bool) -> NoiseModel:
    """The same; a call may then overwrite what the graph of an earlier one returned, so its result is a copy."""
    if not cuda_graphs:
        return model

    def predict(x: Tensor, t: Tensor, labels: Tensor, /) -> Tensor:
        graphs_step()
        return model(x, t, labels).clone()

    return predict
