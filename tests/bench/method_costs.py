"""What a training step of each method costs next to DDPM's: a Markdown table.

    OMP_NUM_THREADS=1 python tests/bench/method_costs.py > tests/bench/METHOD_COSTS.md     # about 15 minutes

Losses and gradients on the 32-pixel network (35.8 M parameters), batch 8, float32, one thread; a method and DDPM take
turns and the least processor time of each counts. Memory is what autograd keeps for the backward pass, which is what
grows with the batch; it does not depend on the machine. `--rounds 1` and method names shorten it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from test_bench_training import fastest, full_size, make_batch, step_of

from ltgen_bench.methods import METHODS, DiffusionMethod

SIZE = 8
JOINED = ["coral+cbdm", "coral+t2h", "cm+cbdm"]


def kept_bytes(method: DiffusionMethod) -> int:
    """Bytes of activations that the losses of a batch keep for the backward pass, each storage once."""
    seen: dict[int, int] = {}
    weights = {p.untyped_storage().data_ptr() for m in (method.network, method.extra) for p in m.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        losses = method.losses(make_batch(method.spec, SIZE))  # noqa: F841 - alive, so that no storage is used twice
    return sum(seen.values())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = [name for name in METHODS.names() if issubclass(METHODS.get(name), DiffusionMethod)]
    names = options.names or [name for name in known + JOINED if name != "ddpm"]
    plain = full_size("ddpm")
    memory = kept_bytes(plain)
    print("# What a training step costs next to DDPM's\n\n`tests/bench/method_costs.py`, on a CPU; see there.\n")
    print(
        "| method | network passes | time / DDPM's | memory of a step / DDPM's | parameters of the network, M |", end=""
    )
    print(" trained beside it, M |\n|---|---|---|---|---|---|")
    for name in names:
        method = full_size(name)
        base, cost = fastest(options.rounds, step_of(plain, SIZE), step_of(method, SIZE))
        facts = {key: value / 1e6 for key, value in method.facts().items()}
        beside = sum(value for key, value in facts.items() if key != "network_parameters")
        print(
            f"| `{name}` | {method.passes} | {cost / base:.2f} | {kept_bytes(method) / memory:.2f} | "
            f"{facts['network_parameters']:.1f} | {beside:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
