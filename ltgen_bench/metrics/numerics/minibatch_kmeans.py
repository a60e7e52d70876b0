"""Mini-batch k-means (Sculley 2010) on a torch device, with scikit-learn's draws and its rules for stopping.

scikit-learn runs on the CPU only. From the same points, centres and seed this takes the same batches and moves the same
centres, so that the clusters agree but for rows about as near to two centres as float32 can tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ltgen_bench.metrics.inputs import FloatArray, IntArray
from ltgen_bench.metrics.numerics.distances import exact_float32

if TYPE_CHECKING:
    import torch

BATCH_SIZE = 1024
PASSES = 100
# Batches in a row without a smaller running mean of the inertia.
PATIENCE = 10
# A centre with less than this share of the most frequent one's rows starts again at a row of the batch.
_RARE = 0.01
_ROWS_PER_BLOCK = 16384


def minibatch_labels(points: FloatArray, centres: FloatArray, *, seed: int, device: str) -> IntArray:
    """The cluster (N,) of each of `points` (N, D) float32, starting from `centres` (K, D), computed on `device`."""
    import torch

    rows = torch.from_numpy(points).to(device)
    with exact_float32(), torch.inference_mode():
        found = _Clusters(rows, torch.from_numpy(np.ascontiguousarray(centres)).to(device), seed).fit()
        parts = [nearest_centres(block, found)[0] for block in torch.split(rows, _ROWS_PER_BLOCK)]
    return np.asarray(torch.cat(parts).cpu().numpy(), dtype=np.int64)


def nearest_centres(rows: torch.Tensor, centres: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The nearest centre of every row, and the squared distance less the row's own squared norm."""
    import torch

    distances = torch.addmm(centres.square().sum(dim=1)[None, :], rows, centres.T, alpha=-2)
    smallest, which = distances.min(dim=1)
    return which, smallest


class _Clusters:
    """The state between two batches."""

    def __init__(self, rows: torch.Tensor, centres: torch.Tensor, seed: int) -> None:
        self.rows, self.centres = rows, centres
        self.counts = np.zeros(len(centres), dtype=np.float32)
        self.draw = np.random.RandomState(seed)
        self._seen = 0
        self._mean: float | None = None
        self._least = float("inf")
        self._worse = 0
        start = 3 * (BATCH_SIZE if len(centres) <= 3 * BATCH_SIZE else len(centres))
        start = min(start, len(rows))
        # scikit-learn draws rows to compare and to make first centres from, also where the centres are given
        self.draw.randint(0, len(rows), start)
        if start < len(rows):
            self.draw.randint(0, len(rows), start)

    def fit(self) -> torch.Tensor:
        """The centres (K, D) when the inertia no longer falls, or after `PASSES` passes over the points."""
        count = len(self.rows)
        size = min(BATCH_SIZE, count)
        even = np.full(count, 1 / count, dtype=np.float32)
        for step in range(PASSES * count // size):
            batch = self.draw.choice(count, size, p=even, replace=True)
            inertia = self._move(batch) / size
            if step and self._settled(inertia, min(1.0, 2 * size / (count + 1))):
                break
        return self.centres

    def _move(self, batch: IntArray) -> float:
        """Move every centre to the mean of all rows that it has had, and return the batch's inertia before that."""
        import torch

        rows = self.rows[torch.from_numpy(batch).to(self.rows.device)]
        labels, partial = nearest_centres(rows, self.centres)
        inertia = float((partial + rows.square().sum(dim=1)).clamp(min=0).double().sum())
        self._seen += len(batch)
        again = bool((self.counts == 0).any()) or self._seen >= 10 * len(self.centres)
        members = torch.nn.functional.one_hot(labels, len(self.centres)).to(rows.dtype)
        new = members.sum(dim=0)
        before = torch.from_numpy(self.counts).to(rows.device)
        # a product of matrices, because scattered additions come in another order in every run on a GPU
        sums = self.centres * before[:, None] + members.T @ rows
        total = (before + new)[:, None]
        self.centres = torch.where(new[:, None] > 0, sums / total.clamp(min=1), self.centres)
        self.counts += new.cpu().numpy()
        if again:
            self._seen = 0
            self._restart_rare(rows)
        return inertia

    def _restart_rare(self, rows: torch.Tensor) -> None:
        import torch

        rare = self.counts < _RARE * self.counts.max()
        most = int(0.5 * len(rows))
        if rare.sum() > 0.5 * len(rows):
            rare[np.argsort(self.counts)[most:]] = False
        if rare.any():
            chosen = self.draw.choice(len(rows), replace=False, size=int(rare.sum()))
            where = torch.from_numpy(np.flatnonzero(rare)).to(rows.device)
            self.centres[where] = rows[torch.from_numpy(chosen).to(rows.device)]
        self.counts[rare] = self.counts[~rare].min()

    def _settled(self, inertia: float, share: float) -> bool:
        """Whether the running mean of the inertia has not fallen for `PATIENCE` batches."""
        self._mean = inertia if self._mean is None else self._mean * (1 - share) + inertia * share
        if self._mean < self._least:
            self._least, self._worse = self._mean, 0
        else:
            self._worse += 1
        return self._worse >= PATIENCE
