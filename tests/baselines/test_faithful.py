"""Each baseline's loss against a slow, literal transcription of its equation: values and gradients, both variants."""

from __future__ import annotations

import pytest
import torch
from baselines_support import METHOD_NAMES, assert_same, gradients, make_batch, tiny_method, tiny_run, trained
from torch import Tensor
from transcriptions import GRADIENTS, LABELS, TRANSCRIPTIONS, VALUES, diffrop_of_ccua

from baselines.transfer import T2H


@pytest.mark.parametrize("variant", ["paper", "released"])
@pytest.mark.parametrize("name", METHOD_NAMES)
def test_loss_and_gradient_equal_the_equation(name: str, variant: str) -> None:
    # large enough for the contrastive gradient to stand out beside the diffusion loss's
    weight = {"weight": 1.0} if name in ("coral", "ambient-contrastive") else {}
    if name == "diffrop-reconstructed":  # some of the images lie within this margin
        weight = {"weight": 1.0, "margin": 0.3}
    method = tiny_method(name, method={"variant": variant, **weight})
    # the released code drops a batch's labels together or not at all
    dropped = [1, 3] if variant == "paper" else []
    if name == "tiw-unconditional":
        dropped = list(range(len(LABELS)))
    batch = make_batch(method, LABELS, dropped)
    if isinstance(method, T2H):
        assert not torch.equal(method.target(batch), batch.noise)  # something is transferred at all
    ours, literal = sum(method.losses(batch).values(), torch.tensor(0.0)), TRANSCRIPTIONS[name](method, batch)
    torch.testing.assert_close(ours, literal, **VALUES)
    wanted = gradients(method, literal)
    for parameter, gradient in gradients(method, ours).items():
        torch.testing.assert_close(gradient, wanted[parameter], **GRADIENTS, msg=lambda m, p=parameter: f"{p}: {m}")


def test_the_only_public_formula_of_diffrop() -> None:
    method = tiny_method("diffrop-reconstructed", method={"form": "ccua-repository", "weight": 3.0})
    batch = make_batch(method, LABELS, [1, 3])
    ours, literal = sum(method.losses(batch).values(), torch.tensor(0.0)), diffrop_of_ccua(method, batch)
    torch.testing.assert_close(ours, literal, **VALUES)
    wanted = gradients(method, literal)
    for parameter, gradient in gradients(method, ours).items():
        torch.testing.assert_close(gradient, wanted[parameter], **GRADIENTS, msg=lambda m, p=parameter: f"{p}: {m}")


@pytest.mark.parametrize("name", ["coral", "ambient-contrastive"])
def test_a_batch_without_labels_has_no_contrastive_term_in_the_released_variant(name: str) -> None:
    everyone = range(len(LABELS))
    released = tiny_method(name, method={"variant": "released"})
    term = released.losses(make_batch(released, LABELS, everyone))["contrastive"]
    assert float(term.detach()) == 0.0
    assert all(torch.isfinite(gradient).all() for gradient in gradients(released, term).values())
    paper = tiny_method(name)
    assert paper.losses(make_batch(paper, LABELS, everyone))["contrastive"].detach() > 0


def test_cbdm_can_take_a_uniform_prior() -> None:
    method = tiny_method("cbdm", method={"prior": "uniform"}, class_counts=(997, 1, 1, 1))
    batch = make_batch(method, [0] * 400)
    uniform = torch.bincount(method.other_labels(batch), minlength=4) / 400  # type: ignore[attr-defined]
    assert (uniform - 0.25).abs().max() < 0.1  # five standard deviations are 0.11
    method = tiny_method("cbdm", class_counts=(997, 1, 1, 1))
    assert torch.bincount(method.other_labels(batch), minlength=4)[0] > 390  # type: ignore[attr-defined]


def test_the_variants_say_what_they_are() -> None:
    paper, released = tiny_run("coral").config, tiny_run("coral", method={"variant": "released"}).config
    changed = {key for key in paper.method if paper.method[key] != released.method[key]}
    assert changed == {"variant", "lambda_unit", "lambda_factor", "dropped_labels", "time_index"}
    assert (paper.training.label_drop_unit, released.training.label_drop_unit) == ("sample", "batch")
    mixed = tiny_run("coral", method={"variant": "released", "lambda_unit": "anchor"}).config
    assert (mixed.method["lambda_unit"], mixed.method["lambda_factor"]) == ("anchor", "temperature")
    own = tiny_run("cbdm", method={"variant": "released"}, training={"label_drop_unit": "sample"}).config
    assert own.training.label_drop_unit == "sample"
    assert tiny_run("coral").config.hash() != tiny_run("coral", method={"variant": "released"}).config.hash()


OFF = {
    "ddpm-resampling": {"exponent": 1.0},
    "ddpm-reweighting": {"beta": 0.0},
    "cbdm": {"tau": 0.0},
    "ccua": {"contrast_weight": 0.0, "alignment_weight": 0.0},
    "cm": {"consistency": 0.0, "diversity": 0.0, "rank_ratio": 0.0},
    "diffrop-reconstructed": {"weight": 0.0},
    "t2h": {"keep": "none"},
    "transfer-full": {"keep": "none"},
    "coral": {"weight": 0.0},
    "ambient-contrastive": {"weight": 0.0},
}


@pytest.fixture(scope="module")
def five_steps_of_ddpm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    return trained(tiny_run(network={"dropout": 0.1}), tmp_path_factory.mktemp("ddpm"))


@pytest.mark.parametrize("name", OFF)
def test_without_its_weight_a_method_is_ddpm_to_the_bit(
    name: str, five_steps_of_ddpm: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory
) -> None:
    state = trained(tiny_run(name, network={"dropout": 0.1}, method=OFF[name]), tmp_path_factory.mktemp("off"))
    assert_same({key: value for key, value in state.items() if ".extra." not in key}, five_steps_of_ddpm)


@pytest.mark.parametrize("name", [name for name in METHOD_NAMES if name in OFF])
def test_with_its_weight_a_method_is_not_ddpm(
    name: str, five_steps_of_ddpm: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory
) -> None:
    state = trained(tiny_run(name, network={"dropout": 0.1}), tmp_path_factory.mktemp("on"))
    key = "model.network.middle.0.conv1.weight"
    assert not torch.equal(state[key], five_steps_of_ddpm[key])
