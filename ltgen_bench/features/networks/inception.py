"""InceptionV3 of 2015-12-05, the network that FID is defined with, arranged for speed.

The architecture is Szegedy et al. 2015 (arXiv:1512.00567) as the TensorFlow graph of 2015-12-05 has it, which departs
from torchvision's in three places: 1008 classes, average pooling that leaves the padding out of its mean, and a max
pool instead of an average pool in the last block. Parameter names are those of torch-fidelity and pytorch-fid, so
their weights file loads here. Images are resized to 299 x 299 as TensorFlow 1 does it and scaled to (x - 128) / 128.

Compared with evaluating the graph as it is written, with equal results up to float32 rounding:

* batch normalisation is folded into the convolutions,
* the 1x1 convolutions that read the same tensor are one convolution; this includes the one behind each average pool,
  because averaging and a 1x1 convolution commute, and after the convolution there is less to average,
* tensors are channels_last, and resizing is two matrix products.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from ltgen_bench.features.base import ExtractorOutput, as_rgb
from ltgen_bench.features.info import BUILTIN
from ltgen_bench.features.networks.folding import folded
from ltgen_bench.features.networks.from_state import State, StateExtractor
from ltgen_bench.features.networks.resize import Resize

INPUT_SIZE = 299
BATCH_NORM_EPSILON = 1e-3


class Convolution(nn.Module):
    """One or several convolutions over the same input, with folded batch normalisation, and ReLU.

    `names` are prefixes in the weights file; their outputs stand next to each other in this order.
    """

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, state: State, *names: str, stride: int = 1, padding: tuple[int, int] = (0, 0)):
        super().__init__()
        pairs = [
            folded(
                state[f"{name}.conv.weight"],
                gamma=state[f"{name}.bn.weight"],
                beta=state[f"{name}.bn.bias"],
                mean=state[f"{name}.bn.running_mean"],
                variance=state[f"{name}.bn.running_var"],
                epsilon=BATCH_NORM_EPSILON,
            )
            for name in names
        ]
        self.widths = [len(bias) for _, bias in pairs]
        self.register_buffer("weight", torch.cat([weight for weight, _ in pairs]))
        self.register_buffer("bias", torch.cat([bias for _, bias in pairs]))
        self.stride, self.padding = stride, padding

    def linear(self, x: torch.Tensor) -> torch.Tensor:
        """The convolution without its ReLU."""
        return functional.conv2d(x, self.weight, self.bias, self.stride, self.padding)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, sum of widths, H', W')."""
        return self.linear(x).relu_()


class Chain(nn.Sequential):
    """Convolutions one after the other: `(name, padding)`; the last one may have a stride."""

    def __init__(self, state: State, block: str, *steps: tuple[str, tuple[int, int]], last_stride: int = 1):
        super().__init__(
            *(
                Convolution(state, f"{block}.{name}", padding=padding, stride=last_stride if last else 1)
                for (name, padding), last in zip(steps, [False] * (len(steps) - 1) + [True], strict=True)
            )
        )


def _average(x: torch.Tensor) -> torch.Tensor:
    return functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class PooledBlock(nn.Module):
    """The blocks of constant resolution (A and C): 1x1, two chains, and an average pool with a 1x1 convolution."""

    def __init__(self, state: State, block: str, *chains: tuple[tuple[str, tuple[int, int]], ...]):
        super().__init__()
        heads = [f"{block}.{chain[0][0]}" for chain in chains]
        self.entry = Convolution(state, f"{block}.branch1x1", *heads, f"{block}.branch_pool")
        self.chains = nn.ModuleList(Chain(state, block, *chain[1:]) for chain in chains)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C', H, W)."""
        first, *heads, pooled = self.entry.linear(x).split_with_sizes(self.entry.widths, 1)
        outputs = [chain(head.relu()) for chain, head in zip(self.chains, heads, strict=True)]
        return torch.cat([first.relu(), *outputs, _average(pooled).relu_()], 1)


class ReducingBlock(nn.Module):
    """The blocks that halve the resolution (B and D): one or two chains with stride 2, and a max pool."""

    def __init__(self, state: State, block: str, *chains: tuple[tuple[str, tuple[int, int]], ...]):
        super().__init__()
        self.chains = nn.ModuleList(Chain(state, block, *chain, last_stride=2) for chain in chains)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C', (H - 1) // 2, (W - 1) // 2)."""
        return torch.cat([*(chain(x) for chain in self.chains), functional.max_pool2d(x, 3, stride=2)], 1)


