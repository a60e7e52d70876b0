"""Train the bundled digits networks again.

    python -m ltgen_bench.features.networks.train_digits_cnn --out FILE    write new weights
    python -m ltgen_bench.features.networks.train_digits_cnn --check       retrain and compare with the bundled ones
    python -m ltgen_bench.features.networks.train_digits_cnn --holdout     accuracy on images that were not trained on

With `--unseen` the second network, which is not shown the images that no training set contains: a judge that has not
seen the exam.

Everything is fixed so that the weights come out the same on another processor: float64, one thread, smooth
activations, seeds from NumPy's frozen legacy generator. Rounding differences of 1e-16 stay below 1e-5 after the 600
steps, and the weights are rounded to float32 at the end. About 7 seconds on one core.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from ltgen_bench.core.storage import atomic_path
from ltgen_bench.core.version import PACKAGE_ROOT
from ltgen_bench.features.networks.digits_cnn import DigitsNetwork, scaled
from ltgen_bench.features.weights import read_state

WEIGHTS = PACKAGE_ROOT / "features" / "weights"
BUNDLED = WEIGHTS / "digits_cnn.safetensors"
BUNDLED_UNSEEN = WEIGHTS / "digits_cnn_unseen.safetensors"
TRAINED_A_CLASS = 120  # of the second network: those that a training set may contain, first in the index rule's order

SEED = 0
TRAINING_STEPS = 600
BATCH = 64
LEARNING_RATE = 4e-3  # the peak: linear warm-up over a tenth of the steps, then a half cosine to 0
LABEL_SMOOTHING = 0.05  # keeps the softmax from saturating, so that features of tail digits stay apart
SHIFT_PROBABILITY = 0.5  # of moving a batch by up to one pixel each way
TOLERANCE = 1e-5  # largest difference of a weight between two processors


def training_digits() -> tuple[torch.Tensor, torch.Tensor]:
    """scikit-learn's digits: uint8 images (1797, 1, 8, 8) = round(value * 255 / 16), int64 labels (1797,)."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.round(data.images * (255 / 16)).astype(np.uint8)
    return torch.from_numpy(images[:, None]), torch.from_numpy(data.target.astype(np.int64))


def initial_network(draw: np.random.RandomState) -> DigitsNetwork:
    """The network in float64 with uniform weights of variance 1 / fan-in and zero biases."""
    network = DigitsNetwork().double()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            else:
                bound = math.sqrt(3 / parameter[0].numel())
                parameter.copy_(torch.from_numpy(draw.uniform(-bound, bound, tuple(parameter.shape))))
    return network


def train_network(indices: np.ndarray | None = None, *, seed: int = SEED) -> DigitsNetwork:
    """The network after training on the digits at `indices` (all of them by default), in float64, on one thread."""
    images, labels = training_digits()
    kept = torch.arange(len(images)) if indices is None else torch.from_numpy(np.asarray(indices))
    padded = functional.pad(scaled(images), (1, 1, 1, 1), value=-1.0)[kept]
    labels = labels[kept]
    # the legacy generator: NumPy promises never to change its stream
    draw = np.random.RandomState(seed)
    network = initial_network(draw)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, foreach=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for step in range(TRAINING_STEPS):
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * _schedule(step)
            batch = torch.from_numpy(draw.randint(0, len(labels), BATCH))
            down, right = draw.randint(0, 3, 2) if draw.random_sample() < SHIFT_PROBABILITY else (1, 1)
            _, logits = network(padded[batch, :, down : down + 8, right : right + 8])
            loss = functional.cross_entropy(logits, labels[batch], label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    finally:
        torch.set_num_threads(threads)
    return network


def _schedule(step: int) -> float:
    """The learning rate's factor at `step`."""
    warm_up = TRAINING_STEPS // 10
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 + 0.5 * math.cos(math.pi * (step - warm_up) / (TRAINING_STEPS - warm_up))


def trainable_digits() -> np.ndarray:
    """Row numbers, int64 (1200,), of the digits that a training set may contain: the rule of the data set `digits`."""
    labels = training_digits()[1].numpy()
    draw = np.random.RandomState(0)
    kept = []
    for label in range(10):
        rows = np.flatnonzero(labels == label)
        draw.shuffle(rows)
        kept.append(rows[:TRAINED_A_CLASS])
    return np.concatenate(kept).astype(np.int64)


def unseen_accuracy() -> tuple[int, int]:
    """(right, total) of the second network on the digits that it was not trained on."""
    images, labels = training_digits()
    rest = torch.from_numpy(np.setdiff1d(np.arange(len(images)), trainable_digits()))
    network = DigitsNetwork()
    network.load_state_dict(read_state(BUNDLED_UNSEEN, name="digits-cnn-unseen"))
    with torch.no_grad():
        _, logits = network.double()(scaled(images[rest]))
    return int((logits.argmax(1) == labels[rest]).sum()), len(rest)


def holdout_accuracy(*, seed: int = SEED) -> tuple[int, int]:
    """(right, total) on a random fifth of the digits, for a network trained on the others."""
    images, labels = training_digits()
    order = np.random.RandomState(seed).permutation(len(images))
    held_out = torch.from_numpy(order[: len(order) // 5])
    network = train_network(order[len(order) // 5 :], seed=seed)
    with torch.no_grad():
        _, logits = network(scaled(images[held_out]))
    return int((logits.argmax(1) == labels[held_out]).sum()), len(held_out)


def rounded_state(network: DigitsNetwork) -> dict[str, torch.Tensor]:
    """The network's weights in float32."""
    return {name: value.detach().float().contiguous() for name, value in network.state_dict().items()}


def largest_difference(network: DigitsNetwork, bundled_file: Path = BUNDLED) -> float:
    """The largest difference between a weight of `network` and the bundled one."""
    bundled = read_state(bundled_file, name="digits-cnn")
    return max(float((value - bundled[name]).abs().max()) for name, value in rounded_state(network).items())


def write_weights(arguments: list[str] | None = None) -> int:
    """Command line; returns 1 when `--check` finds other weights."""
    parser = argparse.ArgumentParser(description="Train the digits network that ltgen-bench bundles.")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--out", type=Path, help="write the weights to this safetensors file")
    action.add_argument("--check", action="store_true", help="retrain and compare with the bundled weights")
    action.add_argument("--holdout", action="store_true", help="report accuracy on images that were not trained on")
    parser.add_argument("--unseen", action="store_true", help="the network that has not seen the held-out images")
    options = parser.parse_args(arguments)
    if options.holdout:
        right, total = unseen_accuracy() if options.unseen else holdout_accuracy()
        print(f"held-out accuracy {right / total:.4f} ({right} of {total})")
        return 0
    network = train_network(trainable_digits() if options.unseen else None)
    if options.check:
        difference = largest_difference(network, BUNDLED_UNSEEN if options.unseen else BUNDLED)
        same = difference <= TOLERANCE
        print(f"largest difference {difference:.1e}, allowed {TOLERANCE:.0e}: {'the same' if same else 'DIFFERENT'}")
        return 0 if same else 1
    from safetensors.torch import save_file

    with atomic_path(options.out) as temporary:
        save_file(rounded_state(network), temporary)
    print(f"wrote {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(write_weights())
