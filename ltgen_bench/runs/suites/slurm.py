"""The runs of a suite on a SLURM cluster, through submitit: one array, a task for the runs that share a training.

A task that reaches its time limit, or whose node goes away, is put back into the queue and resumes from its runs'
checkpoints. What is queued and running is asked of SLURM; what is done, of the run folders.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltgen_bench.core.errors import ConfigError, did_you_mean
from ltgen_bench.core.storage import read_json_object, write_json
from ltgen_bench.runs.folder import RunFolder
from ltgen_bench.runs.suites.local import Launcher, failure_line
from ltgen_bench.runs.suites.plan import PlannedRun, by_training
from ltgen_bench.runs.suites.status import forget_failure, note_failure

_JOBS = "jobs.json"
_MINUTES = 24 * 60
_MOST_RESTARTS = 1000  # of a task at its time limit; every start goes on where the last one stopped
# What is said here, by submitit's name; everything else is handed to sbatch as it is.
_KNOWN = {
    "partition": "slurm_partition",
    "account": "slurm_account",
    "qos": "slurm_qos",
    "constraint": "slurm_constraint",
    "gpus": "gpus_per_node",
    "cpus": "cpus_per_task",
    "mem": "slurm_mem",
    "time": "timeout_min",
    "parallel": "slurm_array_parallelism",
    "signal_delay": "slurm_signal_delay_s",  # seconds before the time limit at which a task is put back
}
_OTHER = ("exclude", "nodelist", "reservation", "gres", "nice", "licenses", "comment", "mail_user", "mail_type")
_NUMBERS = ("gpus", "cpus", "parallel", "signal_delay")


def slurm_parameters(pairs: Sequence[str]) -> dict[str, Any]:
    """`KEY=VALUE` options as submitit's parameters; raises ConfigError for a key that is none, with the closest one."""
    parameters: dict[str, Any] = {"timeout_min": _MINUTES, "slurm_array_parallelism": 256}
    further: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not value:
            raise ConfigError(f"--slurm wants KEY=VALUE, as in --slurm partition=gpu; got {pair!r}")
        if key == "time":
            parameters["timeout_min"] = _minutes(value)
        elif key in _KNOWN:
            if key in _NUMBERS and not value.isdigit():
                raise ConfigError(f"--slurm {key} wants a number, got {value!r}")
            parameters[_KNOWN[key]] = int(value) if key in _NUMBERS else value
        elif key in _OTHER:
            further[key] = value
        else:
            raise ConfigError(f"--slurm has no key {key!r}; {did_you_mean(key, [*_KNOWN, *_OTHER])}")
    if further:
        parameters["slurm_additional_parameters"] = further
    return parameters


def _minutes(value: str) -> int:
    """Minutes of `90`, `12:00:00` or `2-00:00:00`."""
    days, dash, clock = value.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdigit() for part in parts) or len(parts) > 3 or (dash and not days.isdigit()):
        raise ConfigError(f"--slurm time wants minutes or [days-]hours:minutes:seconds, got {value!r}")
    numbers = [int(part) for part in parts]
    if len(numbers) == 1 and not dash:
        return max(1, numbers[0])
    hours, minutes = [*numbers, 0, 0][:2]
    return max(1, (int(days or 0) * 24 + hours) * 60 + minutes)


@dataclass
class SuiteTask:
    """What one task of the array does: its runs, one after the other. It is pickled by submitit, so it is plain."""

    commands: list[list[str]]
    folders: list[str]  # of the runs
    logs: list[str]

    def __call__(self) -> list[int]:
        """Run what is not finished; returns the exit codes. A run that fails does not stop the others."""
        codes = []
        for command, place, log in zip(self.commands, self.folders, self.logs, strict=True):
            folder = RunFolder(Path(place))
            if folder.record.is_file():
                codes.append(0)
                continue
            forget_failure(folder)
            with Path(log).open("ab") as out:
                code = subprocess.run(
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=out
                ).returncode
            if code:
                note_failure(folder, failure_line(Path(log), code))
            codes.append(code)
        return codes

    def checkpoint(self) -> Any:
        """What submitit puts back into the queue at the time limit: the same; every run resumes itself."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def submit_suite(runs: Sequence[PlannedRun], launcher: Launcher, parameters: Mapping[str, Any]) -> list[str]:
    """Hand what is neither finished nor in the queue to SLURM as one array; returns the new job ids.

    Raises ConfigError where there is no SLURM, or no submitit.
    """
    executor = _executor(launcher.folder / "slurm")
    queued = queued_runs(launcher.folder)
    groups = [[run for run in group if not run.folder.record.is_file()] for group in by_training(runs)]
    groups = [group for group in groups if group and not any(run.name in queued for run in group)]
    if not groups:
        return []
    executor.update_parameters(name=f"ltgen-{launcher.folder.name}", **parameters)
    with executor.batch():
        jobs = [
            executor.submit(
                SuiteTask(
                    [launcher.command(run) for run in group],
                    [str(run.folder.path) for run in group],
                    [str(launcher.log(run)) for run in group],
                )
            )
            for group in groups
        ]
    ids = {job.job_id: [run.name for run in group] for job, group in zip(jobs, groups, strict=True)}
    write_json(launcher.folder / _JOBS, {**_jobs(launcher.folder), **ids})
    return list(ids)


def _executor(folder: Path) -> Any:
    if shutil.which("sbatch") is None:
        raise ConfigError("there is no SLURM here (no sbatch); leave --slurm out to run on this machine")
    try:
        import submitit
    except ImportError:
        raise ConfigError("--slurm needs submitit: pip install 'ltgen-bench[slurm]'") from None
    return submitit.AutoExecutor(
        folder=folder, cluster="slurm", slurm_python=sys.executable, slurm_max_num_timeout=_MOST_RESTARTS
    )


def _jobs(folder: Path) -> dict[str, list[str]]:
    note = read_json_object(folder / _JOBS)
    return {} if note is None else {str(job): list(names) for job, names in note.items()}


def queued_runs(folder: Path) -> set[str]:
    """The names of the runs whose task SLURM still has, waiting or running; none where there is no SLURM."""
    jobs = _jobs(folder)
    alive = _alive()
    return {name for job, names in jobs.items() if job in alive for name in names}


def _alive() -> set[str]:
    """Ids, such as `12_3`, of the caller's tasks in the queue."""
    if shutil.which("squeue") is None:
        return set()
    found = subprocess.run(
        ["squeue", "--me", "--noheader", "--array", "--format=%F_%K %T"], capture_output=True, text=True, check=False
    )
    lines = [line.split() for line in found.stdout.splitlines()]
    return {line[0] for line in lines if len(line) == 2 and line[1] not in ("COMPLETED", "CANCELLED", "FAILED")}


def cancel_suite(folder: Path) -> list[str]:
    """Take the suite's tasks out of the queue and stop those that run; returns their ids."""
    ids = sorted(set(_jobs(folder)) & _alive())
    if ids:
        subprocess.run(["scancel", *ids], check=False)
    return ids
