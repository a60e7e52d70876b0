"""On a CUDA device: the same numbers as on the CPU within what each precision allows, and nothing waits.

`LTGEN_BENCH_GPU_TESTS=cpu python -m pytest -m gpu` tries the tests themselves on a CPU.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from baselines_support import METHOD_NAMES, make_batch, tiny_method, tiny_run
from conftest import GPU_DEVICE
from torch import Tensor

from ltgen_bench.core.choices import SamplerName
from ltgen_bench.core.devices import autocast, cuda_formats
from ltgen_bench.core.distributed import data_parallel
from ltgen_bench.core.errors import DeviceError
from ltgen_bench.core.seeding import sample_seeds
from ltgen_bench.methods import DiffusionBatch, DiffusionMethod, FitContext
from ltgen_bench.methods.sampler import sample_diffusion
from ltgen_bench.methods.trainer import LossModule, Trainer
from ltgen_bench.metrics import fid, manifold_scores, nearest_in_features, per_class_fid, prd_scores

pytestmark = pytest.mark.gpu
DEVICE = torch.device(GPU_DEVICE)
# of a loss, and of the direction of its gradient: float32 adds in another order, bf16 has 8 and fp16 11 bits
LOSS = {"fp32": 1e-5, "bf16": 3e-2, "fp16": 5e-3}
COSINE = {"fp32": 1 - 1e-6, "bf16": 0.98, "fp16": 0.999}


@pytest.fixture(autouse=True)
def _exact() -> Iterator[None]:
    with cuda_formats(tf32=False, fixed_shapes=False):
        yield


class _HostDraws(DiffusionBatch):
    """A batch whose own draws are made on the CPU, so that both devices have the same."""

    def uniform(self, purpose: str) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        return torch.rand(len(self.x0), generator=generator).to(self.x0.device)


def moved(batch: DiffusionBatch, device: torch.device) -> DiffusionBatch:
    tensors = {name: value.to(device) for name, value in vars(batch).items() if isinstance(value, Tensor)}
    return _HostDraws(**{**vars(batch), **tensors})


def losses_and_gradient(method: DiffusionMethod, batch: DiffusionBatch, precision: str) -> tuple[Tensor, Tensor]:
    with autocast(batch.x0.device, precision):
        losses = method.losses(batch)
    total = torch.stack([value.float() for value in losses.values()]).sum()
    gradient = torch.autograd.grad(total, list(method.network.parameters()), allow_unused=True)
    return total.detach().cpu(), torch.cat([g.float().flatten().cpu() for g in gradient if g is not None])


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("name", METHOD_NAMES)
def test_a_step_is_that_of_the_cpu(name: str, precision: str) -> None:
    if precision == "fp16" and DEVICE.type == "cpu":
        pytest.skip("fp16 is for GPUs")
    here, there = tiny_method(name), tiny_method(name)
    there.to(DEVICE)
    batch = make_batch(here, [0, 1, 2, 3, 0, 1, 0, 2], dropped=[2])
    loss, gradient = losses_and_gradient(here, moved(batch, torch.device("cpu")), "fp32")
    found, direction = losses_and_gradient(there, moved(batch, DEVICE), precision)
    torch.testing.assert_close(found, loss, rtol=LOSS[precision], atol=1e-6)
    assert torch.cosine_similarity(gradient, direction, dim=0) > COSINE[precision]


@pytest.mark.parametrize("scale", [0.0, 1.0])
@pytest.mark.parametrize("sampler", list(SamplerName))
def test_samples_are_those_of_the_cpu(sampler: SamplerName, scale: float) -> None:
    sampling = {"sampler": sampler, "steps": 8, "guidance_scale": scale, "clip_x0": True}
    here, there = (tiny_method("ddpm", sampling=sampling) for _ in range(2))
    there.to(DEVICE)
    labels, seeds = torch.tensor([0, 1, 2, 3, 0]), sample_seeds(7, range(5))
    with torch.inference_mode():
        images = [sample_diffusion(method, labels, seeds).cpu().int() for method in (here, there)]
    difference = (images[0] - images[1]).abs()
    assert difference.float().mean() < 0.05  # of 255; the noise is the same, being drawn on the host
    assert difference.max() <= 3


def trainer(folder: Path, steps: int, **execution: object) -> Trainer:
    run = tiny_run("coral", training={"steps": steps}, execution={"checkpoint_every": 3, "log_every": 50, **execution})
    method = run.make_method()
    assert isinstance(method, DiffusionMethod)
    return Trainer(method, run.dataset.train(), FitContext(folder, DEVICE, 0))


def test_a_resumed_training_is_the_unbroken_one_bit_for_bit(tmp_path: Path) -> None:
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        whole = trainer(tmp_path / "whole", 6)
        whole.run()
        first = trainer(tmp_path / "broken", 6)
        for _ in range(3):
            first.train_step()
        first.checkpoint()
        second = trainer(tmp_path / "broken", 6)
        second.run()
    for name, value in whole.state.ema.state().items():
        assert torch.equal(value, second.state.ema.state()[name]), name


@contextlib.contextmanager
def _waiting_is_an_error() -> Iterator[None]:
    if DEVICE.type != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_training_step_waits_for_nothing(tmp_path: Path) -> None:
    made = trainer(tmp_path, 50)
    made.train_step()
    with _waiting_is_an_error():
        for _ in range(3):
            made.train_step()


@pytest.mark.parametrize("sampler", list(SamplerName))
def test_a_sampling_step_waits_for_nothing(sampler: SamplerName) -> None:
    from ltgen_bench.diffusion import SAMPLERS, SampleNoise, noise_model

    method = tiny_method("ddpm")
    method.to(DEVICE)
    noise = SampleNoise(sample_seeds(0, range(4)), method.spec.image_shape, DEVICE)
    x, labels = noise.initial(), torch.zeros(4, dtype=torch.int64, device=DEVICE)
    model = noise_model(method.network)

    def watched(*inputs: Tensor) -> Tensor:
        with _waiting_is_an_error():
            return model(*inputs)

    options = {"noise": noise, "steps": 4, "guidance_scale": 1.0, "clip_x0": True}
    with torch.inference_mode():
        images = SAMPLERS[sampler](watched, x, labels, method.schedule, **options)
    assert torch.isfinite(images).all()


def test_distributed_data_parallel_has_the_gradients_of_one_process(tmp_path: Path) -> None:
    import torch.distributed as dist

    backend = "nccl" if DEVICE.type == "cuda" else "gloo"
    method, plain = tiny_method("coral"), tiny_method("coral")
    batch = moved(make_batch(method, [0, 1, 2, 3, 0, 1, 0, 2]), DEVICE)
    for each in (method, plain):
        each.to(DEVICE)
    alone = LossModule(plain)
    sum(alone(batch).values()).backward()
    dist.init_process_group(backend, init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1)
    try:
        parallel = data_parallel(LossModule(method), torch.device("cuda", 0) if DEVICE.type == "cuda" else DEVICE)
        sum(parallel(batch).values()).backward()
    finally:
        dist.destroy_process_group()
    for (name, ours), theirs in zip(method.network.named_parameters(), plain.network.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("graphs", [False, True])
def test_a_compiled_network_predicts_the_same(graphs: bool) -> None:
    if DEVICE.type == "cpu":
        pytest.skip("the CPU's compiler is not what users wait for")
    from ltgen_bench.core.devices import compile_network, graphs_step

    plain, compiled = tiny_method("ddpm"), tiny_method("ddpm")
    for each in (plain, compiled):
        each.to(DEVICE)
        each.network.eval()
    compile_network(compiled.network, graphs)
    x = torch.randn(8, *plain.spec.image_shape, device=DEVICE)
    t, labels = torch.arange(8, device=DEVICE) * 100, torch.zeros(8, dtype=torch.int64, device=DEVICE)
    with torch.inference_mode():
        for _ in range(3):
            graphs_step()
            found = compiled.network(x, t, labels).noise.clone()
        torch.testing.assert_close(found, plain.network(x, t, labels).noise, rtol=1e-3, atol=1e-4)


def test_extraction_is_that_of_the_cpu(tmp_path: Path) -> None:
    from ltgen_bench.features import extract_features, load_extractor

    images = np.random.default_rng(0).integers(0, 256, (600, 1, 8, 8), dtype=np.uint8)
    both = [
        extract_features(images, load_extractor("digits-cnn", weights_root=tmp_path, device=device))
        for device in ("cpu", str(DEVICE))
    ]
    scale = np.abs(both[0].features).max()
    np.testing.assert_allclose(both[1].features, both[0].features, atol=1e-5 * scale)
    np.testing.assert_allclose(both[1].probabilities, both[0].probabilities, atol=1e-5)


def test_neighbours_and_manifolds_decide_as_on_the_cpu() -> None:
    random = np.random.default_rng(3)
    x, y = (random.standard_normal((3000, 64), dtype=np.float32) for _ in range(2))
    x[:5] = y[:5]  # equal rows, where rounding would decide
    here, there = (manifold_scores(x, y, k=3, device=device) for device in ("cpu", str(DEVICE)))
    for ours, theirs in zip(vars(here).values(), vars(there).values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    near, far = (nearest_in_features(x, y, device=device) for device in ("cpu", str(DEVICE)))
    for ours, theirs in zip(vars(near).values(), vars(far).values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_clusters_of_prd_and_distances_of_classes_are_those_of_the_cpu() -> None:
    random = np.random.default_rng(4)
    x, y = (random.standard_normal((3000, 128), dtype=np.float32) + shift for shift in (0.1, 0.0))
    here, there = (prd_scores(x, y, cluster_count=60, runs=3, seed=0, device=d) for d in ("cpu", str(DEVICE)))
    assert here.f_beta == pytest.approx(there.f_beta, abs=2e-3)
    assert here.f_inverse_beta == pytest.approx(there.f_inverse_beta, abs=2e-3)
    again = prd_scores(x, y, cluster_count=60, runs=3, seed=0, device=str(DEVICE))
    assert (there.f_beta, there.f_inverse_beta) == (again.f_beta, again.f_inverse_beta)
    rows = [np.arange(start, start + 100) for start in range(0, 3000, 100)]
    found = per_class_fid(x, rows, y, rows, device=str(DEVICE))
    for value, of_class in zip(found, rows, strict=True):
        assert value == pytest.approx(fid(x[of_class], y[of_class]), rel=1e-5)


def test_too_little_memory_is_one_line_that_says_what_to_lower(tmp_path: Path) -> None:
    if DEVICE.type == "cpu":
        pytest.skip("a CPU swaps before it says so")
    run = tiny_run("ddpm", training={"batch_size": 4096, "steps": 2}, network={"base_channels": 64})
    method = run.make_method()
    assert isinstance(method, DiffusionMethod)
    torch.cuda.set_per_process_memory_fraction(0.002)
    try:
        with pytest.raises(DeviceError, match=r"out of memory; try --set training\.gradient_accumulation=2"):
            Trainer(method, run.dataset.train(), FitContext(tmp_path, DEVICE, 0)).run()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


def test_images_that_do_not_fit_come_from_the_host() -> None:
    from ltgen_bench.methods.batches import ResidentImages

    data = tiny_run("ddpm").dataset.train()
    resident, streamed = ResidentImages(data, DEVICE), ResidentImages(data, DEVICE, limit=0)
    assert resident.resident
    assert not streamed.resident
    rows = np.array([3, 0, 7])
    for ours, theirs in zip(resident.batch(rows, None), streamed.batch(rows, None), strict=True):
        assert torch.equal(ours, theirs)
