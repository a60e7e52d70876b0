"""Extraction, its cache and its batches, on a network small enough to know the answer."""

import errno
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ltgen_bench.core.errors import ConfigError, DataError
from ltgen_bench.features import ExtractorInfo, FeatureCache, extract_features, feature_key
from ltgen_bench.features import extract as extract_module
from ltgen_bench.features.base import Extractor, ExtractorOutput


class MeanExtractor(Extractor):
    """Mean and largest value of an image; logits are the features. Counts what it computed."""

    name = "mean"
    dim = 2
    info = ExtractorInfo("mean", "test", 2, 2, "-", "-", "-", None, None)
    compute_batch_cpu = 4

    def __init__(self, weights_sha256="a" * 64, **options):
        super().__init__(weights_sha256=weights_sha256, **options)
        self.computed = 0
        self.shapes = set()

    @classmethod
    def load(cls, weights, *, weights_sha256, device, precision):
        return cls(weights_sha256)

    def compute(self, images):
        self.computed += len(images)
        self.shapes.add(tuple(images.shape))
        flat = images.flatten(1).float()
        features = torch.stack([flat.mean(1), flat.amax(1)], 1)
        return ExtractorOutput(features, features)


def some_images(n=11, channels=3, size=5, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, channels, size, size), np.uint8)


def test_importing_features_imports_no_torch():
    code = (
        "import sys, pathlib, ltgen_bench.features as f\n"
        "f.missing_weights('inception-v3-fid', weights_root=pathlib.Path('/nowhere'))\n"
        "f.missing_weights('digits-cnn', weights_root=pathlib.Path('/nowhere'))\n"
        "f.extractor_info('vgg16-fc2'); f.EXTRACTORS.names()\n"
        "assert 'torch' not in sys.modules and 'torchvision' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 23), batch_size=st.integers(1, 30), channels=st.sampled_from([1, 3]))
def test_any_number_of_images_and_batch_size_gives_the_plain_answer(n, batch_size, channels):
    images = some_images(n, channels)
    extractor = MeanExtractor()
    result = extract_features(images, extractor, batch_size=batch_size)
    flat = images.reshape(n, -1).astype(np.float64)
    np.testing.assert_allclose(result.features, np.stack([flat.mean(1), flat.max(1)], 1), rtol=1e-6)
    exponent = np.exp(result.features.astype(np.float64) - result.features.max(1, keepdims=True))
    np.testing.assert_allclose(result.probabilities, exponent / exponent.sum(1, keepdims=True), rtol=1e-5, atol=1e-12)
    assert result.features.dtype == result.probabilities.dtype == np.float32
    assert extractor.shapes == {(4, channels, 5, 5)}  # the network sees one shape only


def test_progress_reaches_the_total_in_order():
    seen = []
    extract_features(
        some_images(11), MeanExtractor(), batch_size=4, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(4, 11), (8, 11), (11, 11)]


def test_a_read_only_memory_map_is_accepted(tmp_path):
    images = some_images(9)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    cache = FeatureCache(tmp_path / "cache")
    np.testing.assert_array_equal(
        extract_features(mapped, MeanExtractor(), cache=cache).features,
        extract_features(images, MeanExtractor()).features,
    )


def test_a_second_extraction_computes_nothing_and_gives_the_same(tmp_path):
    cache = FeatureCache(tmp_path)
    first = extract_features(some_images(), MeanExtractor(), cache=cache)
    again = MeanExtractor()
    second = extract_features(some_images(), again, cache=cache, batch_size=1)
    assert again.computed == 0
    np.testing.assert_array_equal(first.features, second.features)
    np.testing.assert_array_equal(first.probabilities, second.probabilities)


def test_a_killed_extraction_goes_on_from_its_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(extract_module, "CHUNK", 4)
    cache = FeatureCache(tmp_path)

    def stop_at_eight(done, total):
        if done == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_features(some_images(18), MeanExtractor(), batch_size=4, cache=cache, progress=stop_at_eight)
    assert [entry.images for entry in cache.entries()] == [4, 4]
    extractor, seen = MeanExtractor(), []
    result = extract_features(
        some_images(18), extractor, batch_size=4, cache=cache, progress=lambda done, _: seen.append(done)
    )
    assert extractor.computed == 12  # 10 images in three full batches
    assert seen == [4, 8, 12, 16, 18]
    np.testing.assert_array_equal(result.features, extract_features(some_images(18), MeanExtractor()).features)


def test_a_key_depends_on_content_and_on_everything_that_changes_features():
    images = some_images()
    keys = [feature_key(images, MeanExtractor())]
    changed = images.copy()
    changed[3, 1, 2, 2] ^= 1
    newer = MeanExtractor()
    newer.version = 2
    other = MeanExtractor()
    other.name = "other"
    keys += [
        feature_key(changed, MeanExtractor()),
        feature_key(images[::-1], MeanExtractor()),
        feature_key(images.reshape(11, 3, 25, 1), MeanExtractor()),
        feature_key(images, MeanExtractor("b" * 64)),
        feature_key(images, MeanExtractor(precision="bf16")),
        feature_key(images, newer),
        feature_key(images, other),
    ]
    assert len(set(keys)) == len(keys)
    assert feature_key(np.asfortranarray(images), MeanExtractor()) == keys[0]  # the layout in memory does not matter


def test_changed_weights_never_hit_an_old_entry(tmp_path):
    cache = FeatureCache(tmp_path)
    extract_features(some_images(), MeanExtractor("a" * 64), cache=cache)
    other = MeanExtractor("b" * 64)
    extract_features(some_images(), other, cache=cache)
    assert other.computed == 12
    assert len(cache.entries()) == 2


def test_two_files_of_one_name_share_nothing(tmp_path):
    cache = FeatureCache(tmp_path / "cache")
    results = []
    for folder, seed in (("a", 0), ("b", 1)):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "samples.npy", some_images(seed=seed))
        images = np.load(tmp_path / folder / "samples.npy")
        results.append(extract_features(images, MeanExtractor(), cache=cache).features)
    assert not np.array_equal(*results)
    assert len(cache.entries()) == 2


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "foreign", "moved"])
def test_a_damaged_entry_is_computed_again(tmp_path, damage):
    cache = FeatureCache(tmp_path)
    right = extract_features(some_images(), MeanExtractor(), cache=cache)
    (entry,) = cache.entries()
    data = bytearray(entry.path.read_bytes())
    if damage == "truncated":
        data = data[:-7]
    elif damage == "flipped":
        data[-1] ^= 1
    elif damage == "empty":
        data = bytearray()
    elif damage == "foreign":
        data = bytearray(b"<html>not found</html>")
    else:  # a whole entry under another entry's name
        cache.put("0" * 64, {"features": np.zeros((11, 2), np.float32)}, extractor="mean")
        data = bytearray((tmp_path / "00" / ("0" * 64 + ".safetensors")).read_bytes())
    entry.path.write_bytes(data)
    extractor = MeanExtractor()
    again = extract_features(some_images(), extractor, cache=cache)
    assert extractor.computed == 12
    np.testing.assert_array_equal(again.features, right.features)
    assert cache.get(feature_key(some_images(), extractor)) is not None  # repaired


