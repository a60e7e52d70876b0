"""The bundled digits network."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import correlate
from sklearn.datasets import load_digits

from ltgen_bench.core.config import DatasetConfig
from ltgen_bench.core.errors import CheckpointError, ConfigError, DataError
from ltgen_bench.core.storage import sha256_file
from ltgen_bench.datasets import load_dataset
from ltgen_bench.features import extract_features, extractor_info, load_extractor, missing_weights
from ltgen_bench.features.networks import train_digits_cnn as training

ANYWHERE = Path("/nowhere")


@pytest.fixture(scope="module")
def extractor():
    return load_extractor("digits-cnn", weights_root=ANYWHERE)


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    return np.round(data.images * 255 / 16).astype(np.uint8)[:, None], data.target


def test_the_bundled_file_is_the_one_that_the_catalogue_states():
    info = extractor_info("digits-cnn")
    assert sha256_file(training.BUNDLED) == info.sha256
    assert training.BUNDLED.stat().st_size == info.size < 200_000
    assert missing_weights("digits-cnn", weights_root=ANYWHERE) is None


@pytest.mark.slow
def test_training_again_gives_the_bundled_weights():
    """Tolerance: what rounding differences between two processors may grow to; the same processor gives zero."""
    assert training.largest_difference(training.train_network()) <= training.TOLERANCE


def test_the_second_network_has_not_seen_what_no_training_set_contains():
    """It is the judge of protocols of version 2, whose reference these images are."""
    dataset = load_dataset(DatasetConfig(name="digits"), Path("data"))
    assert sorted(training.trainable_digits()) == sorted(dataset.train_indices())
    network = training.train_network(training.trainable_digits())
    assert training.largest_difference(network, training.BUNDLED_UNSEEN) <= training.TOLERANCE
    assert training.unseen_accuracy() == (593, 597)  # as the catalogue and `digits_cnn.py` say


def test_rounding_differences_do_not_grow_past_the_tolerance(monkeypatch):
    """A change of 1e-12 in the images, thousands of times a rounding error, stays far below the tolerance."""
    monkeypatch.setattr(training, "TRAINING_STEPS", 60)
    plain = training.rounded_state(training.train_network())
    scaled = training.scaled
    monkeypatch.setattr(training, "scaled", lambda images: scaled(images) * (1 + 1e-12))
    moved = training.rounded_state(training.train_network())
    assert max(float((plain[name] - moved[name]).abs().max()) for name in plain) < training.TOLERANCE / 10


def test_it_classifies_real_digits(extractor, digits):
    images, labels = digits
    result = extract_features(images, extractor)
    assert result.features.shape == (1797, 64)
    assert extractor.class_names == tuple("0123456789")
    np.testing.assert_allclose(result.probabilities.sum(1), 1, rtol=1e-6)
    assert (result.probabilities.argmax(1) == labels).mean() > 0.99  # they were its training set


def test_features_equal_a_network_written_with_scipy(extractor, digits):
    images = digits[0][:5]
    state = {name: value.double().numpy() for name, value in training.read_state(training.BUNDLED, name="").items()}

    def silu(x):
        return x / (1 + np.exp(-x))

    def convolution(x, name, stride=1):  # x (C, H, W)
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        planes = [correlate(padded, kernel, "valid")[0] for kernel in state[f"{name}.weight"]]
        return silu(np.stack(planes)[:, ::stride, ::stride] + state[f"{name}.bias"][:, None, None])

    for image, output, logits in zip(images, *extractor(torch.from_numpy(images)), strict=True):
        x = convolution(image / 127.5 - 1, "conv1")
        x = convolution(convolution(x, "conv2", 2), "conv3")
        features = silu(state["features.weight"] @ x.ravel() + state["features.bias"])
        np.testing.assert_allclose(output.numpy(), features, rtol=1e-6, atol=1e-7)  # one rounding to float32
        expected = state["classifier.weight"] @ features + state["classifier.bias"]
        np.testing.assert_allclose(logits.numpy(), expected, rtol=1e-6, atol=1e-6)


def test_batch_size_changes_no_bit(extractor, digits):
    images = digits[0][:300]
    wanted = extract_features(images, extractor, batch_size=300)
    for batch_size in (1, 7, 64, 100):
        result = extract_features(images, extractor, batch_size=batch_size)
        np.testing.assert_array_equal(result.features, wanted.features)
        np.testing.assert_array_equal(result.probabilities, wanted.probabilities)


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 1, 32, 32), (2, 1, 8, 9)])
def test_other_images_are_refused(extractor, shape):
    with pytest.raises(DataError, match=r"digits-cnn takes uint8 images of shape \(N, 1, 8, 8\); these have shape"):
        extract_features(np.zeros(shape, np.uint8), extractor)


def test_its_distance_is_not_called_fid(extractor):
    assert extractor.fid_label == "FD[digits-cnn]"


def test_another_precision_is_refused():
    with pytest.raises(ConfigError, match="digits-cnn has no precision 'bf16'; known: fp32"):
        load_extractor("digits-cnn", weights_root=ANYWHERE, precision="bf16")


def test_weights_of_another_network_are_refused(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "other.safetensors"
    save_file({"conv1.weight": torch.zeros(3, 3)}, path)
    with pytest.raises(CheckpointError, match=r"do not fit digits-cnn") as error:
        load_extractor("digits-cnn", weights=path, weights_root=ANYWHERE)
    assert "\n" not in str(error.value)


def test_the_script_writes_checks_and_reports(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training, "TRAINING_STEPS", 20)
    assert training.write_weights(["--out", str(tmp_path / "w.safetensors")]) == 0
    assert training.write_weights(["--check"]) == 1  # 20 steps are not 600
    assert "DIFFERENT" in capsys.readouterr().out
    monkeypatch.setattr(training, "BUNDLED", tmp_path / "w.safetensors")
    assert training.write_weights(["--check"]) == 0
    assert training.write_weights(["--holdout"]) == 0
    assert "held-out accuracy" in capsys.readouterr().out
    again = load_extractor("digits-cnn", weights=tmp_path / "w.safetensors", weights_root=ANYWHERE)
    assert again.fid_label == f"FD[digits-cnn@{again.weights_sha256[:8]}]"
