"""The U-Net's size, initialisation, labels and gradients."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from unet_sizes import unet_of

from ltgen_bench.core.errors import ConfigError
from ltgen_bench.diffusion import UNet, UNetConfig, noise_model


def tiny(seed: int = 0, **changes: object) -> UNet:
    return UNet(replace(unet_of("tiny8", 1, 8, 10), **changes), seed)


def awake(network: UNet, seed: int = 1) -> UNet:
    """The network with noise on every weight: the initial one is nearly blind, as its branches start at zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return network.eval()


def batch(rows: int, seed: int = 2, channels: int = 1, size: int = 8) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn((rows, channels, size, size), generator=generator)
    return (
        x,
        torch.randint(0, 1000, (rows,), generator=generator),
        torch.randint(0, 10, (rows,), generator=generator),
    )


@pytest.mark.parametrize(("classes", "count"), [(10, 35_751_427), (100, 35_797_507)])
def test_parameter_count_is_the_references(classes, count):
    network = UNet(unet_of("cifar32", 3, 32, classes))
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == count
    assert network.config.bottleneck_channels == 256
    assert network.config.embedding_channels == 512


def conv(inputs, outputs, kernel):
    return inputs * outputs * kernel**2 + outputs


def linear(inputs, outputs):
    return inputs * outputs + outputs


def count_by_hand(config: UNetConfig) -> int:
    """Parameters from the description alone."""
    E, base = config.embedding_channels, config.base_channels
    widths = [base * m for m in config.channel_multipliers]

    def block(inputs, outputs, attention):
        total = 2 * inputs + conv(inputs, outputs, 3) + linear(E, outputs) + 2 * outputs + conv(outputs, outputs, 3)
        total += conv(inputs, outputs, 1) if inputs != outputs else 0
        return total + (2 * outputs + 4 * conv(outputs, outputs, 1) if attention else 0)

    total = linear(base, E) + linear(E, E) + config.class_count * E + conv(config.image_channels, base, 3)
    skips, now = [base], base
    for level, width in enumerate(widths):
        for _ in range(config.residual_blocks):
            total += block(now, width, level in config.attention_levels)
            now = width
            skips.append(now)
        if level < len(widths) - 1:
            total += conv(now, now, 3)
            skips.append(now)
    total += block(now, now, True) + block(now, now, False)
    for level in reversed(range(len(widths))):
        for _ in range(config.residual_blocks + 1):
            total += block(now + skips.pop(), widths[level], level in config.attention_levels)
            now = widths[level]
        total += conv(now, now, 3) if level else 0
    assert not skips
    return total + 2 * now + conv(now, config.image_channels, 3)


@pytest.mark.parametrize("preset", [("cifar32", 3, 32, 10), ("image64", 3, 64, 1000), ("tiny8", 1, 8, 10)])
def test_parameter_count_by_hand(preset):
    config = unet_of(*preset)
    assert sum(p.numel() for p in UNet(config).parameters()) == count_by_hand(config)


@pytest.mark.parametrize("size", [8, 16])
def test_shapes(size):
    network = tiny(image_size=size, image_channels=3)
    x, t, labels = batch(3, channels=3, size=size)
    noise, bottleneck, middle = network(x, t, labels)
    assert noise.shape == x.shape
    assert bottleneck.shape == (3, 64)
    torch.testing.assert_close(middle.mean(dim=(2, 3)), bottleneck)
    assert noise.dtype == bottleneck.dtype == torch.float32
    assert torch.equal(noise_model(network.eval())(x, t, labels), network(x, t, labels).noise)


def test_64_pixel_network_runs_narrow():
    config = replace(unet_of("image64", 3, 64, 5), base_channels=8, norm_groups=4)
    x, t, labels = batch(1, channels=3, size=64)
    noise, bottleneck, _ = UNet(config)(x, t, labels % 5)
    assert noise.shape == (1, 3, 64, 64)
    assert bottleneck.shape == (1, 16)


def test_bottleneck_is_the_pooled_middle():
    network = awake(tiny())
    seen = []
    network.middle[-1].register_forward_hook(lambda module, args, output: seen.append(output.detach()))
    bottleneck = network(*batch(4)).bottleneck.detach()
    assert seen[0].shape == (4, 64, 4, 4)
    np.testing.assert_allclose(bottleneck.numpy(), seen[0].double().numpy().mean(axis=(2, 3)), atol=1e-6)


def test_attention_equals_its_definition():
    layer = awake(tiny()).middle[0].attention
    x = torch.randn((2, 64, 4, 4), generator=torch.Generator().manual_seed(0))
    normed = layer.norm(x).detach().double().flatten(2)  # (B, C, pixels)

    def project(conv_layer, values):
        weight = conv_layer.weight.detach().double()[:, :, 0, 0]
        return torch.einsum("oc,bcp->bop", weight, values) + conv_layer.bias.detach().double()[:, None]

    q, k, v = (project(part, normed) for part in (layer.query, layer.key, layer.value))
    weights = (torch.einsum("bcp,bcq->bpq", q, k) / math.sqrt(64)).softmax(-1)
    expected = x.double() + project(layer.projection, torch.einsum("bpq,bcq->bcp", weights, v)).reshape(x.shape)
    # float32 sums of 64 products of order 1
    np.testing.assert_allclose(layer(x).detach().numpy(), expected.numpy(), atol=2e-5)


