"""Methods that each break one promise; a plug-in file, checked by `test_check_plugin`."""

from __future__ import annotations

import pickle

import torch
from torch import nn
from torch.nn.functional import mse_loss

from ltgen_bench.methods import METHODS, DiffusionMethod, Method


class Honest(Method):
    """Noise around the mean image, as it should be."""

    def fit(self, train_set, context):
        self.mean = torch.from_numpy(train_set.images[:]).float().mean(0)

    def noise(self, seeds):
        return torch.stack([torch.randn(self.mean.shape, generator=torch.Generator().manual_seed(s)) for s in seeds])

    def sample(self, labels, seeds):
        return (self.mean + 40 * self.noise(seeds)).clamp(0, 255).to(torch.uint8)

    def save(self, path):
        torch.save({"mean": self.mean}, path)

    def load(self, path):
        self.mean = torch.load(path, weights_only=True)["mean"]


@METHODS.register("faulty-global-generator")
class GlobalGenerator(Honest):
    def noise(self, seeds):
        return torch.randn(len(seeds), *self.mean.shape)


@METHODS.register("faulty-batch-statistics")
class BatchStatistics(Honest):
    def noise(self, seeds):
        noise = super().noise(seeds)
        return noise - noise.mean(0)


@METHODS.register("faulty-constant")
class Constant(Honest):
    def noise(self, seeds):
        return torch.zeros(len(seeds), *self.mean.shape)


@METHODS.register("faulty-floats")
class Floats(Honest):
    def sample(self, labels, seeds):
        return super().sample(labels, seeds).float()


@METHODS.register("faulty-forgets")
class Forgets(Honest):
    def save(self, path):
        torch.save({"mean": self.mean.round()}, path)


@METHODS.register("faulty-unpickles")
class Unpickles(Honest):
    def save(self, path):
        path.write_bytes(pickle.dumps(self.mean))

    def load(self, path):
        self.mean = pickle.loads(path.read_bytes())


class Sound(DiffusionMethod):
    """DDPM, as it should be."""

    def losses(self, batch):
        return {"diffusion": self.errors(batch).mean()}

    def errors(self, batch):
        noise = self.network(batch.x_t, batch.t, batch.conditioning).noise
        return mse_loss(noise, batch.noise, reduction="none").mean((1, 2, 3))


@METHODS.register("faulty-detached-term")
class DetachedTerm(Sound):
    def losses(self, batch):
        return {**super().losses(batch), "own": self.errors(batch).mean().detach()}


@METHODS.register("faulty-infinite")
class Infinite(Sound):
    def losses(self, batch):
        return {"diffusion": self.errors(batch).mean() / 0}


@METHODS.register("faulty-unused-head")
class UnusedHead(Sound):
    def extra_modules(self):
        return {"head": nn.Linear(2, 2)}


@METHODS.register("faulty-hidden-module")
class HiddenModule(Sound):
    def __init__(self, spec, run):
        super().__init__(spec, run)
        self.head = nn.Linear(2, 2)


@METHODS.register("faulty-position")
class Position(Sound):
    def losses(self, batch):
        errors = self.errors(batch)
        return {"diffusion": (errors * torch.linspace(0, 1, len(errors))).mean()}


@METHODS.register("faulty-sum")
class Sum(Sound):
    def losses(self, batch):
        return {"diffusion": self.errors(batch).sum()}


@METHODS.register("faulty-counter")
class Counter(Sound):
    """It counts the batches that it has seen, which no checkpoint knows."""

    seen = 0

    def losses(self, batch):
        self.seen += 1
        return {"diffusion": self.errors(batch).mean() * self.seen}


@METHODS.register("faulty-ungathered")
class Ungathered(Sound):
    """It says that it compares images, and compares those of its own process only."""

    in_batch = True

    def losses(self, batch):
        bottleneck = self.network(batch.x_t, batch.t, batch.conditioning).bottleneck
        return {**super().losses(batch), "spread": bottleneck.std(0).mean()}


@METHODS.register("faulty-fit")
class Fit(Honest):
    def fit(self, train_set, context):
        return {}["epochs"]


@METHODS.register("faulty-constructor")
class Constructor(Sound):
    def __init__(self, spec, run):
        super().__init__(spec, run)
        self.rate = self.config.rate