def test_clear_frees_what_size_says_and_touches_nothing_else(tmp_path):
    cache = FeatureCache(tmp_path)
    extract_features(some_images(), MeanExtractor(), cache=cache)
    other = MeanExtractor()
    other.name = "other"
    extract_features(some_images(seed=1), other, cache=cache)
    (tmp_path / "notes.txt").write_text("mine")
    assert {entry.extractor for entry in cache.entries()} == {"mean", "other"}
    size = cache.size()
    assert size == sum(path.stat().st_size for path in tmp_path.glob("??/*"))
    freed = cache.clear(extractor="other")
    assert [entry.extractor for entry in cache.entries()] == ["mean"]
    (cache.entries()[0].path.parent / ".x-1.partial.safetensors").write_bytes(b"12345")
    assert freed + cache.clear() == size + 5
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    assert FeatureCache(tmp_path / "absent").size() == 0


@pytest.mark.parametrize("harm", ["file", "deleted", "full"])
def test_a_cache_that_cannot_be_written_says_so_once_and_stops_nothing(tmp_path, monkeypatch, harm):
    root, save = tmp_path / "cache", safetensors.numpy.save_file
    if harm == "file":
        root.write_text("in the way")

    def save_with_harm(*arguments):
        if harm == "deleted":
            shutil.rmtree(root)
        if harm == "full":
            raise OSError(errno.ENOSPC, "no space")
        save(*arguments)

    monkeypatch.setattr(safetensors.numpy, "save_file", save_with_harm)
    monkeypatch.setattr(extract_module, "CHUNK", 4)
    said = []
    result = extract_features(some_images(), MeanExtractor(), cache=FeatureCache(root, said.append))
    np.testing.assert_array_equal(result.features, extract_features(some_images(), MeanExtractor()).features)
    (line,) = said  # of three chunks
    assert line.startswith(f"features are not kept in {root}: ")
    assert "\n" not in line


def test_without_anybody_to_tell_a_cache_warns_as_python_does(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="features are not kept in .*file: cannot write"):
        extract_features(some_images(), MeanExtractor(), cache=FeatureCache(tmp_path / "file"))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 3, 4, 4), np.float32), "takes uint8 images of shape .N, 1 or 3, H, W.; these are float32"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"these have shape \(2, 4, 4, 3\)"),
        (np.zeros((3, 4, 4), np.uint8), r"these have shape \(3, 4, 4\)"),
        (np.zeros((0, 3, 4, 4), np.uint8), "no images"),
        (np.zeros((2, 3, 0, 4), np.uint8), "these have shape"),
    ],
)
def test_unsuitable_images_are_refused_in_one_line(images, message):
    with pytest.raises(DataError, match=message) as error:
        extract_features(images, MeanExtractor())
    assert "\n" not in str(error.value)


def test_a_batch_size_below_one_is_refused():
    with pytest.raises(ConfigError, match="batch_size must be at least 1, and is 0"):
        extract_features(some_images(), MeanExtractor(), batch_size=0)


def test_an_empty_batch_given_to_an_extractor_gives_no_rows():
    output = MeanExtractor()(torch.zeros(0, 3, 4, 4, dtype=torch.uint8))
    assert output.features.shape == (0, 2)


def test_extraction_leaves_the_precision_settings_of_the_process_alone():
    torch.set_float32_matmul_precision("medium")
    try:
        extract_features(some_images(), MeanExtractor())
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_memory_stays_bounded_for_a_memory_map(tmp_path):
    """Nothing but the results and one batch is allocated: 64 MiB of images, less than 16 MiB of Python memory."""
    import tracemalloc

    path: Path = tmp_path / "big.npy"
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(5_462, 3, 64, 64))
    images.flush()
    tracemalloc.start()
    extract_features(np.load(path, mmap_mode="r"), MeanExtractor(), cache=FeatureCache(tmp_path / "cache"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20