def test_initialisation_follows_the_facts():
    network = UNet(unet_of("cifar32", 3, 32, 10), 3)
    parameters = dict(network.named_parameters())
    near_zero = 0
    for name, value in parameters.items():
        if name.endswith("bias"):
            assert not value.any(), name
        elif value.ndim in (2, 4) and name != "class_embedding.weight":
            area = value[0, 0].numel()
            bound = math.sqrt(6 / (area * (value.shape[0] + value.shape[1])))
            ends = name.endswith("conv2.weight") or name == "tail.2.weight"
            near_zero += ends
            bound *= 1e-5 if ends else 1.0
            assert value.abs().max() <= bound * (1 + 1e-6), name
            # the standard deviation of U(-b, b) is b / sqrt(3); 6 standard errors for the smallest layer
            assert value.std().item() == pytest.approx(bound / math.sqrt(3), rel=6 / math.sqrt(value.numel())), name
    # 22 blocks (8 down, 2 middle, 12 up), the tail
    assert near_zero == 22 + 1
    # as measured in the authors' networks at 256 channels
    projections = [value for name, value in parameters.items() if name.endswith("projection.weight")]
    assert len(projections) == 6
    assert all(value.std().item() == pytest.approx(0.0625, abs=5e-4) for value in projections if len(value) == 256)
    assert parameters["class_embedding.weight"].std().item() == pytest.approx(1.0, abs=0.06)


def test_initialisation_depends_on_its_seed_only():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = tiny(7).state_dict()
    torch.manual_seed(1)
    second = tiny(7).state_dict()
    third = UNet(unet_of("tiny8", 1, 8, 10), torch.Generator().manual_seed(7)).state_dict()
    other = tiny(8).state_dict()
    assert all(torch.equal(first[name], second[name]) and torch.equal(first[name], third[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])
    assert "time_table" not in first
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), before)


def test_time_table_is_sinusoidal():
    table = tiny().time_table
    assert table.shape == (1000, 32)
    for t, i in ((0, 0), (1, 0), (999, 5), (500, 15)):
        frequency = 10_000 ** (-2 * i / 32)
        assert table[t, 2 * i].item() == pytest.approx(math.sin(t * frequency), abs=1e-6)
        assert table[t, 2 * i + 1].item() == pytest.approx(math.cos(t * frequency), abs=1e-6)


def test_no_label_adds_nothing():
    network = awake(tiny())
    x, t, _ = batch(6)
    absent = network(x, t, torch.full((6,), -1)).noise.detach()
    assert torch.equal(
        network.embed(t, torch.full((6,), -1)).detach(), network.time_embedding(network.time_table[t]).detach()
    )
    with torch.no_grad():
        network.class_embedding.weight.zero_()
    zero = network(x, t, torch.arange(6)).noise.detach()
    assert torch.equal(absent, zero)


def test_label_and_time_matter():
    network = awake(tiny())
    x, t, labels = batch(6)
    noise = network(x, t, labels).noise
    assert (network(x, t, (labels + 1) % 10).noise - noise).abs().amax((1, 2, 3)).min() > 1e-3
    assert (network(x, (t + 300) % 1000, labels).noise - noise).abs().amax((1, 2, 3)).min() > 1e-3


@pytest.mark.parametrize("unlabelled", [False, True])
def test_every_parameter_is_used(unlabelled):
    network = tiny()
    x, t, labels = batch(4)
    labels = torch.full_like(labels, -1) if unlabelled else labels
    network(x, t, labels).noise.square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        # The gradient of a key's bias is zero by the softmax's invariance; without labels that of the classes is too.
        if name.endswith("key.bias") or (unlabelled and name == "class_embedding.weight"):
            continue
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_dropout_only_in_training():
    network = awake(tiny())
    inputs = batch(4)
    assert torch.equal(network(*inputs).noise, network(*inputs).noise)
    network.train()
    torch.manual_seed(0)
    assert not torch.equal(network(*inputs).noise, network(*inputs).noise)


def test_bf16_and_channels_last_agree_with_fp32():
    network = awake(tiny())
    inputs = batch(8)
    with torch.no_grad():
        full = network(*inputs)
        with torch.autocast("cpu", torch.bfloat16):
            half = network(*inputs)
        last = network.to(memory_format=torch.channels_last)(*inputs)
    assert half.noise.dtype == half.bottleneck.dtype == torch.float32
    # bf16 keeps 8 bits: an error of some 2^-8 a layer, about twenty layers deep, relative to the output's size
    assert ((half.noise - full.noise).norm() / full.noise.norm()).item() < 0.05
    np.testing.assert_allclose(last.noise.numpy(), full.noise.numpy(), atol=1e-4 * full.noise.abs().max().item())


def test_compiles_as_one_graph():
    network = awake(tiny())
    inputs = batch(4)
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    assert torch.equal(compiled(*inputs).noise, network(*inputs).noise)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 9}, "image_size = 9; 2 levels need a multiple of 2"),
        ({"class_count": 0}, "class_count = 0; it must be at least 1"),
        ({"attention_levels": (2,)}, "the levels are 0 to 1"),
        ({"base_channels": 20}, "multiple of norm_groups = 8"),
        ({"dropout": 1.0}, "dropout = 1.0"),
        ({"channel_multipliers": ()}, "channel_multipliers"),
    ],
)
def test_impossible_sizes_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        replace(unet_of("tiny8", 1, 8, 10), **changes)


def test_wrong_images_are_named():
    with pytest.raises(ConfigError, match=r"\(3, 8, 8\); this U-Net takes \(C, H, W\) = \(1, 8, 8\)"):
        tiny()(*batch(2, channels=3))
