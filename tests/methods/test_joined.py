"""Methods joined by `+`: the sum of what each adds, each alone where the others are off, and what cannot be joined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from baselines_support import gradients, make_batch, tiny_method, tiny_run, trained
from torch import Tensor
from transcriptions import GRADIENTS, LABELS, TRANSCRIPTIONS, VALUES, ddpm

from ltgen_bench.core.errors import ConfigError, UnknownNameError
from ltgen_bench.methods import METHODS, DiffusionBatch, PartMethod, Passes
from ltgen_bench.methods.joined import JoinedMethod

JOINED = ["coral+cbdm", "coral+t2h", "cm+cbdm", "cm+t2h", "ccua+cm+t2h", "diffrop-reconstructed+cbdm"]


def weighty(name: str) -> dict[str, Any]:
    """Settings at which every term stands out."""
    settings = {"coral": {"weight": 1.0}, "diffrop-reconstructed": {"weight": 1.0, "margin": 0.3}}
    return {part: settings[part] for part in name.split("+") if part in settings}


@pytest.mark.parametrize("name", JOINED)
def test_it_is_the_sum_of_what_the_parts_add(name: str) -> None:
    method = tiny_method(name, method=weighty(name))
    assert isinstance(method, JoinedMethod)
    batch = make_batch(method, LABELS, [1, 3])
    literal = torch.tensor(0.0)
    for part_name, part in method.parts.items():
        own = TRANSCRIPTIONS[part_name](part, batch)
        literal = literal + (own - ddpm(part, batch))
    literal = literal + ddpm(method, batch)
    ours = sum(method.losses(batch).values(), torch.tensor(0.0))
    torch.testing.assert_close(ours, literal, **VALUES)
    wanted = gradients(method, literal)
    assert any(float(gradient.abs().max()) > 0 for gradient in wanted.values())
    for parameter, gradient in gradients(method, ours).items():
        torch.testing.assert_close(gradient, wanted[parameter], **GRADIENTS, msg=lambda m, p=parameter: f"{p}: {m}")


OFF = {
    "coral": {"weight": 0.0},
    "cbdm": {"tau": 0.0},
    "t2h": {"keep": "none"},
    "cm": {"consistency": 0.0, "diversity": 0.0, "rank_ratio": 0.0},
    "ccua": {"contrast_weight": 0.0, "alignment_weight": 0.0},
    "ddpm-resampling": {"exponent": 1.0},
}


@pytest.mark.parametrize(
    ("name", "alone", "augment"),
    [
        ("coral+cbdm", "cbdm", 0.5),
        ("coral+cbdm", "coral", 0.0),
        ("coral+t2h", "t2h", 0.0),
        ("coral+t2h", "coral", 0.5),
        ("cm+cbdm", "cbdm", 0.0),
        ("cm+cbdm", "cm", 0.5),
        ("t2h+ccua", "ccua", 0.0),
        ("coral+ddpm-resampling", "ddpm-resampling", 0.0),
    ],
)
def test_with_the_others_off_a_part_is_itself_to_the_bit(name: str, alone: str, augment: float, tmp_path: Path) -> None:
    off = {part: OFF[part] for part in name.split("+") if part != alone}
    layers = {"network": {"dropout": 0.1}, "training": {"augment_probability": augment}}
    joined = trained(tiny_run(name, method=off, **layers), tmp_path / "joined")
    single = trained(tiny_run(alone, **layers), tmp_path / "single")
    joined = {key.replace(f".extra.{alone}.", ".extra."): value for key, value in joined.items()}
    assert single.keys() <= joined.keys()
    assert [key for key in single if not torch.equal(single[key], joined[key])] == []
    rest = [key for key in joined if key not in single]
    assert all(".extra." in key for key in rest)  # the head of a part that is off, which nothing trains


def test_what_two_terms_read_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Quiet(PartMethod):
        """Keeps predictions without labels small."""

        def terms(self, batch: DiffusionBatch, passes: Passes) -> dict[str, Tensor]:
            return {"quiet": 1e-3 * passes.unlabelled.noise.square().mean()}

    METHODS.replace("quiet", Quiet)
    try:
        for name, calls in (("coral+ambient-contrastive", 1), ("ccua+quiet", 2), ("coral+cbdm", 2), ("cm+cbdm", 3)):
            method = tiny_method(name)
            assert method.passes == max(calls, 2 if "ccua" in name else 1)
            count = []
            method.network.register_forward_hook(lambda *given, to=count: to.append(1))
            method.losses(make_batch(method, LABELS, [1]))
            assert len(count) == calls, name
    finally:
        METHODS._entries.pop("quiet")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("coral+coral", "join different methods by their names"),
        ("coral+", "join different methods by their names"),
        ("+", "join different methods by their names"),
        ("coral+ddpm", "ddpm is what the others add to; leave it out"),
        ("t2h+transfer-full", "t2h and transfer-full cannot be joined, each fixes what is predicted"),
        ("coral+ddpm-reweighting", "ddpm-reweighting cannot be joined, it writes its whole loss or training itself"),
    ],
)
def test_what_cannot_be_joined_is_refused_in_one_line(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=r"^method") as caught:
        tiny_run(name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_and_keys_are_corrected() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'coral'"):
        tiny_run("corl+cbdm")
    with pytest.raises(
        ConfigError, match=r"unknown configuration key 'method.coral.wieght'; did you mean 'method.coral.weight'"
    ):
        tiny_run("coral+cbdm", method={"coral": {"wieght": 1}})
    with pytest.raises(
        ConfigError, match=r"unknown configuration key 'method.weight'; did you mean 'method.coral.weight'"
    ):
        tiny_run("coral+cbdm", method={"weight": 1})
    with pytest.raises(ConfigError, match=r"cbdm wants another training.label_drop_unit than the parts before it"):
        tiny_run("coral+cbdm", method={"cbdm": {"variant": "released"}})
    with pytest.raises(ConfigError, match=r"cbdm compares what is predicted for different classes"):
        tiny_run("cbdm+h2t")


def test_each_part_has_its_own_keys_and_the_first_recipe_counts_most() -> None:
    run = tiny_run("coral+cbdm", method={"coral": {"weight": 0.3}, "cbdm": {"tau": 2.0}})
    method = run.make_method()
    assert isinstance(method, JoinedMethod)
    assert method.parts["coral"].config.weight == 0.3
    assert method.parts["cbdm"].config.tau == 2.0
    assert run.config.hash() != tiny_run("coral+cbdm").config.hash()
    joined = METHODS.get("coral+cbdm").recipe("coral+cbdm", "cifar100lt")
    coral, cbdm = (METHODS.get(name).recipe(name, "cifar100lt") for name in ("coral", "cbdm"))
    assert joined["method"] == {"coral": coral["method"], "cbdm": cbdm["method"]}
    assert joined["sampling"] == {**cbdm.get("sampling", {}), **coral["sampling"]}
    assert "coral+cbdm" in METHODS
    assert "coral+cbdm" not in METHODS.names()


def test_the_command_trains_and_records_joined_methods(cli, tmp_path: Path) -> None:
    small = [
        *("--set", "training.steps=6", "--set", "network.base_channels=8", "--set", "network.norm_groups=4"),
        *("--set", "sampling.steps=2", "--set", "protocol.samples=40", "--set", "method.coral.weight=0.5"),
        *("--set", "sampling.guidance_scale=0", "--dataset", "digits-lt", "--runs-dir", tmp_path, "--json"),
    ]
    code, _, err = cli("run", "--method", "coral+cbdm", *small)
    assert code == 0, err
    (record,) = tmp_path.glob("digits-lt/coral+cbdm/*/record.json")
    from ltgen_bench.evaluation.record_files import read_record

    method = read_record(record).method
    assert method.title == "CORAL + CBDM"
    assert method.config is not None
    assert method.config["method"]["coral"]["weight"] == 0.5
    assert set(read_record(record).training.final_losses) == {"diffusion", "coral.contrastive", "cbdm.balance"}
