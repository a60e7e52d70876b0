"""T2H's transfer weights against float64, their memory, and draws from them."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch
from baselines_support import make_batch, tiny_method
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from baselines.transfer import T2H, draw, transfer_weights
from ltgen_bench.diffusion import linear_schedule

SCHEDULE = linear_schedule()
SIGMAS = torch.from_numpy(np.sqrt(SCHEDULE.one_minus_alpha_bar / SCHEDULE.alpha_bar))


def exact_weights(x0: Tensor, noise: Tensor, candidates: Tensor, sigma: Tensor) -> np.ndarray:
    """The definition, row by row in numpy's longest float: differences, squares, softmax."""
    wide = np.longdouble
    rows = []
    for image, e, s in zip(
        x0.numpy().astype(wide), noise.numpy().astype(wide), sigma.numpy().astype(wide), strict=True
    ):
        logits = -np.square(image + s * e - candidates.numpy().astype(wide)).sum(axis=1) / (2 * s * s)
        masses = np.exp(logits - logits.max())
        rows.append(masses / masses.sum())
    return np.array(rows)


def pictures(count: int, generator: torch.Generator) -> Tensor:
    """Images on the grid of 8-bit pixels, every third one nearly a copy of its neighbour: one grey level off here
    and there, which small noise levels can hardly tell apart."""
    levels = torch.randint(0, 256, (count, 3072), generator=generator)
    for i in range(0, count - 1, 3):
        levels[i + 1] = levels[i]
        levels[i + 1, :: 97 * (i + 1)] ^= 1
    return levels / 127.5 - 1


@pytest.mark.parametrize("t", [0, 1, 10, 100, 300, 500, 700, 900, 999])
def test_weights_are_within_1e5_total_variation_of_the_definition(t: int) -> None:
    generator = torch.Generator().manual_seed(t)
    x0 = pictures(24, generator)
    noise = torch.randn(x0.shape, generator=generator)
    sigma = SIGMAS[t].expand(24)
    ours = transfer_weights(x0, noise, x0, sigma)
    exact = exact_weights(x0, noise, x0, sigma)
    total_variation = 0.5 * np.abs(ours.numpy() - exact).sum(axis=1)
    assert total_variation.max() < 1e-5
    np.testing.assert_allclose(ours.sum(dim=1), 1.0, rtol=1e-12)
    if t == 999:  # almost nothing is left of the image: others are nearly as likely as itself
        assert ours.diagonal().max() < 0.5


class LiveTensors(TorchDispatchMode):
    """The largest number of elements of one result inside, and the most bytes that results occupied at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = self.most_bytes = self.bytes = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        inputs = {x.untyped_storage()._cdata for x in args if isinstance(x, Tensor)}
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else [out]:
            if not isinstance(value, Tensor):
                continue
            self.elements = max(self.elements, value.numel())
            storage = value.untyped_storage()
            if storage._cdata in inputs or storage._cdata in self.seen:  # in place, or a view
                continue
            self.seen.add(storage._cdata)
            self.bytes += storage.nbytes()
            weakref.finalize(storage, self.gone, storage._cdata, storage.nbytes())
            self.most_bytes = max(self.most_bytes, self.bytes)
        return out

    def gone(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.bytes -= size


def test_extra_memory_is_below_ten_megabytes_and_no_tensor_larger_than_the_batch() -> None:
    x0, noise = torch.rand(128, 3072), torch.randn(128, 3072)
    sigma = SIGMAS[torch.randint(1000, (128,))]
    with LiveTensors() as live:
        transfer_weights(x0, noise, x0, sigma)
    assert live.elements == 128 * 3072  # B x B x D would be 128 times that
    assert 2 * 8 * 128 * 3072 <= live.most_bytes < 10e6
    with LiveTensors() as broadcast:
        (x0[:, None] - x0[None]).square().sum(dim=2)
    assert broadcast.most_bytes >= 2 * 4 * 128**2 * 3072  # what the same count says of the form with B x B x D


def test_draws_follow_the_weights() -> None:
    weights = torch.tensor([[0.5, 0.0, 0.3, 0.2]], dtype=torch.float64).expand(20_000, 4)
    drawn = draw(weights, torch.rand(20_000, generator=torch.Generator().manual_seed(0)))
    shares = torch.bincount(drawn, minlength=4) / 20_000
    assert shares[1] == 0
    assert (shares - weights[0]).abs().max() < 5 * (0.25 / 20_000) ** 0.5  # five standard deviations
    extremes = draw(weights[:2], torch.tensor([0.0, 1 - 2**-24]))
    assert extremes.tolist() == [0, 3]


@pytest.mark.parametrize(("name", "allowed"), [("t2h", "more"), ("h2t", "less"), ("transfer-full", "any")])
def test_only_allowed_images_are_taken(name: str, allowed: str) -> None:
    method = tiny_method(name, class_counts=(40, 20, 10, 5))
    assert isinstance(method, T2H)
    labels = [0, 1, 2, 3] * 8
    batch = make_batch(method, labels, t=[999] * 32)  # so noisy that all images are about as likely
    alpha_bar = float(method.schedule.alpha_bar[999])
    target = method.target(batch)
    implied = (batch.x_t - (1 - alpha_bar) ** 0.5 * target) / alpha_bar**0.5  # the x0 that the target points to
    nearest = torch.cdist(implied.flatten(1), batch.x0.flatten(1)).argmin(dim=1)
    pairs = {(labels[i], labels[int(j)]) for i, j in enumerate(nearest)}
    assert len(pairs) > 6
    assert all({"more": b <= a, "less": b >= a, "any": True}[allowed] for a, b in pairs)
    own = nearest == torch.arange(32)
    assert torch.equal(target[own], batch.noise[own])  # to the bit


def test_the_cut_of_a_batch_changes_no_target() -> None:
    import dataclasses

    method = tiny_method("transfer-full")
    assert isinstance(method, T2H)
    whole = make_batch(method, [0, 1, 2, 3] * 4, t=[999] * 16)
    fields = ("x0", "noise", "t", "x_t", "labels", "conditioning")
    parts = [
        dataclasses.replace(
            whole,
            **{name: getattr(whole, name)[first : first + 8] for name in fields},
            first=first,
            whole_size=16,
            read_whole=lambda: (whole.x0, whole.labels),
        )
        for first in (0, 8)
    ]
    torch.testing.assert_close(torch.cat([method.target(part) for part in parts]), method.target(whole))


def test_h2t_is_trained_and_sampled_without_labels() -> None:
    method = tiny_method("h2t")
    assert method.run.training.label_drop == 1.0
    assert method.run.sampling.conditioning == "none"
    method.network.eval()
    seen = []
    method.network.register_forward_pre_hook(lambda module, args: seen.append(args[2]))
    images = [method.sample(torch.tensor(labels), [1, 2]) for labels in ([0, 1], [3, 2])]
    assert torch.equal(*images)  # the label plays no part
    assert all((labels == -1).all() for labels in seen)
