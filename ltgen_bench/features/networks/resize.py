"""Resizing as two matrix products, one for rows and one for columns.

The filters are separable and linear, so an image resized to s x s is A X B^T with A (s, H) and B (s, W). That is
several times faster than gathering four neighbours, it means the same on every device, and it does not change with
the version of an image library. Pillow's bicubic filter also rounds to 8 bits after each of the two.
"""

from __future__ import annotations

import functools

import numpy as np
import torch


@functools.lru_cache(maxsize=32)
def tensorflow_matrix(n_in: int, n_out: int) -> np.ndarray:
    """The bilinear filter of TensorFlow 1's `resize_bilinear` (align_corners off), float32 (n_out, n_in).

    Output i samples the input at i n_in / n_out: no half-pixel centres, no antialiasing, the last pixel repeated.
    It is part of the FID network (kernels/resize_bilinear_op.cc in TensorFlow 1), and positions are computed in
    float32 as there.
    """
    position = np.arange(n_out, dtype=np.float32) * np.float32(n_in / n_out)
    low = np.minimum(position.astype(np.int64), n_in - 1)
    high = np.minimum(low + 1, n_in - 1)
    fraction = position - low.astype(np.float32)
    matrix = np.zeros((n_out, n_in), np.float32)
    rows = np.arange(n_out)
    np.add.at(matrix, (rows, low), 1 - fraction)
    np.add.at(matrix, (rows, high), fraction)
    return matrix


@functools.lru_cache(maxsize=32)
def antialias_matrix(n_in: int, n_out: int) -> np.ndarray:
    """The antialiased bilinear filter of Pillow and of torch's `antialias=True`, float32 (n_out, n_in).

    Half-pixel centres; a triangle of half-width max(1, n_in / n_out) around each of them, cut at the border and
    normalised. For enlarging that is plain bilinear interpolation.
    """
    scale = n_in / n_out
    width = max(1.0, scale)
    centre = (np.arange(n_out)[:, None] + 0.5) * scale
    distance = np.abs(np.arange(n_in)[None, :] + 0.5 - centre) / width
    matrix = np.maximum(0.0, 1.0 - distance)
    normalised: np.ndarray = matrix / matrix.sum(1, keepdims=True)
    return normalised.astype(np.float32)


_PILLOW_BITS = 22  # of the fixed-point coefficients that Pillow's Resample.c uses for 8-bit images


@functools.lru_cache(maxsize=32)
def pillow_bicubic_matrix(n_in: int, n_out: int) -> np.ndarray:
    """Pillow's bicubic filter (a = -0.5) for 8-bit images, whole numbers in units of 2^-22, float64 (n_out, n_in).

    Half-pixel centres; support 2 max(1, n_in / n_out), cut at the border and normalised before it is rounded.
    """
    scale = n_in / n_out
    wide = max(1.0, scale)
    matrix = np.zeros((n_out, n_in))
    for i in range(n_out):
        centre = (i + 0.5) * scale
        first, end = max(0, int(centre - 2 * wide + 0.5)), min(n_in, int(centre + 2 * wide + 0.5))
        t = np.abs((np.arange(first, end) - centre + 0.5) / wide)
        near, far = (1.5 * t - 2.5) * t * t + 1, ((-0.5 * t + 2.5) * t - 4) * t + 2
        weights = np.where(t < 1, near, np.where(t < 2, far, 0.0))
        fixed = weights / weights.sum() * 2**_PILLOW_BITS
        matrix[i, first:end] = np.trunc(fixed + np.where(fixed < 0, -0.5, 0.5))
    return matrix


class Resize:
    """Resize to `size` x `size` by one of the filters above, keeping the matrices on the device."""

    def __init__(self, filter_name: str, size: int, device: torch.device):
        self._matrix = {
            "tensorflow": tensorflow_matrix, "antialias": antialias_matrix, "pillow-bicubic": pillow_bicubic_matrix
        }[filter_name]  # fmt: skip
        self._eight_bit = filter_name == "pillow-bicubic"
        self._size, self._device = size, device
        self._cache: dict[int, torch.Tensor] = {}

    def _on_device(self, n_in: int) -> torch.Tensor:
        if n_in not in self._cache:
            self._cache[n_in] = torch.from_numpy(self._matrix(n_in, self._size).copy()).to(self._device)
        return self._cache[n_in]

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """float32 (B, C, H, W) -> float32 (B, C, size, size); the values are those of 8-bit images."""
        if self._eight_bit:
            x = _fixed_point(images.double() @ self._on_device(images.shape[3]).T)  # (B, C, H, size)
            return _fixed_point(self._on_device(images.shape[2]) @ x).float()
        columns = images @ self._on_device(images.shape[3]).T  # (B, C, H, size)
        return self._on_device(images.shape[2]) @ columns  # (B, C, size, size)


def _fixed_point(sums: torch.Tensor) -> torch.Tensor:
    """Sums in units of 2^-22 to whole grey levels, as Pillow rounds: exact in float64, whose 53 bits hold them."""
    return torch.floor((sums + 2.0 ** (_PILLOW_BITS - 1)) / 2.0**_PILLOW_BITS).clamp(0, 255)
