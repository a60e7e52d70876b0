"""The GPU path without a GPU: tensors that are on `cuda` and hold nothing.

Under `FakeTensorMode` every operation checks shapes, types and devices, and whatever reads a value back to the host
raises: a tensor on the wrong device, and a synchronisation that would stall a GPU, are found here. Nothing is computed.
Generators and pinned memory need CUDA itself; draws are made without them. A method is rehearsed by being registered.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up_networks import made_up_inception
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from ltgen_bench.core.choices import SamplerName
from ltgen_bench.diffusion import SAMPLERS, ExponentialMovingAverage, noise_model
from ltgen_bench.features import Extractor, load_extractor
from ltgen_bench.features.networks.dinov2 import DINOv2Extractor, DINOv2LargeExtractor, VisionTransformer
from ltgen_bench.features.networks.inception import InceptionV3Extractor
from ltgen_bench.methods import METHODS, NO_LABEL, DiffusionBatch, DiffusionMethod
from ltgen_bench.methods.finiteness import Finiteness
from ltgen_bench.metrics.numerics.distances import Frame, PreparedRows, squared_distance_tile
from ltgen_bench.metrics.numerics.minibatch_kmeans import nearest_centres
from ltgen_bench.metrics.numerics.neighbours import SmallestSoFar
from ltgen_bench.runs.resolve import resolve

CUDA = torch.device("cuda", 0)
BATCH = 8
NAMES = [name for name in METHODS.names() if issubclass(METHODS.get(name), DiffusionMethod)]
SMALL = {"network": {"base_channels": 8, "norm_groups": 4}, "protocol": {"name": "digits-1k.v1"}}


class _Draws(DiffusionBatch):
    """A batch whose own draws need no generator."""

    def uniform(self, purpose: str) -> Tensor:
        return torch.rand(self.whole_size or len(self.x0), device=self.x0.device)


@contextlib.contextmanager
def rehearsal() -> Iterator[FakeTensorMode]:
    with pytest.MonkeyPatch.context() as patch, FakeTensorMode(allow_non_fake_inputs=True) as mode:
        # autocast asks whether there is a GPU, and switches itself off
        patch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
        patch.setattr("torch.cuda.is_bf16_supported", lambda *a, **k: True)
        yield mode


def made(mode: FakeTensorMode, name: str, **layers: dict) -> DiffusionMethod:
    """An untrained method, moved to the pretended GPU by its own `to`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Module, "to", lambda module, device: move(mode, module))
        method = resolve({**SMALL, "method": {"name": name}, **layers}, Path("data")).make_method()
        method.to(CUDA)
    assert isinstance(method, DiffusionMethod)
    return method


def move(mode: FakeTensorMode, module: nn.Module) -> nn.Module:
    """In place of `Module.to`, which swaps tensors where pretended ones cannot be: put new ones in their places."""
    for part in module.modules():
        for name, parameter in list(part._parameters.items()):
            if parameter is not None:
                part._parameters[name] = nn.Parameter(mode.from_tensor(parameter.data).to(CUDA))
        for name, buffer in list(part._buffers.items()):
            if buffer is not None:
                part._buffers[name] = mode.from_tensor(buffer).to(CUDA)
    return module


