"""Checks of plug-ins: ours pass them, and each broken promise is found by the check that names it, and no other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from baselines_support import METHOD_NAMES
from conftest import Cli, refused

from ltgen_bench.datasets import IMAGE_FOLDERS, dataset_names
from ltgen_bench.features import EXTRACTORS
from ltgen_bench.methods import METHODS
from ltgen_bench.testing import (
    CheckResult,
    assert_passed,
    check_dataset,
    check_extractor,
    check_method,
    check_methods,
    check_plugin,
)

HERE = Path(__file__).parent
FAULTS = {  # method: (the check that finds it, what it says)
    "global-generator": ("an image depends on its own label and seed only", r"drawn again: .* seeded by `seeds`"),
    "batch-statistics": ("an image depends on its own label and seed only", r"each is drawn alone"),
    "constant": ("another seed gives another image", r"with different seeds are equal"),
    "floats": ("sample gives uint8 images (B, C, H, W)", r"returned torch.float32 \(1, 1, 8, 8\)"),
    "forgets": ("a saved and loaded model draws the same images", r"differ by up to \d of 255"),
    "unpickles": ("load executes nothing in the file", r"weights_only=True"),
    "detached-term": ("each loss is a finite scalar tensor with a gradient", r"'own' has no gradient"),
    "infinite": ("each loss is a finite scalar tensor with a gradient", r"'diffusion' is inf"),
    "unused-head": ("every trainable parameter is reached by a gradient", r"extra.head.weight, extra.head.bias: use"),
    "hidden-module": ("every trainable parameter is reached by a gradient", r"self.head is not trained or saved"),
    "position": ("the order of the images in a batch does not matter", r"with the images of the batch in another ord"),
    "sum": ("the halves of a batch give the loss of the whole", r"average over images"),
    "counter": ("a resumed training equals an unbroken one", r"tensors differ"),
    "ungathered": ("two processes train what one process trains", r"gather_with_gradient"),
    "fit": ("fit trains it", r"faulty_methods.py, line \d+, class Fit: fit failed: KeyError: 'epochs'"),
    "constructor": ("it can be built from its defaults", r"class Constructor: the constructor failed: AttributeError"),
}
# What follows from a fault: who weighs by position, sums, or counts is found by other checks too.
CONSEQUENCES = {
    "position": {"the halves of a batch give the loss of the whole", "two processes train what one process trains"},
    "sum": {"two processes train what one process trains"},
    "counter": {"the order of the images in a batch does not matter", "the halves of a batch give the loss of the whole"},  # noqa: E501
    "global-generator": {"a saved and loaded model draws the same images"},
}  # fmt: skip


@pytest.fixture(scope="module")
def faulty() -> Iterator[list[CheckResult]]:
    """The results for the file of faults."""
    results = check_plugin(HERE / "faulty_methods.py")
    yield results
    for name in [name for name in METHODS.names() if name.startswith("faulty-")]:
        METHODS._entries.pop(name)


def failures(results: list[CheckResult]) -> dict[str, str]:
    return {each.check: each.why for each in results if each.outcome == "failed"}


@pytest.mark.parametrize("name", FAULTS)
def test_each_broken_promise_is_found(name: str, faulty: list[CheckResult]) -> None:
    check, message = FAULTS[name]
    failed = {
        each.check: each for each in faulty if each.subject == f"method faulty-{name}" and each.outcome == "failed"
    }
    assert set(failed) - CONSEQUENCES.get(name, set()) == {check}
    assert re.search(message, failed[check].why), failed[check].why
    assert "\n" not in failed[check].why
    assert failed[check].traceback


def test_nothing_is_checked_after_what_everything_needs(faulty: list[CheckResult]) -> None:
    rest = [each for each in faulty if each.subject == "method faulty-floats"]
    after = rest[[each.outcome for each in rest].index("failed") + 1 :]
    assert {(each.outcome, each.why) for each in after} == {
        ("skipped", "needs 'sample gives uint8 images (B, C, H, W)'")
    }


def test_our_methods_pass() -> None:
    results = check_methods(METHOD_NAMES)
    assert_passed(results)
    skipped = {(each.subject, each.check) for each in results if each.outcome == "skipped"}
    halves = "the halves of a batch give the loss of the whole"
    in_batch = ("coral", "ambient-contrastive", "ccua")
    assert skipped == {(f"method {name}", halves) for name in in_batch}
    recipes = [each.check for each in results if each.subject == "method cbdm" and "recipe" in each.check]
    assert len(recipes) == 9


@pytest.mark.parametrize("name", sorted(set(dataset_names()) - set(IMAGE_FOLDERS)))
def test_our_data_sets_pass(name: str, tmp_path: Path) -> None:
    """Without files; those that are made from a download are checked with some where they are prepared."""
    results = check_dataset(name, data_root=tmp_path)
    assert_passed(results)
    assert any(each.outcome == "skipped" for each in results) is not name.startswith("digits")


@pytest.mark.parametrize("name", EXTRACTORS.names())
def test_our_extractors_pass(name: str, tmp_path: Path) -> None:
    """Three of them without weights; those are checked with random ones in `tests/features/test_networks.py`."""
    assert_passed(check_extractor(name, data_root=tmp_path))


DATASET = """
import numpy as np
from ltgen_bench.datasets import DATASETS, Dataset, Groups, ImageSet, ReferenceInfo


