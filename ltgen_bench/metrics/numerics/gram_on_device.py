"""The nuclear norm that a Fréchet distance needs, in float64 on a torch device: for many small classes."""

from __future__ import annotations

from ltgen_bench.metrics.inputs import FloatArray


def frechet_distance_on(x: FloatArray, y: FloatArray, device: str) -> float:
    """The FID of x (n, D) and y (m, D), n or m at most D, as `frechet_distance_gram` has it on the CPU.

    Singular values are roots of eigenvalues here, which GPUs find several times as fast and which costs half of the
    digits: the result is good to about 1e-6 of the covariances' traces.
    """
    import torch

    first, second = (torch.from_numpy(values).to(device, torch.float64, copy=True) for values in (x, y))
    mean_x, mean_y = first.mean(dim=0), second.mean(dim=0)
    first = first.sub_(mean_x).div_((len(x) - 1) ** 0.5)
    second = second.sub_(mean_y).div_((len(y) - 1) ** 0.5)
    few, many = (first, second) if len(first) <= len(second) else (second, first)
    inner = few @ many.T
    rank = min(len(x) - 1, len(y) - 1, x.shape[1])
    # beyond the rank that the numbers of samples allow there is rounding noise, whose roots would add up
    squares = torch.linalg.eigvalsh(inner @ inner.T)[len(few) - rank :]
    trace = first.square().sum() + second.square().sum()
    distance = (mean_x - mean_y).square().sum() + trace - 2 * squares.clamp(min=0).sqrt().sum()
    return max(0.0, float(distance))
