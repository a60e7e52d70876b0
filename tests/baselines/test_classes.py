"""All baselines on awkward training sets: few images, one image of a class, two classes, a thousand."""

from __future__ import annotations

import pytest
import torch
from baselines_support import METHOD_NAMES, gradients, make_batch, tiny_method

from baselines.reweighting import effective_number_weights
from ltgen_bench.methods.batches import ImageOrder

CASES = {
    "batch smaller than the class count": ([100] * 10, [3, 7, 1]),
    "one image of a class": ([50, 1], [0, 0, 1, 0]),
    "two classes": ([50, 10], [0, 1, 1, 0]),
    "a thousand classes": ([5 + i for i in range(1000)], [0, 999, 500, 500, 3]),
    "a class without images": ([50, 0, 3], [0, 2, 2, 0]),
}


@pytest.mark.parametrize("variant", ["paper", "released"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("name", METHOD_NAMES)
def test_losses_are_finite_with_gradients(name: str, case: tuple[list[int], list[int]], variant: str) -> None:
    counts, labels = case
    method = tiny_method(name, class_counts=counts, method={"variant": variant})
    losses = method.losses(make_batch(method, labels, dropped=[1] if variant == "paper" else []))
    assert all(torch.isfinite(loss) and loss.ndim == 0 for loss in losses.values())
    found = gradients(method, torch.stack(list(losses.values())).sum())
    assert all(torch.isfinite(gradient).all() for gradient in found.values())
    assert found["network.head.weight"].abs().max() > 0


def test_resampling_draws_every_class_alike() -> None:
    method = tiny_method("ddpm-resampling", class_counts=(900, 90, 9, 1))
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor([900, 90, 9, 1]))
    weights = method.image_weights(labels)
    assert weights is not None
    order = ImageOrder(1000, 1000, 0, weights.numpy())
    drawn = torch.cat([labels[torch.from_numpy(order.indices(step))] for step in range(20)])
    shares = torch.bincount(drawn, minlength=4) / 20_000
    assert (shares - 0.25).abs().max() < 5 * (0.25 * 0.75 / 20_000) ** 0.5  # five standard deviations
    root = tiny_method("ddpm-resampling", method={"exponent": 0.5}).image_weights(labels)
    assert root is not None
    by_class = torch.stack([root[labels == c].sum() for c in range(4)])
    shares = torch.tensor([900, 90, 9, 1]).double().sqrt()
    torch.testing.assert_close(by_class / by_class.sum(), shares / shares.sum())


def test_effective_number_weights() -> None:
    counts = torch.tensor([5000, 50, 1, 0])
    weights = effective_number_weights(counts, 0.9999)
    by_hand = torch.tensor([(1 - 0.9999) / (1 - 0.9999**n) for n in (5000, 50, 1)], dtype=torch.float64)
    torch.testing.assert_close(weights[:3].double(), by_hand * 4 / by_hand.sum(), rtol=1e-6, atol=0)
    assert weights[3] == 0
    torch.testing.assert_close(effective_number_weights(counts[:3], 0.0), torch.ones(3))
    near_one = effective_number_weights(torch.tensor([100, 10]), 1 - 1e-12)  # the limit is the inverse frequency
    torch.testing.assert_close(near_one[1] / near_one[0], torch.tensor(10.0), rtol=1e-5, atol=0)
