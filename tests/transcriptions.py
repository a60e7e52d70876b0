"""Slow, literal transcriptions of every method's loss, image by image and class by class."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ltgen_bench.methods import NO_LABEL, DiffusionBatch, DiffusionMethod, without_low_rank

LABELS = [0, 0, 1, 2, 0, 1, 3, 0]  # class 3 has one image
# float32 sums in another order; the gradients of a deep network lose a digit more
VALUES = {"rtol": 2e-5, "atol": 1e-6}
GRADIENTS = {"rtol": 2e-3, "atol": 2e-6}


def images(batch: DiffusionBatch) -> range:
    return range(len(batch.x0))


def predict(method: DiffusionMethod, batch: DiffusionBatch, i: int, label: int) -> tuple[Tensor, Tensor]:
    """Noise (C, H, W) and bottleneck (channels,) of one image alone."""
    out = method.network(batch.x_t[i : i + 1], batch.t[i : i + 1], torch.tensor([label]))
    return out.noise[0], out.bottleneck[0]


def squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """||a - b||^2 as the mean over the numbers of one image."""
    return sum(((p - q) ** 2 for p, q in zip(a.flatten(), b.flatten(), strict=True)), torch.tensor(0.0)) / a.numel()


def ddpm(method: DiffusionMethod, batch: DiffusionBatch) -> Tensor:
    errors = [
        squared_distance(batch.noise[i], predict(method, batch, i, int(batch.conditioning[i]))[0])
        for i in images(batch)
    ]
    return torch.stack(errors).mean()


def reweighting(method: DiffusionMethod, batch: DiffusionBatch) -> Tensor:
    beta = method.config.beta
    weights = [(1 - beta) / (1 - beta**n) for n in method.spec.class_counts]
    total = torch.tensor(0.0)
    for i in images(batch):
        weight = weights[int(batch.labels[i])] * len(weights) / sum(weights)
        h = predict(method, batch, i, int(batch.conditioning[i]))[0]
        total = total + weight * squared_distance(batch.noise[i], h)
    return total / len(batch.x0)


def cbdm(method: DiffusionMethod, batch: DiffusionBatch) -> Tensor:
    counts = method.spec.class_counts if method.config.prior == "training" else [1] * method.spec.class_count
    uniform = batch.uniform("other labels")
    total = torch.tensor(0.0)
    for i in images(batch):
        if batch.conditioning[i] == NO_LABEL:
            continue
        # y' by inversion: the first class whose cumulative frequency exceeds the uniform number
        other = next(c for c in range(len(counts)) if sum(counts[: c + 1]) / sum(counts) > float(uniform[i]))
        h, h_other = predict(method, batch, i, int(batch.labels[i]))[0], predict(method, batch, i, other)[0]
        t = int(batch.t[i]) + (method.config.variant == "paper")
        term = squared_distance(h, h_other.detach()) + method.config.gamma * squared_distance(h.detach(), h_other)
        total = total + t / method.schedule.steps * method.config.tau * term
    return ddpm(method, batch) + total / len(batch.x0)


def transfer(method: DiffusionMethod, batch: DiffusionBatch) -> Tensor:
    uniform = batch.uniform("transfer")
    total = torch.tensor(0.0)
    for i in images(batch):
        alpha_bar = float(method.schedule.alpha_bar[int(batch.t[i])])
        sigma = math.sqrt(1 / alpha_bar - 1)
        noisy = batch.x0[i].double() + sigma * batch.noise[i].double()
        logits = [-float(((noisy - batch.x0[j].double()) ** 2).sum()) / (2 * sigma**2) for j in images(batch)]
        masses = [math.exp(logit - max(logits)) for logit in logits]
        point, j = float(uniform[i]) * sum(masses), 0
        while j + 1 < len(masses) and sum(masses[: j + 1]) <= point:
            j += 1
        own, other = (method.spec.class_counts[int(batch.labels[k])] for k in (i, j))
        allowed = {
            "at-least-as-frequent": other >= own,
            "at-most-as-frequent": other <= own,
            "any": True,
            "none": False,
        }
        j = j if allowed[method.config.keep] else i
        target = (batch.x_t[i].double() - math.sqrt(alpha_bar) * batch.x0[j].double()) / math.sqrt(1 - alpha_bar)
        h = predict(method, batch, i, int(batch.conditioning[i]))[0]
        total = total + squared_distance(target.float(), h)
    return total / len(batch.x0)


def supcon_anchor(z: list[Tensor], labels: list[int], i: int, temperature: float, rows: list[int]) -> Tensor | None:
    """Eq. 5 of the CORAL paper for one anchor; None for an anchor without positives."""
    others = [s for s in rows if s != i]
    positives = [p for p in others if labels[p] == labels[i]]
    if not positives:
        return None
    denominator = sum((torch.exp(z[i] @ z[s] / temperature) for s in others), torch.tensor(0.0))
    terms = [torch.log(torch.exp(z[i] @ z[p] / temperature) / denominator) for p in positives]
    return -torch.stack(terms).sum() / len(positives)


def contrastive(method: DiffusionMethod, batch: DiffusionBatch, embeddings: list[Tensor]) -> Tensor:
    config = method.config
    z = [e / e.norm() for e in embeddings]
    labels = batch.labels.tolist()
    first = int(config.variant == "paper")  # the released code counts t from 0
    lambdas = [config.weight * math.exp((1 - (int(t) + first) / method.schedule.steps) / config.decay) for t in batch.t]
    rows = list(images(batch))
    if config.variant == "released":
        lambdas = [config.temperature * sum(lambdas) / len(lambdas)] * len(lambdas)
        rows = [i for i in rows if batch.conditioning[i] != NO_LABEL]
    found = [(lambdas[i], supcon_anchor(z, labels, i, config.temperature, rows)) for i in rows]
    terms = [weight * value for weight, value in found if value is not None]
    return ddpm(method, batch) + (torch.stack(terms).mean() if terms else torch.tensor(0.0))


def coral(method: DiffusionMethod, batch: DiffusionBatch) -> Tensor:
    head = method.extra["head"]
    embeddings = []
    for i in images(batch):
        bottleneck = predict(method, batch, i, int(batch.conditioning[i]))[1]
        embeddings.append(head.weight @ bottleneck + head.bias)
    return contrastive(method, batch, embeddings)


def ambient(method: DiffusionMethod, batch: DiffusionBatch) -> Tensor:
    embeddings = []
    for i in images(batch):
        h = predict(method, batch, i, int(batch.conditioning[i]))[0]
        alpha_bar = float(method.schedule.alpha_bar[int(batch.t[i])])
        x0 = (batch.x_t[i] - math.sqrt(1 - alpha_bar) * h) / math.sqrt(alpha_bar)
        embeddings.append(h.flatten() if method.config.output == "noise" else x0.flatten())
    return contrastive(method, batch, embeddings)


def ccua(method: DiffusionMethod, batch: DiffusionBatch) -> Tensor:
    """The positive of an anchor is itself: -log(e^1 / (e^1 + sum over the others)), on the flattened bottleneck."""
    config, steps = method.config, method.schedule.steps
    first = 1 if config.variant == "paper" else 0
    z, alignment = [], torch.tensor(0.0)
    for i in images(batch):
        free = method.network(batch.x_t[i : i + 1], batch.t[i : i + 1], torch.tensor([NO_LABEL]))
        flat = free.middle[0].flatten()
        z.append(flat / flat.norm())
        if batch.conditioning[i] != NO_LABEL:
            h = predict(method, batch, i, int(batch.labels[i]))[0]
            alignment = alignment + (int(batch.t[i]) + first) / steps * squared_distance(h, free.noise[0])
    contrast = torch.tensor(0.0)
    for i in images(batch):
        own = torch.exp(z[i] @ z[i] / config.temperature)
        others = sum((torch.exp(z[i] @ z[j] / config.temperature) for j in images(batch) if j != i), torch.tensor(0.0))
        contrast = contrast - (int(batch.t[i]) + first) / steps * torch.log(own / (own + others))
    total = config.contrast_weight * contrast + config.alignment_weight * alignment
    return ddpm(method, batch) + total / len(batch.x0)


def cm(method: DiffusionMethod, batch: DiffusionBatch) -> Tensor:
    """With weights of the general pass written out: W alone; W + B A, viewed, for the full one."""
    config, counts = method.config, method.spec.class_counts
    total = torch.tensor(0.0)
    for i in images(batch):
        h = predict(method, batch, i, int(batch.conditioning[i]))[0]
        with without_low_rank(method.network):
            g = predict(method, batch, i, int(batch.conditioning[i]))[0]
        y = int(batch.labels[i])
        p, q = counts[y] / sum(counts), (1 / counts[y]) / sum(1 / n for n in counts)
        weight = len(counts) * (config.consistency * p - config.diversity * q)
        total = total + weight * squared_distance(h, g)
    return ddpm(method, batch) + total / len(batch.x0)


def diffrop(method: DiffusionMethod, batch: DiffusionBatch) -> Tensor:
    uniform, classes = batch.uniform("other class"), method.spec.class_count
    betas = torch.linspace(1e-4, 0.02, method.schedule.steps, dtype=torch.float64)
    total = torch.tensor(0.0)
    for i in images(batch):
        if batch.conditioning[i] == NO_LABEL:
            continue
        y, t = int(batch.labels[i]), int(batch.t[i])
        rest = [(y + 1 + k) % classes for k in range(classes - 1)]  # every class but its own
        h, other = predict(method, batch, i, y)[0], predict(method, batch, i, rest[int(uniform[i] * len(rest))])[0]
        alpha_bar = float((1 - betas)[: t + 1].prod())
        kl = float(betas[t]) / (2 * float(1 - betas[t]) * (1 - alpha_bar)) * squared_distance(h, other)
        total = total + torch.relu(method.config.margin - kl)
    return ddpm(method, batch) + method.config.weight * total / len(batch.x0)


def diffrop_of_ccua(method: DiffusionMethod, batch: DiffusionBatch) -> Tensor:
    order = torch.randperm(len(batch.x0), generator=torch.Generator().manual_seed(batch.seed))
    total = torch.tensor(0.0)
    for i in images(batch):
        j = int(order[i])
        if batch.labels[i] != batch.labels[j]:
            own, other = (predict(method, batch, row, int(batch.conditioning[row]))[0] for row in (i, j))
            total = total + (1 - (int(batch.t[i]) + 1) / method.schedule.steps) * squared_distance(own, other)
    return ddpm(method, batch) + method.config.weight / (1 + total / len(batch.x0))


def tiw(method: DiffusionMethod, batch: DiffusionBatch) -> Tensor:
    """Class by class: w = sum_y (u_y / pi_y) p(y | x_t); grad log w = sum_y r_y grad log p(y | x_t)."""
    counts = method.spec.class_counts
    shares = [n / sum(counts) for n in counts]
    total = torch.tensor(0.0)
    for i in images(batch):
        x, t = batch.x_t[i : i + 1].clone().requires_grad_(), batch.t[i : i + 1]
        log_p = method.classifier.network(x, t).log_softmax(dim=1)[0]  # type: ignore[attr-defined]
        gradients_of = [torch.autograd.grad(log_p[c], x, retain_graph=True)[0][0] for c in range(len(counts))]
        parts = [float(log_p[c].detach().exp()) / len(counts) / shares[c] for c in range(len(counts))]
        correction = sum((p / sum(parts) * g for p, g in zip(parts, gradients_of, strict=True)), torch.zeros(()))
        sigma = math.sqrt(1 - float(method.schedule.alpha_bar[int(batch.t[i])]))
        h = predict(method, batch, i, NO_LABEL)[0]
        total = total + sum(parts) * squared_distance(batch.noise[i] - sigma * correction, h)
    return total / len(batch.x0)


TRANSCRIPTIONS = {
    "ddpm-cg": ddpm,
    "ddpm-cg-balanced": ddpm,
    "tiw-unconditional": tiw,
    "cm": cm,
    "diffrop-reconstructed": diffrop,
    "ccua": ccua,
    "ddpm": ddpm,
    "ddpm-resampling": ddpm,
    "ddpm-reweighting": reweighting,
    "cbdm": cbdm,
    "t2h": transfer,
    "h2t": transfer,
    "transfer-full": transfer,
    "coral": coral,
    "ambient-contrastive": ambient,
}
