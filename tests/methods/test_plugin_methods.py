"""Methods from a file of one's own: no training is lost, and nothing of an older version of the code is kept."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pydantic
import pytest
from conftest import PLAIN_OPTIONS, QUICK_OPTIONS, Cli, refused

from ltgen_bench.core.plugins import plugin_origin
from ltgen_bench.core.storage import sha256_file, sha256_json
from ltgen_bench.methods import METHODS

# The four functions in the plainest way: torch.save, a log without steps, a level that the images take.
FOUR_FUNCTIONS = """
import torch
from ltgen_bench.methods import METHODS, Method


@METHODS.register("plain-NAME")
class Plain(Method):
    title = "Plain"

    def fit(self, train_set, context):
        self.mean = torch.from_numpy(train_set.images[:]).float().mean(0)
        context.log({"epoch": 1, "losses": {"mean": LEVEL}})
        context.log({"epoch": 2, "losses": {"mean": LEVEL}})

    def sample(self, labels, seeds):
        noise = torch.stack([torch.rand(self.mean.shape, generator=torch.Generator().manual_seed(s)) for s in seeds])
        return (self.mean + LEVEL * noise).clamp(0, 255).to(torch.uint8)

    def save(self, path):
        torch.save({"mean": self.mean}, path)

    def load(self, path):
        self.mean = torch.load(path, weights_only=True)["mean"]
"""
DIFFUSION = """
from torch.nn.functional import mse_loss
from baselines.ddpm import DDPM
from ltgen_bench.methods import METHODS, MethodConfig


@METHODS.register("loud-NAME")
class Loud(DDPM):
    Config = MethodConfig  # its own keys, in place of DDPM's

    def losses(self, batch):
        return {"loud": LEVEL * mse_loss(self.network(batch.x_t, batch.t, batch.conditioning).noise, batch.noise)}
"""


@pytest.fixture
def run(cli: Cli) -> Cli:
    """The command, each time as in a fresh process: which plug-ins were loaded before is forgotten."""

    def fresh(*arguments: str | Path) -> tuple[int, str, str]:
        for name in [name for name in METHODS.names() if name.startswith(("plain-", "loud-"))]:
            METHODS._entries.pop(name)
        return cli(*arguments)

    return fresh


def write(path: Path, source: str, name: str, level: int) -> Path:
    path.write_text(source.replace("NAME", name).replace("LEVEL", str(level)))
    return path


def test_a_method_of_four_functions(run: Cli, tmp_path: Path) -> None:
    plugin = write(tmp_path / "plain.py", FOUR_FUNCTIONS, "four", 60)
    line = ["run", "--plugin", plugin, "--method", "plain-four", *PLAIN_OPTIONS, "--json", "--quiet"]
    code, out, err = run(*line)
    assert code == 0, err
    record = json.loads(out)
    assert record["method"]["title"] == "Plain"
    (folder,) = (tmp_path / "runs" / "digits-lt" / "plain-four").iterdir()
    assert [file.name for file in (folder / "checkpoints").iterdir()] == ["model.bin"]
    assert len((folder / "stats.jsonl").read_text().splitlines()) == 2
    # everything but the model is lost: it is read again, not trained again
    for name in ("record.json", "samples/samples.npz"):
        (folder / name).unlink()
    code, out, err = run(*line)
    assert code == 0, err
    assert json.loads(out)["samples"] == record["samples"]
    assert len((folder / "stats.jsonl").read_text().splitlines()) == 2


def test_a_method_that_counts_its_parameters_is_not_taken_for_a_diffusion_method(run: Cli, tmp_path: Path) -> None:
    """It has no steps, no sampler and no network evaluations of ours, whatever `facts` says."""
    facts = """
    def facts(self):
        return {"network_parameters": 3}
