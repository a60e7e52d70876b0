"""What a training step of each method costs next to DDPM's: a Markdown table.

    export OMP_NUM_THREADS=1 MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592
    python tests/bench/method_costs.py > tests/bench/METHOD_COSTS.md   # half an hour, all else at rest

Losses and gradients on the 32-pixel network (35.8 M parameters), float32, one thread, 8 images. All methods take turns,
and the least processor time of each over the rounds counts, divided by DDPM's: what slows the machine for minutes slows
all of them, and the fastest of many short steps is one that nothing disturbed. The two settings keep freed memory in
the process, or the kernel's clearing of it is measured too. Where the network is passed twice its second gradient is
added to the first, 35.8 M sums whatever the batch is: a hundredth of a step of 8 images and nothing of one of 64.
Operations are those of convolutions and matrix products, and memory is what autograd keeps for the backward pass, which
is what grows with the batch; neither depends on the machine. `--rounds 1` and method names shorten it; `--rounds 0`
leaves time out.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

sys.path.insert(0, str(Path(__file__).parent))
from test_bench_training import fastest, full_size, make_batch, step_of

from ltgen_bench.methods import METHODS, DiffusionMethod

SIZE = 8
JOINED = ["coral+cbdm", "coral+t2h", "cm+cbdm"]


def kept_bytes(method: DiffusionMethod, size: int) -> int:
    """Bytes of activations that the losses of a batch keep for the backward pass, each storage once."""
    seen: dict[int, int] = {}
    weights = {p.untyped_storage().data_ptr() for m in (method.network, method.extra) for p in m.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        losses = method.losses(make_batch(method.spec, size))  # noqa: F841 - alive, so that no storage is used twice
    return sum(seen.values())


class Operations(TorchDispatchMode):
    """Counts as torch's FlopCounterMode does, which cannot see a loss that is a gradient itself."""

    total = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if (formula := flop_registry.get(function._overloadpacket)) is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result


def operations(method: DiffusionMethod, size: int) -> int:
    """Floating-point operations of the losses of a batch and their gradients."""
    with Operations() as counter:
        step_of(method, size)()
    return counter.total


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = [name for name in METHODS.names() if issubclass(METHODS.get(name), DiffusionMethod)]
    names = options.names or [name for name in known + JOINED if name != "ddpm"]
    methods = [full_size(name) for name in ["ddpm", *names]]
    times = fastest(options.rounds, *(step_of(method, SIZE) for method in methods)) if options.rounds else []
    kept, work = kept_bytes(methods[0], SIZE), operations(methods[0], SIZE)
    print("# What a training step costs next to DDPM's\n\n`tests/bench/method_costs.py`, on a CPU; see there.\n")
    titles = ["method", "network passes", "operations / DDPM's", "time / DDPM's", "memory of a step / DDPM's"]
    titles += ["parameters of the network, M", "trained beside it, M"]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for index, (name, method) in enumerate(zip(names, methods[1:], strict=True), start=1):
        time = f"{times[index] / times[0]:.2f}" if times else "–"
        facts = {key: value / 1e6 for key, value in method.facts().items()}
        beside = sum(value for key, value in facts.items() if key != "network_parameters")
        print(
            f"| `{name}` | {method.passes} | {operations(method, SIZE) / work:.3f} | {time} | "
            f"{kept_bytes(method, SIZE) / kept:.2f} | {facts['network_parameters']:.1f} | {beside:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
