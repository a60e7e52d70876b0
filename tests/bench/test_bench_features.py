"""InceptionV3 features of 32 px images on the CPU: torch-fidelity's extractor and ours, interleaved in one run.

    OMP_NUM_THREADS=2 python -m pytest tests/bench/test_bench_features.py -o addopts= -s

Both get the same made-up weights and the same images. Each round times, one after the other, the peer with its default
batch of 64, the peer with our batch of 16, ours in fp32 and ours in bf16. The best round of each counts: what else runs
on the machine only ever adds time.
"""

import statistics
import time

import numpy as np
import pytest
import torch
from made_up_networks import made_up_inception
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from ltgen_bench.features.networks.inception import InceptionV3Extractor
from ltgen_bench.features.networks.resize import Resize

N, ROUNDS = 64, 3  # torch-fidelity's default batch


@pytest.fixture(scope="module")
def peer():
    return made_up_inception()


def seconds(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def test_inception_is_faster_than_torch_fidelity_at_equal_results(benchmark, peer):
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (N, 3, 32, 32), np.uint8))
    ours = InceptionV3Extractor(peer.state_dict(), weights_sha256="0" * 64)
    coarse = InceptionV3Extractor(peer.state_dict(), weights_sha256="0" * 64, precision="bf16")
    runs = {
        "torch-fidelity": lambda: peer(images),
        "torch-fidelity in batches of 16": lambda: [peer(batch) for batch in images.split(16)],
        "fp32": lambda: ours(images),
        "bf16": lambda: coarse(images),
    }
    times = {name: [] for name in runs}
    with torch.inference_mode():
        for network in (peer, ours, coarse):  # warm up
            network(images[:16])

        def one_round():
            for name, run in runs.items():
                times[name].append(seconds(run))

        benchmark.pedantic(one_round, rounds=ROUNDS)
        wanted, result = peer(images[:16])[0], ours(images[:16]).features
    best = {name: min(values) for name, values in times.items()}
    difference = float(((result - wanted).norm(dim=1) / wanted.norm(dim=1)).max())
    benchmark.extra_info.update(
        {f"{name} (images/s)": round(N / value, 2) for name, value in best.items()},
        threads=torch.get_num_threads(),
        relative_difference=difference,
    )
    print(f"\n{benchmark.extra_info}")
    assert difference < 1e-5
    assert best["torch-fidelity"] / best["fp32"] > 1.6


def test_the_resize_is_faster_than_gathering_neighbours(benchmark):
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (16, 3, 32, 32))).float()
    resize = Resize("tensorflow", 299, torch.device("cpu"))
    times = {"torch-fidelity": [], "two products": []}

    def one_round():
        gather = seconds(lambda: interpolate_bilinear_2d_like_tensorflow1x(images, (299, 299), align_corners=False))
        times["torch-fidelity"].append(gather)
        times["two products"].append(seconds(resize, images))

    benchmark.pedantic(one_round, rounds=10, warmup_rounds=1)
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratio = medians["torch-fidelity"] / medians["two products"]
    benchmark.extra_info["ratio"] = ratio
    print(f"\nresize: {ratio:.1f} times faster")
    assert ratio > 2
