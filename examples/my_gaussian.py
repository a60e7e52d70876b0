"""A method that is no diffusion: `ltgen-bench run --plugin my_gaussian.py --method my-gaussian`."""

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from ltgen_bench.methods import METHODS, Method


@METHODS.register("my-gaussian")
class MyGaussian(Method):
    """Draws pixels from a Gaussian a class, its covariance shrunk towards the diagonal."""

    title = "Gaussian a class"
    model_file = "model.safetensors"

    def fit(self, train_set, context):
        """From uint8 images (N, C, H, W) and labels (N,)."""
        pixels, mean, factor = train_set.images.reshape(len(train_set), -1).astype(float), [], []
        for label in range(self.spec.class_count):
            own = pixels[train_set.labels == label]
            covariance = np.cov(own.T) if len(own) > 1 else np.zeros((own.shape[1],) * 2)
            mean.append(own.mean(axis=0))
            factor.append(
                np.linalg.cholesky(
                    0.9 * covariance + (0.1 * covariance.trace() / len(covariance) + 1) * np.eye(len(covariance))
                )
            )
        self.mean, self.factor = torch.tensor(np.array(mean)), torch.tensor(np.array(factor))

    def sample(self, labels, seeds):
        """An image a label; each has a seed of its own, so that it does not depend on the others."""
        noise = [
            torch.randn(self.mean.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
            for seed in seeds
        ]
        drawn = [self.mean[label] + self.factor[label] @ z for label, z in zip(labels.tolist(), noise, strict=True)]
        return torch.stack(drawn).clamp(0, 255).round().to(torch.uint8).reshape(-1, *self.spec.image_shape)

    def save(self, path):
        """What `sample` needs, in one file."""
        save_file({"mean": self.mean, "factor": self.factor}, path)

    def load(self, path):
        """What `save` wrote."""
        values = load_file(path)
        self.mean, self.factor = values["mean"], values["factor"]
