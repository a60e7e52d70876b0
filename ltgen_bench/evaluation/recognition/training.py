"""Training and testing one classifier: deterministic, resumable."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from ltgen_bench.core.seeding import derive_seed
from ltgen_bench.core.storage import atomic_path
from ltgen_bench.datasets import ImageSet
from ltgen_bench.evaluation.recognition.mixtures import Mixture
from ltgen_bench.evaluation.recognition.networks import make_classifier
from ltgen_bench.evaluation.recognition.recipes import RecognitionRecipe

_TEST_BATCH = 500
_SAVE_EVERY = 2000  # steps
FEW_PIXELS = 16  # a side; up to here one thread is fastest, and the order of memory does not matter


@dataclass
class Classifier:
    """One classifier's training on a mixture; `train` resumes from `state`, a file that is written now and then.

    `real_images`: of the long-tailed set, which steps and learning rates count by. `flip`: whether mirrored images are
    of their class. `watched`: what `train` was told after every epoch.
    """

    recipe: RecognitionRecipe
    mixture: Mixture
    class_count: int
    real_images: int
    flip: bool
    seed: int
    device: torch.device
    state: Path | None = None
    tick: Callable[[int], None] = field(default=lambda step: None)
    watched: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.steps = self.recipe.steps(self.real_images)
        channels = self.mixture.images.shape[1]
        self.network = make_classifier(
            self.recipe.network, channels, self.class_count, derive_seed(self.seed, "classifier weights")
        ).to(self.device)
        # a step of ResNet-32 takes two thirds of the time; pictures of a few pixels gain nothing
        large = self.mixture.images.shape[-1] > FEW_PIXELS
        self.memory_format = torch.channels_last if large else torch.contiguous_format
        self.network.to(memory_format=self.memory_format)
        self.optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=self.recipe.learning_rate,
            momentum=self.recipe.momentum,
            weight_decay=self.recipe.weight_decay,
        )
        self.images = torch.from_numpy(self.mixture.images).to(self.device)
        self.labels = torch.from_numpy(self.mixture.labels).to(self.device)
        self.weights = torch.from_numpy(self.mixture.weights).to(self.device)

    def train(self, after_epoch: Callable[[], float] | None = None) -> nn.Module:
        """Train to the end; the network, in evaluation mode. What `after_epoch` says goes to `watched`."""
        step = self._resume()
        an_epoch = self.recipe.steps_an_epoch(self.real_images)
        while step < self.steps:
            self.step(step)
            step += 1
            self.tick(step)
            if after_epoch is not None and step % an_epoch == 0:
                self.watched.append(after_epoch())
            if step % _SAVE_EVERY == 0 and step < self.steps:
                self._save(step)
        if self.state is not None:
            self.state.unlink(missing_ok=True)
        return self.network.eval()

    def step(self, step: int) -> None:
        """Step 0, 1, ... of the optimiser."""
        self.network.train()
        rows = torch.from_numpy(self._rows(step)).to(self.device)
        x = self._augmented(self.images[rows].float() / 127.5 - 1, step)
        x = x.contiguous(memory_format=self.memory_format)
        losses = cross_entropy(self.network(x), self.labels[rows], reduction="none")
        weights = self.weights[rows]
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate(step, self.real_images)
        self.optimizer.zero_grad(set_to_none=True)
        ((weights * losses).sum() / weights.sum().clamp(min=1e-12)).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def _rows(self, step: int) -> np.ndarray:
        """The rows of a step: permutations of the set, one after the other, cut into batches."""
        size, count = self.recipe.batch_size, len(self.mixture)
        first, last = step * size, (step + 1) * size - 1
        turns = [
            np.random.Generator(np.random.PCG64(derive_seed(self.seed, "order", turn))).permutation(count)
            for turn in range(first // count, last // count + 1)
        ]
        start = first - first // count * count
        rows: np.ndarray = np.concatenate(turns)[start : start + size]
        return rows

    def _augmented(self, x: Tensor, step: int) -> Tensor:
        """Mirrored and shifted copies of (B, C, H, W), each image by its own draw."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "augment", step))
        size, side, most = len(x), x.shape[-1], self.recipe.crop_padding
        if self.flip:
            mirrored = (torch.rand(size, generator=generator) < 0.5).to(x.device)
            x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
        if most:
            down, right = torch.randint(2 * most + 1, (2, size), generator=generator).to(x.device)
            padded = pad(x, (most,) * 4, value=-1.0)
            rows = (down[:, None] + torch.arange(side, device=x.device))[:, None, :, None]
            columns = (right[:, None] + torch.arange(side, device=x.device))[:, None, None, :]
            x = padded[torch.arange(size, device=x.device)[:, None, None, None],
                       torch.arange(x.shape[1], device=x.device)[None, :, None, None], rows, columns]  # fmt: skip
        return x

    def _save(self, step: int) -> None:
        if self.state is None:
            return
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        for place, parameter in enumerate(self.network.parameters()):
            tensors[f"momentum.{place}"] = self.optimizer.state[parameter]["momentum_buffer"]
        self.state.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(self.state) as temporary:
            plain = {name: value.cpu().contiguous() for name, value in tensors.items()}
            header = {"step": step, "watched": self.watched, "mixture": self.mixture.sha256()}
            save_file(plain, str(temporary), metadata={name: json.dumps(value) for name, value in header.items()})

    def _resume(self) -> int:
        """The step to go on from; 0 where there is no state, or one that is not this training's."""
        if self.state is None or not self.state.is_file():
            return 0
        try:
            with safe_open(str(self.state), framework="pt") as file:
                header = {name: json.loads(value) for name, value in (file.metadata() or {}).items()}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            step, watched = int(header["step"]), [float(value) for value in header["watched"]]
        except (SafetensorError, OSError, KeyError, TypeError, ValueError):
            return 0  # damaged: trained anew
        # before anything is taken over: half of a state would be another beginning
        shapes = {f"network.{name}": value.shape for name, value in self.network.state_dict().items()}
        shapes |= {f"momentum.{place}": value.shape for place, value in enumerate(self.network.parameters())}
        if header["mixture"] != self.mixture.sha256() or {n: value.shape for n, value in tensors.items()} != shapes:
            return 0
        own = {name.removeprefix("network."): v for name, v in tensors.items() if name.startswith("network.")}
        self.network.load_state_dict(own)
        for place, parameter in enumerate(self.network.parameters()):
            buffer = tensors[f"momentum.{place}"].to(self.device)
            self.optimizer.state[parameter]["momentum_buffer"] = buffer
        self.watched[:] = watched
        return step


@torch.inference_mode()
def probabilities(network: nn.Module, images: np.ndarray, device: torch.device) -> np.ndarray:
    """Class probabilities of uint8 images (N, C, H, W), float32 (N, classes)."""
    network.eval()
    found = [
        network(torch.from_numpy(images[first : first + _TEST_BATCH]).to(device).float() / 127.5 - 1).softmax(1).cpu()
        for first in range(0, len(images), _TEST_BATCH)
    ]
    return torch.cat(found).numpy()


def accuracy_by_class(network: nn.Module, test: ImageSet, class_count: int, device: torch.device) -> list[float | None]:
    """The share of each class's test images that is recognised; None for a class without any."""
    right = probabilities(network, test.images, device).argmax(axis=1) == test.labels
    return [
        float(right[test.labels == label].mean()) if (test.labels == label).any() else None
        for label in range(class_count)
    ]
