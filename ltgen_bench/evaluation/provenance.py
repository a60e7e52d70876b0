"""Where and with which code something was computed."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import resource
import subprocess
import sys
from pathlib import Path

import torch

from ltgen_bench.core.devices import describe_device
from ltgen_bench.core.version import PACKAGE_ROOT, __version__
from ltgen_bench.evaluation.record import CodePart, EnvironmentPart

# What numbers come from. Tables, submissions and prose in the same checkout may change.
CODE = ("ltgen_bench", "baselines", "pyproject.toml")
PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "pillow")


def environment(device: torch.device) -> EnvironmentPart:
    """Python, platform, device and the versions of the packages that numbers depend on."""
    return EnvironmentPart(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()} {_cpu_name()}".strip(),
        device=describe_device(device),
        threads=torch.get_num_threads(),
        packages={name: version for name in PACKAGES if (version := package_version(name)) is not None},
    )


def package_version(name: str) -> str | None:
    """The installed version of a distribution, None when it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def code_state() -> CodePart:
    """The package's version; from a checkout of its own also the commit, and whether the code is as committed."""
    root = PACKAGE_ROOT.parent
    commit, clean = None, None
    if (root / ".git").exists():
        commit = _git(root, "rev-parse", "HEAD")
        status = _git(root, "status", "--porcelain", "--untracked-files=no", "--", *CODE)
        clean = None if status is None else status == ""
    return CodePart(version=__version__, commit=commit, clean=clean)


def peak_memory_bytes() -> int:
    """The largest resident size of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes on Linux


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def now() -> str:
    """The present moment, UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
