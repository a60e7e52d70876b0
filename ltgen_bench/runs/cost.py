"""What a run will cost: counted, and timed on this machine, before anything is started."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch.nn.functional import mse_loss
from torch.utils.flop_counter import FlopCounterMode

from ltgen_bench.core.devices import autocast, cpu_threads, memory_errors, resolve_device
from ltgen_bench.evaluation.guidance_rule import most_selection_cost
from ltgen_bench.methods import NO_LABEL, DiffusionMethod
from ltgen_bench.runs.resolve import ResolvedRun

_TRIAL_BATCH = 2  # images of the timed step; small, so that the estimate itself is cheap


def estimate_cost(resolved: ResolvedRun) -> dict[str, Any]:
    """Counts, sizes and hours of a run, as JSON values.

    The hours come from timing one small training step and one network call of the plain trunk here and scaling them by
    the method's passes (CBDM has two); a GPU's better use of large batches is not in them.
    """
    config = resolved.config
    samples = config.protocol.samples
    sample_bytes = samples * int(torch.tensor(resolved.dataset.image_shape).prod())
    cost: dict[str, Any] = {"samples": samples, "samples_bytes": sample_bytes}
    method = resolved.make_method()
    if not isinstance(method, DiffusionMethod):
        return cost
    device = resolve_device(config.execution.device)
    evaluations = samples * config.sampling.network_evaluations
    parameters = method.facts()["network_parameters"]
    with cpu_threads(config.execution.threads), memory_errors("the network does not fit this device"):
        flops, step_seconds, call_seconds = _trial(method, device)
    if config.sampling.guidance_scale is None:
        selection = most_selection_cost(config.protocol, config.sampling.steps or 0)
        cost["guidance_selection_network_evaluations"] = selection
        cost["guidance_selection_hours_here"] = round(call_seconds * selection / 3600, 3)
    cost |= {
        "parameters": parameters,
        # weights, gradients, two Adam moments and EMA, all float32; activations come on top
        "training_state_bytes": 5 * 4 * parameters,
        "checkpoint_bytes": 4 * 4 * parameters,
        "images_seen": config.training.steps * config.training.batch_size,
        "network_evaluations": evaluations,
        # backward costs twice the forward pass
        "training_petaflops": round(
            3 * method.passes * flops * config.training.steps * config.training.batch_size / 1e15, 3
        ),
        "sampling_petaflops": round(flops * evaluations / 1e15, 3),
        "device": str(device),
        "training_hours_here": round(
            method.passes * step_seconds * config.training.steps * config.training.batch_size / 3600, 3
        ),
        "sampling_hours_here": round(call_seconds * evaluations / 3600, 3),
    }
    return cost


def _trial(method: DiffusionMethod, device: torch.device) -> tuple[float, float, float]:
    """Forward operations, training seconds and inference seconds, each per image."""
    method.to(device)
    network, config = method.network, method.run
    x = torch.randn(_TRIAL_BATCH, *method.spec.image_shape, device=device)
    t = torch.full((_TRIAL_BATCH,), method.schedule.steps // 2, device=device)
    labels = torch.full((_TRIAL_BATCH,), NO_LABEL, device=device)
    network.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(x, t, labels)
    flops = counter.get_total_flops() / _TRIAL_BATCH
    with torch.no_grad(), autocast(device, config.sampling.precision):
        call = _seconds(lambda: network(x, t, labels), device)
    network.train()

    def step() -> None:
        with autocast(device, config.training.precision):
            loss = mse_loss(network(x, t, labels).noise.float(), x)
        loss.backward()  # type: ignore[no-untyped-call]
        network.zero_grad()

    return flops, _seconds(step, device) / _TRIAL_BATCH, call / _TRIAL_BATCH


def _seconds(work: Any, device: torch.device) -> float:
    """A call timed after one to warm up."""
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
