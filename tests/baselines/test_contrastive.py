"""The contrastive loss on awkward batches, in half precision, and every loss of pytorch-metric-learning by name."""

from __future__ import annotations

import sys

import pytest
import torch
from baselines_support import gradients, make_batch, tiny_method
from torch import Tensor
from torch.nn.functional import normalize

from baselines.contrastive import SupConLoss
from baselines.metric_learning import MetricLearningLoss, loss_names
from ltgen_bench.core.errors import ConfigError, MissingExtraError, UnknownNameError

LIBRARY = pytest.importorskip("pytorch_metric_learning.losses")

# Some of the library's losses use what numpy and PyTorch will remove one day.
OLD_HABITS = pytest.mark.filterwarnings("ignore:__array_wrap__", "ignore:Using a non-tuple sequence")
OPTIONS = {"RankedListLoss": {"margin": 0.5, "Tn": 1.0}}  # it has no defaults for these

BATCHES = {
    "usual": [0, 0, 1, 1, 2, 0, 1, 2],
    "singletons": [0, 0, 1, 2, 3, 4, 0, 5],
    "one pair": [0, 1, 2, 2],
    "one class": [3, 3, 3, 3],
    "all singletons": [0, 1, 2, 3, 4],
    "one image": [1],
    "two images of a class": [1, 1],
    "two images of two classes": [0, 1],
    "thousand classes": [*range(500), *range(500)],
}


def embeddings(count: int, spread: float = 1.0) -> Tensor:
    base = torch.randn(1, 16, generator=torch.Generator().manual_seed(1))
    return (base + spread * torch.randn(count, 16, generator=torch.Generator().manual_seed(2))).requires_grad_()


@pytest.mark.parametrize("temperature", [0.09, 1.0])
@pytest.mark.parametrize("labels", BATCHES.values(), ids=BATCHES)
def test_supcon_equals_the_library(labels: list[int], temperature: float) -> None:
    y, x = torch.tensor(labels), embeddings(len(labels))
    ours = SupConLoss(temperature)(normalize(x, dim=1), y, torch.ones(len(labels)))
    theirs = LIBRARY.SupConLoss(temperature=temperature)(x, y)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    ours_gradient, theirs_gradient = (torch.autograd.grad(loss, x)[0] for loss in (ours, theirs))
    assert torch.isfinite(ours_gradient).all()
    torch.testing.assert_close(ours_gradient, theirs_gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("spread", [0.0, 1e-6, 1e6])
def test_supcon_is_finite_for_collapsed_and_huge_embeddings(spread: float) -> None:
    x = embeddings(6, spread)
    loss = SupConLoss(0.09)(normalize(x, dim=1), torch.tensor([0, 0, 1, 1, 2, 2]), torch.ones(6))
    assert torch.isfinite(loss)
    assert torch.isfinite(torch.autograd.grad(loss, x)[0]).all()


def test_rows_left_out_of_supcon_take_no_part() -> None:
    x, y = embeddings(8), torch.tensor(BATCHES["usual"])
    weights, kept = torch.rand(8), torch.tensor([True, False, True, True, True, True, False, True])
    loss, z = SupConLoss(0.2), normalize(x, dim=1)
    torch.testing.assert_close(loss(z, y, weights, kept), loss(z[kept], y[kept], weights[kept]))
    assert loss(z, y, weights, torch.zeros(8, dtype=torch.bool)).detach() == 0


def test_the_weight_of_an_anchor_is_its_own_in_the_library_too() -> None:
    x, y, weights = embeddings(8), torch.tensor(BATCHES["singletons"]), torch.rand(8) + 0.1
    z = normalize(x, dim=1)
    through_library = MetricLearningLoss("SupConLoss", {}, 0.12, 10, 16)
    torch.testing.assert_close(through_library(z, y, weights), SupConLoss(0.12)(z, y, weights))


@OLD_HABITS
@pytest.mark.parametrize("name", loss_names())
def test_every_loss_of_the_library_trains(name: str) -> None:
    method = tiny_method("coral", method={"loss": name, "loss_options": OPTIONS.get(name, {})})
    losses = method.losses(make_batch(method, [0, 0, 1, 1, 2, 2, 3, 0], dropped=[1]))
    assert torch.isfinite(losses["contrastive"])
    found = gradients(method, losses["diffusion"] + losses["contrastive"])
    assert all(torch.isfinite(gradient).all() for gradient in found.values())
    if any(name.startswith("extra.loss") for name in found):  # proxies and class centres are trained
        assert any(g.abs().max() > 0 for name, g in found.items() if name.startswith("extra.loss"))


@OLD_HABITS
@pytest.mark.parametrize("name", loss_names())
@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [1, 1, 1], [2]], ids=["all singletons", "one class", "one image"])
def test_every_loss_of_the_library_survives_awkward_batches(name: str, labels: list[int]) -> None:
    torch.manual_seed(0)
    loss = MetricLearningLoss(name, OPTIONS.get(name, {}), 0.1, 4, 16)
    x = embeddings(len(labels))
    value = loss(normalize(x, dim=1), torch.tensor(labels), torch.ones(len(labels)))
    assert torch.isfinite(value)
    (gradient,) = torch.autograd.grad(value, x, allow_unused=True)
    assert gradient is None or torch.isfinite(gradient).all()


def test_mistakes_in_the_loss_take_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'TripletMarginLoss'"):
        tiny_method("coral", method={"loss": "TripletMarginLos"})
    for wrapper in ("CrossBatchMemory", "BaseMetricLossFunction", "inspect", "__builtins__"):
        with pytest.raises(UnknownNameError, match="unknown loss"):
            tiny_method("coral", method={"loss": wrapper})
    with pytest.raises(ConfigError, match=r"loss_options do not fit TripletMarginLoss.*margin"):
        tiny_method("coral", method={"loss": "TripletMarginLoss", "loss_options": {"margn": 0.1}})
    monkeypatch.setitem(sys.modules, "pytorch_metric_learning", None)
    with pytest.raises(MissingExtraError, match=r"ltgen-bench\[methods\]"):
        tiny_method("coral", method={"loss": "TripletMarginLoss"})
    tiny_method("coral")  # its own SupCon needs no library


def test_the_library_is_not_imported_without_need() -> None:
    import subprocess

    code = "import baselines.coral, sys; sys.exit('pytorch_metric_learning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["coral", "ambient-contrastive"])
def test_the_contrastive_part_is_float32_under_autocast(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method = tiny_method(name, network={"base_channels": 16})
    seen = []
    loss = method.extra["loss"]
    monkeypatch.setattr(
        loss, "forward", lambda z, *rest: seen.append((z, SupConLoss.forward(loss, z, *rest))) or seen[-1][1]
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = method.losses(make_batch(method, BATCHES["usual"][:-4]))
    (z, value), *_ = seen
    assert z.dtype == value.dtype == losses["contrastive"].dtype == losses["diffusion"].dtype == torch.float32
    assert not torch.equal(z, z.bfloat16().float())  # the numbers have more than bf16's eight bits
    wide = SupConLoss.forward(loss, z.double(), *(torch.tensor(BATCHES["usual"][:-4]), torch.full((4,), 1.0).double()))
    narrow = SupConLoss.forward(loss, z, torch.tensor(BATCHES["usual"][:-4]), torch.ones(4))
    torch.testing.assert_close(narrow.double(), wide, rtol=1e-5, atol=1e-6)
    total = losses["contrastive"]
    assert all(torch.isfinite(gradient).all() for gradient in gradients(method, total).values())