def batch(method: DiffusionMethod) -> DiffusionBatch:
    shape = (BATCH, *method.spec.image_shape)
    x0, noise = torch.rand(shape, device=CUDA), torch.rand(shape, device=CUDA)
    t = torch.zeros(BATCH, dtype=torch.int64, device=CUDA)
    labels = torch.zeros(BATCH, dtype=torch.int64, device=CUDA)
    conditioning = torch.where(torch.rand(BATCH, device=CUDA) < 0.1, NO_LABEL, labels)
    return _Draws(x0, noise, t, x0 + noise, labels, conditioning, step=0, seed=0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", NAMES)
def test_losses_stay_on_the_device_and_read_nothing_back(
    name: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rehearsal() as mode:
        method = made(mode, name)
        if name == "tiw-unconditional":  # the pretended device has no engine for the gradient inside its loss
            monkeypatch.setattr(torch.autograd, "grad", lambda value, x: (torch.zeros_like(x) * value,))
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
            losses = method.losses(batch(method))
        assert losses
        for key, loss in losses.items():
            assert (loss.shape, loss.device, loss.dtype) == ((), CUDA, torch.float32), key


class _Noise:
    """In place of the host's noise: the same shapes on the device."""

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape

    def step(self, *arguments: object) -> Tensor:
        return torch.rand(self.shape, device=CUDA)


def test_a_value_that_is_read_back_is_found() -> None:
    with rehearsal(), pytest.raises(DataDependentOutputException):
        torch.rand(3, device=CUDA).sum().item()


def test_a_tensor_on_the_wrong_device_is_found() -> None:
    with rehearsal(), pytest.raises(RuntimeError, match="device"):
        torch.rand(3, device=CUDA) + torch.rand(3)


@pytest.mark.parametrize("scale", [0.0, 1.5])
@pytest.mark.parametrize("sampler", list(SamplerName))
def test_sampling_stays_on_the_device_and_reads_nothing_back(sampler: SamplerName, scale: float) -> None:
    with rehearsal() as mode:
        method = made(mode, "ddpm")
        method.network.eval()
        shape = (BATCH, *method.spec.image_shape)
        labels = torch.zeros(BATCH, dtype=torch.int64, device=CUDA)
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
            images = SAMPLERS[sampler](
                noise_model(method.network),
                torch.rand(shape, device=CUDA),
                labels,
                method.schedule,
                noise=_Noise(shape),
                steps=3,
                guidance_scale=scale,
                clip_x0=True,
            )
        assert (images.shape, images.device) == (shape, CUDA)


def test_clipping_the_step_and_the_average_read_nothing_back() -> None:
    """What follows the backward pass, which pretended tensors cannot run."""
    with rehearsal() as mode:
        network = made(mode, "ddpm").network
        parameters = list(network.parameters())
        for parameter in parameters:
            parameter.grad = torch.rand_like(parameter)
        average = ExponentialMovingAverage.of(network, 0.999)
        finiteness = Finiteness(CUDA)
        norm = nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        finite = finiteness.count(0, norm, {"loss": torch.rand((), device=CUDA)})
        optimizer = torch.optim.Adam(parameters, fused=True)
        optimizer.found_inf, optimizer.grad_scale = (~finite).float(), None  # type: ignore[attr-defined]
        optimizer.step()
        average.update(0)
        assert finite.device == CUDA


def networks() -> dict[str, Extractor]:
    """Every feature network, with made-up weights where the real ones are a download."""
    made_up = {"weights_sha256": "0" * 64}
    return {
        "digits-cnn": load_extractor("digits-cnn", weights_root=Path("/nowhere/weights")),
        "efficientnet-lite0": load_extractor("efficientnet-lite0", weights_root=Path("/nowhere/weights")),
        "inception-v3-fid": InceptionV3Extractor(made_up_inception().state_dict(), **made_up),
        "dinov2-vit-b-14": DINOv2Extractor(VisionTransformer().state_dict(), **made_up),
        "dinov2-vit-l-14": DINOv2LargeExtractor(
            VisionTransformer(**DINOv2LargeExtractor.shape).state_dict(), **made_up
        ),
    }


def carry(mode: FakeTensorMode, owner: object) -> None:
    """Move what an extractor, or a helper in it, holds: networks, tensors, and the name of the device."""
    for key, value in list(vars(owner).items()):
        if isinstance(value, nn.Module):
            move(mode, value)
        elif isinstance(value, Tensor):
            setattr(owner, key, mode.from_tensor(value).to(CUDA))
        elif isinstance(value, torch.device):
            setattr(owner, key, CUDA)
        elif type(value).__module__.startswith("ltgen_bench.features.networks"):
            carry(mode, value)


@pytest.mark.parametrize(
    "name", ["digits-cnn", "efficientnet-lite0", "inception-v3-fid", "dinov2-vit-b-14", "dinov2-vit-l-14"]
)
def test_extraction_stays_on_the_device_and_reads_nothing_back(name: str) -> None:
    extractor = networks()[name]
    size = extractor.image_size or 32
    with rehearsal() as mode:
        carry(mode, extractor)
        channels = extractor.image_channels[0]
        images = torch.zeros(3, channels, size, size, dtype=torch.uint8, device=CUDA)
        features, logits = extractor(images)
    assert (features.shape, features.device, features.dtype) == ((3, extractor.dim), CUDA, torch.float32)
    assert logits is None or logits.device == CUDA


def test_a_tile_of_distances_and_its_neighbours_read_nothing_back() -> None:
    with rehearsal():
        rows, norms = torch.rand(32, 8, device=CUDA), torch.rand(32, device=CUDA)
        points = np.zeros((32, 8), np.float32)
        prepared = PreparedRows(points, rows, norms, Frame(np.zeros(8), 0), 1e-6)
        smallest = SmallestSoFar(32, 5, norms)
        for first in (0, 16):
            tile = squared_distance_tile(prepared, prepared, slice(0, 32), slice(first, first + 16), shrink=1e-6)
            smallest.add(slice(0, 32), tile, first)
        assert smallest.values.device == smallest.indices.device == CUDA


def test_rows_find_their_centres_without_reading_back() -> None:
    """Of PRD's clusters; only what scikit-learn's rules need of a batch, its inertia and counts, goes to the host."""
    with rehearsal():
        which, smallest = nearest_centres(torch.rand(32, 8, device=CUDA), torch.rand(5, 8, device=CUDA))
        assert which.device == smallest.device == CUDA
