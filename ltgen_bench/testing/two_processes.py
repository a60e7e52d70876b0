"""Two processes train what one process trains: a worker that torchrun starts twice, and the comparison.

All methods that are checked together are trained by the same two processes, because starting them takes longest.
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist

from ltgen_bench.core.distributed import join_world, leave_world
from ltgen_bench.core.plugins import author_code, in_one_line, load_plugin_file
from ltgen_bench.core.storage import write_json
from ltgen_bench.methods import METHODS
from ltgen_bench.testing.checklist import Skipped, expect
from ltgen_bench.testing.diffusion_checks import trained_state
from ltgen_bench.testing.method_trials import MethodTrial, make_trainer

_TIMEOUT = 300.0  # seconds, for all methods together


class ProcessPair:
    """Trains the diffusion methods of `trials` by two processes, once, when the first result is asked for."""

    def __init__(self, trials: Sequence[MethodTrial], folder: Path):
        self.trials, self.folder = trials, folder
        self._errors: dict[str, str] | None = None

    def check(self, trial: MethodTrial) -> None:
        """Raise CheckFailedError unless one process trains `trial` as two did."""
        if not dist.is_available():
            raise Skipped("this PyTorch has no torch.distributed")
        expect(_file(trial) is not None, "its class has no file that another process could import")
        if self._errors is None:
            self._errors = self._train()
        expect(trial.name not in self._errors, self._errors.get(trial.name, ""))
        alone = make_trainer(trial.run, trial.new_folder("one-process"))
        alone.run()
        one, two = (
            trained_state(alone.state_path),
            trained_state(_place(self.folder, trial.name) / alone.state_path.name),
        )
        # Averages of gradients are sums in another order, which float32 rounds; Adam blows that up in the weights.
        for key in (key for key in one if key.endswith("/exp_avg")):
            close = torch.isclose(two[key], one[key], rtol=1e-3, atol=2e-6)
            largest = float((two[key] - one[key]).abs().max())
            name = key.removeprefix("optimizer.").removesuffix("/exp_avg")
            expect(
                bool(close.all()),
                f"the gradient of {name} differs by up to {largest:.1e}: average over images, draw from batch.uniform, "
                "gather what is compared with gather_with_gradient",
            )

    def _train(self) -> dict[str, str]:
        """Start the processes; again without the method that stopped them, until all are done. Errors by method."""
        waiting = {trial.name: trial for trial in self.trials if _file(trial) is not None}
        errors: dict[str, str] = {}
        while waiting:
            write_json(self.folder / "jobs.json", [_job(trial) for trial in waiting.values()])
            trouble = _start(self.folder)
            for name in [name for name in waiting if (_place(self.folder, name) / "done").exists()]:
                waiting.pop(name)
            if waiting:  # the first of them stopped both processes
                name = next(iter(waiting))
                waiting.pop(name)
                files = sorted(_place(self.folder, name).glob("error-*"))
                errors[name] = files[0].read_text() if files else trouble
        return errors


def _file(trial: MethodTrial) -> str | None:
    """The file that defines a method, for a process that does not know it yet."""
    try:
        return str(Path(inspect.getfile(trial.method_class)).resolve())
    except (OSError, TypeError):
        return None


def _place(folder: Path, name: str) -> Path:
    return folder / "trained" / name


def _job(trial: MethodTrial) -> dict[str, object]:
    return {
        "name": trial.name,
        "file": _file(trial),
        "layers": json.loads(json.dumps(dict(trial.layers), default=str)),
        "data_root": str(trial.data_root.resolve()),
    }


def _start(folder: Path) -> str:
    """Run the worker twice on this machine; what it said last, where it did not come to its end."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--module", __name__, str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT, check=False, errors="replace"
        )
    except subprocess.TimeoutExpired:
        return f"two processes did not come to an end in {_TIMEOUT:.0f} s: do both take part in every collective?"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return "" if done.returncode == 0 else f"two processes stopped with: {lines[-1] if lines else done.returncode}"


def _work(folder: Path) -> None:
    """What each of the two processes does."""
    torch.set_num_threads(1)
    world = join_world()
    for job in json.loads((folder / "jobs.json").read_text(encoding="utf-8")):
        place = _place(folder, job["name"])
        place.mkdir(parents=True, exist_ok=True)
        try:
            if job["name"] not in METHODS:
                load_plugin_file(Path(job["file"]))
            method_class = METHODS.get(job["name"])
            trial = MethodTrial(job["name"], method_class, job["layers"], Path(job["data_root"]), place)
            with author_code(method_class, "training"):
                make_trainer(trial.run, place).run()
        except Exception as error:
            (place / f"error-{world.rank}").write_text(in_one_line(error), encoding="utf-8")
            raise
        world.barrier()
        (place / "done").touch()
    leave_world()


if __name__ == "__main__":
    _work(Path(sys.argv[1]))
