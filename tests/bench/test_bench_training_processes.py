"""Two processes against one: how much of the processor time goes into the training itself.

Run alone: `python -m pytest tests/bench/test_bench_training_processes.py -q -s`. Efficiency is the processor time that
one process needs for a number of steps over what two need together for the same steps, so other
programs on the machine do not count. The file is also what torchrun starts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

STEPS = 4


def measure() -> float:
    """Processor seconds of this process for `STEPS` steps of a 9 M parameter network, after one to warm up."""
    import torch
    from baselines_support import make_trainer, tiny_run

    from ltgen_bench.core.distributed import join_world

    torch.set_num_threads(1)
    world = join_world()
    run = tiny_run(
        "coral",
        network={"base_channels": 64, "norm_groups": 32, "channel_multipliers": [1, 2], "residual_blocks": 2},
        training={"batch_size": 256, "steps": 100},
    )
    trainer = make_trainer(run, Path(tempfile.mkdtemp()))
    if world.size > 1:
        trainer._loss_module = torch.nn.parallel.DistributedDataParallel(trainer._loss_module)
    trainer.train_step()
    start = time.process_time()
    for _ in range(STEPS):
        trainer.train_step()
    return time.process_time() - start


def run_processes(count: int, folder: Path) -> list[float]:
    """The processor seconds of each of `count` processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    subprocess.run([*command, __file__, str(folder)], env=environment, check=True, capture_output=True)
    return [json.loads(file.read_text()) for file in sorted(folder.glob("seconds-*"))]


def test_two_processes(benchmark: object, tmp_path: Path) -> None:
    for count in (1, 2):
        (tmp_path / str(count)).mkdir()
    one, two = (run_processes(count, tmp_path / str(count)) for count in (1, 2))
    benchmark(lambda: None)  # type: ignore[operator] - the time is taken in the processes
    efficiency = sum(one) / sum(two)
    benchmark.extra_info.update(one=one, two=two, efficiency=efficiency)  # type: ignore[attr-defined]
    print(f"\none process {sum(one):.2f} s, two {sum(two):.2f} s of processor time: efficiency {efficiency:.2f}")
    assert efficiency > 0.75


if __name__ == "__main__":
    seconds = measure()
    (Path(sys.argv[1]) / f"seconds-{os.environ['RANK']}").write_text(json.dumps(seconds))