class WideBlock(nn.Module):
    """The last two blocks (E), whose chains end in a 1x3 and a 3x1 convolution side by side.

    `max_pool` is what the 2015 graph has in the very last one.
    """

    def __init__(self, state: State, block: str, *, max_pool: bool):
        super().__init__()
        self.max_pool = max_pool
        names = [f"{block}.{name}" for name in ("branch1x1", "branch3x3_1", "branch3x3dbl_1")]
        pool = f"{block}.branch_pool"
        self.entry = Convolution(state, *names, *([] if max_pool else [pool]))
        self.pool = Convolution(state, pool) if max_pool else None
        self.second = Convolution(state, f"{block}.branch3x3dbl_2", padding=(1, 1))
        self.wide = nn.ModuleList(
            Convolution(state, f"{block}.{name}", padding=padding)
            for name, padding in (
                ("branch3x3_2a", (0, 1)),
                ("branch3x3_2b", (1, 0)),
                ("branch3x3dbl_3a", (0, 1)),
                ("branch3x3dbl_3b", (1, 0)),
            )
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, 2048, H, W)."""
        first, single, double, *pooled = self.entry.linear(x).split_with_sizes(self.entry.widths, 1)
        single, double = single.relu(), self.second(double.relu())
        if self.pool is None:
            last = _average(pooled[0]).relu_()
        else:
            last = self.pool(functional.max_pool2d(x, 3, stride=1, padding=1))
        a, b, c, d = self.wide
        return torch.cat([first.relu(), a(single), b(single), c(double), d(double), last], 1)


_SAME3, _SAME5, _ROW7, _COLUMN7, _NONE = (1, 1), (2, 2), (0, 3), (3, 0), (0, 0)


def _block_a(state: State, block: str) -> PooledBlock:
    return PooledBlock(
        state,
        block,
        (("branch5x5_1", _NONE), ("branch5x5_2", _SAME5)),
        (("branch3x3dbl_1", _NONE), ("branch3x3dbl_2", _SAME3), ("branch3x3dbl_3", _SAME3)),
    )


def _block_c(state: State, block: str) -> PooledBlock:
    return PooledBlock(
        state,
        block,
        (("branch7x7_1", _NONE), ("branch7x7_2", _ROW7), ("branch7x7_3", _COLUMN7)),
        (
            ("branch7x7dbl_1", _NONE),
            ("branch7x7dbl_2", _COLUMN7),
            ("branch7x7dbl_3", _ROW7),
            ("branch7x7dbl_4", _COLUMN7),
            ("branch7x7dbl_5", _ROW7),
        ),
    )


def inception_until_mixed_6c(state: State) -> nn.Sequential:
    """The first layers, from float (B, 3, 299, 299) in [-1, 1] to (B, 768, 17, 17): what Mixed_6d reads."""
    return nn.Sequential(
        Convolution(state, "Conv2d_1a_3x3", stride=2),
        Convolution(state, "Conv2d_2a_3x3"),
        Convolution(state, "Conv2d_2b_3x3", padding=_SAME3),
        nn.MaxPool2d(3, stride=2),
        Convolution(state, "Conv2d_3b_1x1"),
        Convolution(state, "Conv2d_4a_3x3"),
        nn.MaxPool2d(3, stride=2),
        *(_block_a(state, f"Mixed_5{letter}") for letter in "bcd"),
        ReducingBlock(
            state,
            "Mixed_6a",
            (("branch3x3", _NONE),),
            (("branch3x3dbl_1", _NONE), ("branch3x3dbl_2", _SAME3), ("branch3x3dbl_3", _NONE)),
        ),
        *(_block_c(state, f"Mixed_6{letter}") for letter in "bc"),
    )


def inception_v3(state: State) -> nn.Sequential:
    """The network from float (B, 3, 299, 299) in [-1, 1] to (B, 2048, 8, 8); KeyError when the weights do not fit."""
    return nn.Sequential(
        *inception_until_mixed_6c(state),
        *(_block_c(state, f"Mixed_6{letter}") for letter in "de"),
        ReducingBlock(
            state,
            "Mixed_7a",
            (("branch3x3_1", _NONE), ("branch3x3_2", _NONE)),
            (("branch7x7x3_1", _NONE), ("branch7x7x3_2", _ROW7), ("branch7x7x3_3", _COLUMN7), ("branch7x7x3_4", _NONE)),
        ),
        WideBlock(state, "Mixed_7b", max_pool=False),
        WideBlock(state, "Mixed_7c", max_pool=True),
    )


class InceptionV3Extractor(StateExtractor):
    """2048 pooled features and 1008 logits; the only extractor whose Fréchet distance is called FID.

    The logits leave the bias of the last layer out, as the Inception Score's original code and torch-fidelity's
    `logits_unbiased` do.
    """

    name = "inception-v3-fid"
    info = BUILTIN[name]
    dim = info.dim
    compute_batch_cpu = 16
    compute_batch_gpu = 128

    def build(self, state: State) -> None:
        """The folded network and, because pooling comes first, its classifier apart."""
        self._network = self.placed(inception_v3(state))
        self._classifier = state["fc.weight"].float().to(self.device)
        self._resize = Resize("tensorflow", INPUT_SIZE, self.device)

    def compute(self, images: torch.Tensor) -> ExtractorOutput:
        """Features (B, 2048) and logits (B, 1008) of uint8 images (B, 1 or 3, H, W)."""
        x = as_rgb(self._resize((images.float() - 128) / 128))
        x = self._network(self.for_network(x))
        features = x.float().mean((2, 3))
        return ExtractorOutput(features, features @ self._classifier.T)