@DATASETS.register("NAME")
class Squares(Dataset):
    title, licence, citation = "Squares", "CC0", "none"
    class_names, class_counts = ("dark", "bright"), (30, 3)
    groups = Groups((0,), (), (1,), "by hand")
    reference = ReferenceInfo("squares-reference", (5, 5), "drawn like the training images")
    horizontal_flip, default_protocol = True, "digits-1k.v1"
    image_shape = (1, 8, 8)

    def __init__(self, options, data_root):
        self.name = "squares"

    def images(self, counts, seed):
        labels = np.repeat([0, 1], counts)
        noise = np.random.default_rng(seed).integers(0, 100, (len(labels), 1, 8, 8))
        return ImageSet((noise + 100 * labels[:, None, None, None]).astype(np.uint8), labels)

    def load_train(self):
        train = self.images((30, 3), 1)
        return np.arange(len(train)), train

    def load_reference(self):
        return self.images((5, 5), 2)

    def load_held_out(self):
        return self.images((2, 2), 3)
"""


@pytest.mark.parametrize(
    ("old", "new", "check", "message"),
    [
        ("(1,), \"by hand\"", "(0,), \"by hand\"", "classes, counts and groups agree", "each of the 2 classes once"),
        ("(0,), (), (1,)", "(1,), (), (0,)", "classes, counts and groups agree", "a class of few has more"),
        ("\"CC0\"", "\"\"", "name, title, licence and protocol are said", "licence is ''"),
        ("digits-1k.v1", "digits-1k", "name, title, licence and protocol are said", "default_protocol"),
        ("(1, 8, 8)", "(1, 9, 9)", "the training images are as said", r"images of \(1, 8, 8\)"),
        ("self.images((5, 5), 2)", "self.images((5, 4), 2)", "the reference images are as said", r"\(5, 5\)"),
        ("self.images((2, 2), 3)", "self.images((2, 2), 1)", "no held-out image is in the training set", "held-out im"),
        ("self.images((30, 3), 1)", "self.images((30, 3), None)", "loaded again, it is the same", "another one each"),
        ("self.name =", "self.no.name =", "its function returns a Dataset", "class Squares: its code failed"),
    ],
)  # fmt: skip
def test_a_data_set_that_is_not_as_it_says(tmp_path: Path, old: str, new: str, check: str, message: str) -> None:
    from ltgen_bench.datasets import DATASETS

    name, file = "squares-on-trial", tmp_path / "squares.py"
    try:
        assert old in DATASET
        file.write_text(DATASET.replace("NAME", name).replace(old, new))
        failed = failures(check_plugin(file))
        DATASETS._entries.pop(name)
        assert re.search(message, failed.pop(check))
        assert not failed or "9, 9" in new  # a wrong shape is wrong everywhere
        file.write_text(DATASET.replace("NAME", name))
        assert_passed(check_plugin(file))
    finally:
        DATASETS._entries.pop(name, None)


EXTRACTOR = """
import torch
from ltgen_bench.features.base import Extractor, ExtractorOutput
from ltgen_bench.features.catalogue import EXTRACTORS, ExtractorInfo
from ltgen_bench.features.weights import fitting_error, read_state


