"""ADA-style augmentation: what the transforms do to pixels, and that only training notices them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from baselines_support import assert_same, make_trainer, tiny_run, trained
from torch import Tensor

from ltgen_bench.diffusion.augmentation import CONDITION_SIZE, Augmentations, augment, draw_augmentations


def moved(image: Tensor, matrix: list[list[float]]) -> Tensor:
    affine = torch.tensor([matrix])
    return augment(image[None], Augmentations(affine, torch.ones(1, CONDITION_SIZE)))[0]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_pixels_go_where_the_matrix_says() -> None:
    image = torch.rand(3, 8, 8, generator=generator())
    torch.testing.assert_close(moved(image, [[1.0, 0, 0], [0, 1.0, 0]]), image)
    torch.testing.assert_close(moved(image, [[0.0, -1, 0], [1, 0.0, 0]]), torch.rot90(image, 1, (1, 2)))
    shifted = moved(image, [[1.0, 0, -2 * 2 / 8], [0, 1.0, 0]])  # two pixels to the right
    torch.testing.assert_close(shifted[:, :, 2:], image[:, :, :-2])
    torch.testing.assert_close(shifted[:, :, :2], image[:, :, :2].flip(2))  # the border is a mirror


@pytest.mark.parametrize("kind", range(4), ids=["scale", "rotation", "stretch", "shift"])
def test_the_condition_says_what_was_done(kind: int) -> None:
    """The matrix is the inverse of the transform that the condition describes."""
    found = draw_augmentations(500, 0.2, generator(1))
    groups = torch.stack([found.condition[:, g].abs().sum(dim=1) > 0 for g in ([0], [1, 2], [3, 4], [5, 6])])
    alone = groups[kind] & (groups.sum(dim=0) == 1)
    assert 20 < alone.sum() < 90  # 500 x 0.2 x 0.8^3 = 51
    for affine, condition in zip(found.affine[alone], found.condition[alone], strict=True):
        scale, cosine, sine, along_x, along_y, dx, dy = (float(value) for value in condition)
        forward = torch.eye(2) * 2**scale
        forward = forward @ torch.tensor([[1 + cosine, -sine], [sine, 1 + cosine]])
        stretch = math.hypot(along_x, along_y)
        if stretch:
            angle = math.atan2(along_y, along_x) / 2
            u = torch.tensor([math.cos(angle), math.sin(angle)])
            outer = torch.outer(u, u)
            forward = forward @ (2**stretch * outer + 2**-stretch * (torch.eye(2) - outer))
        torch.testing.assert_close(affine[:, :2] @ forward, torch.eye(2), rtol=1e-4, atol=1e-5)
        center = affine[:, :2] @ torch.tensor([2 * dx, 2 * dy]) + affine[:, 2]  # where the centre went comes from 0
        torch.testing.assert_close(center, torch.zeros(2), rtol=0, atol=1e-6)


def test_no_transform_is_a_condition_of_zeros_and_the_same_image() -> None:
    images = torch.rand(400, 3, 8, 8, generator=generator())
    never = draw_augmentations(400, 0.0, generator())
    assert not never.condition.any()
    assert torch.equal(augment(images, never), images)
    found = draw_augmentations(400, 0.12, generator())
    same = (augment(images, found) == images).flatten(1).all(dim=1)
    assert torch.equal(same, ~found.condition.any(dim=1))
    assert same.float().mean() == pytest.approx(0.88**4, abs=0.125)  # five standard deviations


def test_only_training_is_told(tmp_path: Path) -> None:
    run = tiny_run("coral", training={"augment_probability": 0.5})
    trainer = make_trainer(run, tmp_path)
    method = trainer.method
    x, t, labels = torch.randn(4, 1, 8, 8), torch.tensor([1, 2, 3, 4]), torch.tensor([0, 1, 2, 3])
    with torch.no_grad():
        method.network.tail[-1].weight.add_(0.1)  # it starts near zero
        for block in method.network.middle:
            block.conv2.weight.add_(0.1)
        plain = method.network(x, t, labels).noise
        told = method.extra["augmentation"].of
        with told(torch.randn(4, CONDITION_SIZE)):
            assert (method.network(x, t, labels).noise - plain).abs().max() > 1e-6
            stacked = method.network(torch.cat([x, x]), torch.cat([t, t]), torch.cat([labels, labels])).noise
            torch.testing.assert_close(stacked[:4], stacked[4:])
        assert torch.equal(method.network(x, t, labels).noise, plain)  # the batch is over
        with told(torch.zeros(4, CONDITION_SIZE)):
            assert torch.equal(method.network(x, t, labels).noise, plain)
        with told(torch.randn(4, CONDITION_SIZE)):
            method.network.eval()
            assert torch.equal(method.network(x, t, labels).noise, plain)
    assert "augmentation" not in "".join(method.network.state_dict())
    trainer.method.save(tmp_path / "model.safetensors")
    fresh = run.make_method()
    fresh.load(tmp_path / "model.safetensors")


@pytest.mark.parametrize("name", ["ddpm", "cbdm", "t2h", "coral"])
def test_augmented_training(name: str, tmp_path: Path) -> None:
    layers: dict[str, Any] = {"training": {"augment_probability": 0.5, "steps": 4}}
    run = tiny_run(name, **layers)
    whole = trained(run, tmp_path / "whole")
    first = make_trainer(run, tmp_path / "parts")
    for _ in range(2):
        first.train_step()
    first.checkpoint()
    assert_same(trained(run, tmp_path / "parts"), whole)
    assert whole["optimizer.extra.augmentation.linear.weight/exp_avg"].abs().max() > 0
    plain = trained(tiny_run(name, training={"steps": 4}), tmp_path / "plain")
    assert not torch.equal(whole["ema.head.weight"], plain["ema.head.weight"])
    if name == "coral":
        return
    parts = trained(tiny_run(name, training={**layers["training"], "gradient_accumulation": 2}), tmp_path / "cut")
    key = "optimizer.network.head.weight/exp_avg"
    torch.testing.assert_close(parts[key], whole[key], rtol=1e-2, atol=1e-4)