"""
    plugin = write(tmp_path / "gan.py", FOUR_FUNCTIONS + facts, "gan", 60)
    code, out, err = run("run", "--plugin", plugin, "--method", "plain-gan", *PLAIN_OPTIONS, "--json", "--quiet")
    assert code == 0, err
    record = json.loads(out)
    assert record["method"]["facts"] == {"network_parameters": 3}
    assert record["training"] is None
    assert record["samples"]["sampler"] is None
    assert record["samples"]["network_evaluations"] is None


def test_a_save_that_goes_elsewhere_is_said(run: Cli, tmp_path: Path) -> None:
    """numpy.savez writes to another name than the one it is given."""
    source = FOUR_FUNCTIONS.replace("torch.save({", "__import__('numpy').savez(path, **{").replace("}, path)", "})")
    plugin = write(tmp_path / "elsewhere.py", source, "elsewhere", 60)
    line = ["run", "--plugin", plugin, "--method", "plain-elsewhere", *PLAIN_OPTIONS, "--quiet"]
    assert 'set model_file = "model.npz"' in refused(run(*line))
    assert not list(tmp_path.rglob("model.bin"))


def test_a_save_that_is_interrupted_leaves_no_model(run: Cli, tmp_path: Path, monkeypatch) -> None:
    import torch

    def half(value: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    plugin = write(tmp_path / "half.py", FOUR_FUNCTIONS, "half", 60)
    line = ["run", "--plugin", plugin, "--method", "plain-half", *PLAIN_OPTIONS, "--quiet"]
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", half)
        assert run(*line)[0] != 0
    assert not list(tmp_path.rglob("model.bin"))
    assert run(*line)[0] == 0


@pytest.mark.parametrize(("source", "prefix"), [(FOUR_FUNCTIONS, "plain"), (DIFFUSION, "loud")])
def test_changed_code_is_another_run(run: Cli, tmp_path: Path, source: str, prefix: str) -> None:
    """A finished run, or a model of the same configuration, says nothing about a loss that was edited since."""
    name = f"{prefix}-edited"
    first = write(tmp_path / "mine.py", source, "edited", 60)
    quick = QUICK_OPTIONS if source is DIFFUSION else PLAIN_OPTIONS
    line = ["run", "--plugin", first, "--method", name, *quick, "--json", "--quiet"]
    record = json.loads(run(*line)[1])
    assert record["method"]["code_sha256"] is not None
    assert json.loads(run(*line)[1]) == record
    write(first, source, "edited", 120)
    said = refused(run(*line))
    assert "another version of method" in said
    assert "remove that folder, choose another --run-dir, or restore the code" in said
    # nor is the old model taken for a run that differs in its sampling only
    other = "sampling.steps=5" if source is DIFFUSION else "protocol.prd_runs=3"
    more = json.loads(run(*line, "--set", other, "--run-dir", tmp_path / "other")[1])
    assert more["method"]["code_sha256"] != record["method"]["code_sha256"]
    assert more["training"] is None or more["training"]["final_losses"] != record["training"]["final_losses"]


HELPED = FOUR_FUNCTIONS.replace("import torch\n", "import torch\nfrom levels_NAME import level\n").replace(
    "LEVEL", "level()"
)
MIXED = FOUR_FUNCTIONS.replace("class Plain(Method)", "class Plain(Method, Generic[T])").replace(
    "import torch\n", "from typing import Generic, TypeVar\nimport torch\nT = TypeVar('T')\n"
)


def test_a_module_beside_the_plug_in_counts_and_libraries_do_not(run: Cli, tmp_path: Path, monkeypatch) -> None:
    import sys

    from ltgen_bench.core.plugins import plugin_code_sha256

    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "levels_helped.py").write_text("def level(): return 60\n")
    plugin = write(tmp_path / "helped.py", HELPED, "helped", 0)
    line = ["run", "--plugin", plugin, "--method", "plain-helped", *PLAIN_OPTIONS, "--quiet"]
    assert run(*line)[0] == 0
    (tmp_path / "levels_helped.py").write_text("def level(): return 99\n")
    del sys.modules["levels_helped"]
    assert "another version of method" in refused(run(*line))
    # a base class from a library is not the plug-in's code: an update of Python or PyTorch changes nothing
    before = run(
        "run", "--plugin", write(tmp_path / "mixed.py", MIXED, "mixed", 1), "--method", "plain-mixed", "--dry-run"
    )
    assert before[0] == 0, before
    only = sha256_json({"mixed.py": sha256_file(tmp_path / "mixed.py")})
    assert plugin_code_sha256(METHODS.get("plain-mixed")) == only


def test_the_package_s_own_methods_are_named_by_the_commit(run: Cli, tmp_path: Path) -> None:
    record = json.loads(run("run", *QUICK_OPTIONS, "--json", "--quiet")[1])
    assert record["method"]["code_sha256"] is None
    assert not list(tmp_path.rglob("method.json"))


def test_a_stranger_s_package_called_like_ours_is_hashed(tmp_path: Path, monkeypatch) -> None:
    import sys
    import types

    from ltgen_bench.core.plugins import plugin_code_sha256

    package = tmp_path / "baselines_of_a_stranger.py"
    package.write_text("class Mine: pass\n")
    module = types.ModuleType("baselines.mine")
    module.__file__ = str(package)
    monkeypatch.setitem(sys.modules, "baselines.mine", module)
    exec(compile(package.read_text(), package, "exec"), vars(module))
    assert plugin_code_sha256(module.Mine) == sha256_json({package.name: sha256_file(package)})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def f(:\n", r"--plugin .*broken.py, line 1: "),
        ("x = 1\nimport no_such_module\n", r"--plugin .*broken.py, line 2: cannot be imported: ModuleNotFoundError: "),
        (
            FOUR_FUNCTIONS.replace("(Method)", ""),
            r"broken.py, line 6, class Plain: METHODS.register\('plain-NAME'\) takes a class derived from Method",
        ),
        (DIFFUSION.replace("DDPM)", "DiffusionMethod)").replace("import METHODS", "import DiffusionMethod, METHODS")
         .replace("def losses", "def lossess"), r"Loud: the class has to define losses; 'lossess' is not one, did you"),
    ],
    ids=["syntax", "import", "not a method", "misspelt"],
)  # fmt: skip
def test_a_plug_in_that_cannot_be_used_is_one_line(run: Cli, tmp_path: Path, source: str, message: str) -> None:
    plugin = tmp_path / "broken.py"
    plugin.write_text(source.replace("LEVEL", "1"))
    line = refused(run("run", "--plugin", plugin, "--method", "plain-NAME", "--quiet"))
    assert re.search(message, line), line


@pytest.mark.parametrize(
    ("source", "old", "new", "message"),
    [
        (DIFFUSION, "batch.noise)", "batch.noise).item()", "'loud' is a float: return the tensor itself"),
        (DIFFUSION, "batch.noise)", "batch.noise).detach()", "none of them has a gradient"),
        (DIFFUSION, "return {", "return {}[1], {", r"failing.py, line 12, class Loud: losses failed: KeyError: 1"),
        (FOUR_FUNCTIONS, "context.log({\"epoch\": 2", "1 / 0, ({\"epoch\": 2", "Plain: fit failed: ZeroDivisionError"),
        (FOUR_FUNCTIONS, "return (self.mean", "return self.no, (self.mean", "sample failed: AttributeError: 'Plain'"),
    ],
    ids=["float", "detached", "losses", "fit", "sample"],
)  # fmt: skip
def test_code_that_fails_is_one_line_and_its_traceback_in_the_log(
    run: Cli, tmp_path: Path, source: str, old: str, new: str, message: str
) -> None:
    assert old in source
    plugin = write(tmp_path / "failing.py", source.replace(old, new), "failing", 1)
    prefix = "loud" if source is DIFFUSION else "plain"
    quick = QUICK_OPTIONS if source is DIFFUSION else PLAIN_OPTIONS
    command = ["run", "--plugin", plugin, "--method", f"{prefix}-failing", *quick, "--quiet"]
    line = refused(run(*command))
    assert re.search(message, line), line
    assert "failing.py, line " in line
    if "failed" in message:
        (log,) = tmp_path.rglob("log.txt")
        assert "Traceback" in log.read_text()
        assert "Traceback" in run(*command, "--debug")[2]


def test_the_record_of_a_method_that_is_no_diffusion_holds_what_it_read(run: Cli, tmp_path: Path) -> None:
    """No U-Net, no steps, no sampler: in the printed plan, in config.toml, in the record, and when it is read again."""
    plugin = write(tmp_path / "four.py", FOUR_FUNCTIONS, "four", 60)
    line = ["run", "--plugin", plugin, "--method", "plain-four", *PLAIN_OPTIONS]
    unread = ("network", "diffusion", "training", "sampling")
    code, plan, err = run(*line, "--dry-run")
    assert code == 0, err
    assert not [section for section in unread if f"[{section}]" in plan]
    assert "training fp32" not in plan
    assert not set(unread) & set(json.loads(run(*line, "--dry-run", "--json")[1])["config"])
    code, out, err = run(*line, "--json", "--quiet")
    assert code == 0, err
    record = json.loads(out)
    assert not set(unread) & set(record["method"]["config"])
    assert record["method"]["plugin"] == "four.py"
    (folder,) = (tmp_path / "runs" / "digits-lt" / "plain-four").iterdir()
    assert not set(unread) & set(tomllib.loads((folder / "config.toml").read_text()))
    assert json.loads(run(*line, "--json", "--quiet")[1]) == record  # claimed again, by its own configuration
    code, _, err = run("sample", folder, "-n", "5", "--plugin", plugin, "-o", tmp_path / "five.npz", "--quiet")
    assert code == 0, err
    assert "nothing to sweep" in refused(run("sweep", folder, "--plugin", plugin, "--set", "sampling.steps=2,3"))


@pytest.mark.parametrize("key", ["training.steps=10", "network.base_channels=8", "sampling.guidance_scale=1"])
def test_a_key_that_the_method_does_not_read_is_refused(run: Cli, tmp_path: Path, key: str) -> None:
    plugin = write(tmp_path / "four.py", FOUR_FUNCTIONS, "four", 60)
    line = ["run", "--plugin", plugin, "--method", "plain-four", "--set", key, "--dry-run"]
    assert f"{key.partition('=')[0]}: method plain-four does not use it" in refused(run(*line))


def test_a_method_declares_what_it_reads(run: Cli, tmp_path: Path) -> None:
    steps = FOUR_FUNCTIONS.replace("self.mean = ", "assert self.run.training.steps == 7; self.mean = ")
    hidden = write(tmp_path / "hidden.py", steps, "hidden", 60)
    line = refused(run("run", "--plugin", hidden, "--method", "plain-hidden", *PLAIN_OPTIONS, "--quiet"))
    assert "the method reads training.steps, and does not declare" in line
    declared = steps.replace('title = "Plain"', 'title = "Plain"; uses = ("training",)')
    plugin = write(tmp_path / "open.py", declared, "open", 60)
    options = [*PLAIN_OPTIONS, "--set=training.steps=7", "--json", "--quiet"]
    code, out, err = run("run", "--plugin", plugin, "--method", "plain-open", *options)
    assert code == 0, err
    config = json.loads(out)["method"]["config"]
    assert config["training"]["steps"] == 7
    assert "network" not in config
    wrong = write(tmp_path / "wrong.py", declared.replace('("training",)', '"training"'), "wrong", 60)
    assert "uses is a tuple of network" in refused(run("run", "--plugin", wrong, "--method", "plain-wrong"))
    counted = ["--set", "protocol.training_images=6400", "--dry-run"]
    said = refused(run("run", "--plugin", hidden, "--method", "plain-hidden", *counted))
    assert "counts every image seen" in said


def test_where_a_plug_in_is_from() -> None:
    assert plugin_origin(METHODS.get("ddpm")) is None
    assert str(plugin_origin(pydantic.BaseModel)) == f"package pydantic {pydantic.VERSION}"


def test_digits_are_not_mirrored_and_the_configuration_says_so(run: Cli) -> None:
    assert "horizontal_flip = false" in run("run", "--dry-run")[1]
    assert "horizontal_flip = true" in run("run", "--dry-run", "--dataset", "cifar10lt")[1]
    out = run("run", "--dry-run", "--set", "training.horizontal_flip=true")[1]
    assert "# note" in out
    assert "images of digits-lt are not mirrored" in out