@EXTRACTORS.register("NAME")
class Rows(Extractor):
    name = "NAME"
    dim = 16
    info = ExtractorInfo(
        name="NAME", title="scaled means of rows", dim=16, classes=None, licence="none",
        source="rows.safetensors", file_name="rows.safetensors", sha256=None, size=None,
    )

    @classmethod
    def load(cls, weights, *, weights_sha256, device, precision):
        extractor = cls(weights_sha256=weights_sha256, device=device, precision=precision)
        state = read_state(weights, name=cls.name)
        try:
            extractor.scale = state["scale"]
        except KeyError as error:
            raise fitting_error(weights, cls.name, error)
        return extractor

    def compute(self, images):
        return ExtractorOutput(images.float().mean((1, 3)) * self.scale, None)
"""


@pytest.mark.parametrize(
    ("old", "new", "check", "message"),
    [
        ("dim=16", "dim=17", "name, size and licence are said", "dim is 16, and info.dim is 17"),
        ("except KeyError", "except OSError", "weights of another network are refused", "end in KeyError"),
        ("state[\"scale\"]", "state.get(\"scale\", 1)", "weights of another network are refused", "are taken"),
        ("mean((1, 3))", "mean((2, 3))", "features and logits are finite, of the promised shape", r"\(3, 1\), not"),
        ("* self.scale", "- images.float().mean()", "features depend on the image only", "with the order"),
        ("* self.scale", "* torch.rand(1)", "features depend on the image only", "from call to call"),
        ("* self.scale", "* 0", "features depend on the image only", "have the same features"),
        ("images.float()", "images.no()", "features and logits are finite, of the promised shape", "class Rows"),
    ],
)  # fmt: skip
def test_an_extractor_that_does_not_do_as_it_says(tmp_path: Path, old: str, new: str, check: str, message: str) -> None:
    import torch
    from safetensors.torch import save_file

    name, file, weights = "rows-on-trial", tmp_path / "rows.py", tmp_path / "weights.safetensors"
    save_file({"scale": torch.ones(1)}, weights)
    try:
        assert old in EXTRACTOR
        file.write_text(EXTRACTOR.replace("NAME", name).replace(old, new))
        failed = {
            each.check: each.why for each in check_plugin(file, weights={name: weights}) if each.outcome == "failed"
        }
        EXTRACTORS._entries.pop(name)
        assert re.search(message, failed.pop(check))
        assert not failed
        file.write_text(EXTRACTOR.replace("NAME", name))
        assert_passed(check_plugin(file, weights={name: weights}))
    finally:
        EXTRACTORS._entries.pop(name, None)


def test_the_command(cli: Cli, tmp_path: Path) -> None:
    """A table, a summary, exit code 2 for a failure; JSON for machines; the traceback with --debug."""
    from ltgen_bench.datasets import DATASETS

    file = tmp_path / "squares.py"
    try:
        file.write_text(DATASET.replace("NAME", "squares-command"))
        code, out, _ = cli("check-plugin", file)
        assert code == 0
        assert out.splitlines()[-1] == "8 passed, 0 failed, 0 skipped"
        assert "data set squares-command" in out
        DATASETS._entries.pop("squares-command")

        file.write_text(DATASET.replace("NAME", "squares-command").replace("(1, 8, 8)", "(1, 9, 9)"))
        code, out, err = cli("check-plugin", file, "--debug")
        assert code == 2
        assert "3 failed" in out
        assert "Traceback" in err
        DATASETS._entries.pop("squares-command")

        code, out, _ = cli("check-plugin", file, "--json")
        assert code == 2
        answer = json.loads(out)
        assert answer["failed"] == 3
        assert set(answer["checks"][0]) == {"subject", "check", "outcome", "why", "traceback"}
    finally:
        DATASETS._entries.pop("squares-command", None)


def test_a_file_that_registers_nothing(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "empty.py"
    file.write_text("x = 1\n")
    assert "registers nothing: put @METHODS.register" in refused(cli("check-plugin", file))


def test_a_class_without_a_name() -> None:
    from ltgen_bench.core.errors import ConfigError
    from ltgen_bench.methods import DiffusionMethod

    with pytest.raises(ConfigError, match="DiffusionMethod has no name: put @METHODS"):
        check_method(DiffusionMethod)
