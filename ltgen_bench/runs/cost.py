"""What a run will cost: counted, and timed on this machine, before anything is started."""

from __future__ import annotations

import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import mse_loss
from torch.utils.flop_counter import FlopCounterMode

from ltgen_bench.core.devices import autocast, cpu_threads, cuda_formats, memory_errors, resolve_device
from ltgen_bench.core.errors import MissingFileError
from ltgen_bench.core.storage import sha256_json
from ltgen_bench.evaluation.guidance_rule import most_selection_cost
from ltgen_bench.evaluation.recognition.section import classifiers_cost
from ltgen_bench.methods import NO_LABEL, DataSpec, DiffusionMethod
from ltgen_bench.runs.resolve import ResolvedRun

_CPU_SECONDS = 1.5  # a timed step on a CPU may take about so long; its batch is chosen by that
_FEW = 2  # images of the first, untimed calls, and of all where they are slow
_REPEATS = 3
_SURELY_SHORT = 1e12  # images x pixels x channels^2: below, the slowest machine needs hours and not days
_UNSURE = 1.3  # the range is that of the repeats, and so much wider on either side


@dataclass(frozen=True)
class Trial:
    """A network's parameters, and what an image costs: forward operations, and seconds here (shortest, longest)."""

    parameters: int
    flops: float
    training_seconds: tuple[float, float]
    inference_seconds: tuple[float, float]


Trials = MutableMapping[str, Trial]  # of networks that were tried already


def estimate_cost(resolved: ResolvedRun, trials: Trials | None = None) -> dict[str, Any]:
    """Counts, sizes and hours of a run, as JSON values.

    The hours are a range: a few training steps and network calls of the plain trunk are timed here, with the run's own
    batch on a GPU and a batch of a second or two on a CPU, and scaled by the method's passes (CBDM has two).
    `trials` keeps what was timed, for runs of the same network.
    """
    config = resolved.config
    samples = config.protocol.samples
    sample_bytes = samples * int(torch.tensor(resolved.dataset.image_shape).prod())
    cost: dict[str, Any] = {"samples": samples, "samples_bytes": sample_bytes}
    if config.protocol.recognition is not None:
        cost |= classifiers_cost(resolved.dataset)
    method_class = resolved.method_class
    if not issubclass(method_class, DiffusionMethod):
        return cost
    device = resolve_device(config.execution.device)
    evaluations = samples * config.sampling.network_evaluations
    selection = 0
    if config.sampling.guidance_scale is None:
        selection = most_selection_cost(config.protocol, config.sampling.steps or 0)
    trials = {} if trials is None else trials
    key = _trial_key(resolved, device)
    if key not in trials:
        formats = cuda_formats(config.execution.tf32, fixed_shapes=False)
        with cpu_threads(config.execution.threads), formats, memory_errors("the network does not fit this device"):
            trials[key] = _trial(_untrained(resolved), device)
    trial, images = trials[key], config.training.steps * config.training.batch_size
    cost |= {
        "parameters": trial.parameters,
        # weights, gradients, two Adam moments and EMA, all float32; activations come on top
        "training_state_bytes": 5 * 4 * trial.parameters,
        "checkpoint_bytes": 4 * 4 * trial.parameters,
        "images_seen": images,
        "network_evaluations": evaluations,
        "guidance_selection_network_evaluations": selection,
        # backward costs twice the forward pass
        "training_petaflops": round(3 * method_class.passes * trial.flops * images / 1e15, 3),
        "sampling_petaflops": round(trial.flops * (evaluations + selection) / 1e15, 3),
        "device": str(device),
        "training_hours_here": _hours(trial.training_seconds, method_class.passes * images),
        "sampling_hours_here": _hours(trial.inference_seconds, evaluations),
        "guidance_selection_hours_here": _hours(trial.inference_seconds, selection),
    }
    return cost


def long_run_note(resolved: ResolvedRun) -> str | None:
    """A word before a run on a CPU that will take more than a day here; None for others, most of them untimed."""
    config = resolved.config
    if not issubclass(resolved.method_class, DiffusionMethod) or resolve_device(config.execution.device).type != "cpu":
        return None
    pixels = resolved.dataset.image_shape[1] * resolved.dataset.image_shape[2]
    images = config.training.steps * config.training.batch_size + config.protocol.samples
    if images * pixels * config.network.base_channels**2 < _SURELY_SHORT:
        return None
    cost = estimate_cost(resolved)
    stages = ("training", "sampling", "guidance_selection")
    days = [sum(cost[f"{stage}_hours_here"][end] for stage in stages) / 24 for end in (0, 1)]
    if days[0] < 1:
        return None
    return (
        f"this takes about {days[0]:,.0f} to {days[1]:,.0f} days on this CPU. Use a GPU, or make it smaller: "
        "--set training.steps, network.base_channels, protocol.samples (--dry-run times it)"
    )


def _hours(seconds: tuple[float, float], count: int) -> list[float]:
    """From, to."""
    return [round(seconds[0] / _UNSURE * count / 3600, 3), round(seconds[1] * _UNSURE * count / 3600, 3)]


def _trial_key(resolved: ResolvedRun, device: torch.device) -> str:
    config = resolved.config
    return sha256_json(
        {
            "network": config.network.model_dump(mode="json"),
            "image": list(resolved.dataset.image_shape),
            "precision": [config.training.precision, config.sampling.precision],
            "batch": config.training.batch_size,
            "device": str(device),
            "threads": config.execution.threads,
            "tf32": config.execution.tf32,
        }
    )


def _untrained(resolved: ResolvedRun) -> DiffusionMethod:
    """The model; one of a data set whose class counts follow from files that are not there has counts of 1."""
    try:
        method = resolved.make_method()
    except MissingFileError:
        dataset = resolved.dataset
        names = tuple(dataset.class_names)
        spec = DataSpec(dataset.image_shape, names, (1,) * len(names), dataset.horizontal_flip)
        method = resolved.method_class(spec, resolved.config)
    assert isinstance(method, DiffusionMethod)
    return method


def _trial(method: DiffusionMethod, device: torch.device) -> Trial:
    method.to(device)
    network, config = method.network, method.run
    parameters = method.facts()["network_parameters"]
    few = _inputs(method, device, _FEW)

    def call(inputs: _Inputs) -> None:
        with torch.no_grad(), autocast(device, config.sampling.precision):
            network(*inputs)

    def step(inputs: _Inputs) -> None:
        with autocast(device, config.training.precision):
            loss = mse_loss(network(*inputs).noise.float(), inputs[0])
        loss.backward()  # type: ignore[no-untyped-call]
        network.zero_grad()

    network.eval()
    with FlopCounterMode(display=False) as counter:
        first_call = _timed(call, few, device)
    network.train()
    first_step = _timed(step, few, device)
    flops = counter.get_total_flops() / _FEW
    if device.type == "cpu" and first_step > _CPU_SECONDS / 3:
        # so slow that two images say it, and nobody wants to wait for more
        return Trial(parameters, flops, (first_step / _FEW,) * 2, (first_call / _FEW,) * 2)
    batch = config.training.batch_size
    if device.type == "cpu":
        batch = max(_FEW, min(batch, int(_FEW * _CPU_SECONDS / first_step)))
    many = _inputs(method, device, batch)
    steps = _several(step, many, device)
    network.eval()
    calls = _several(call, many, device)
    return Trial(parameters, flops, (min(steps) / batch, max(steps) / batch), (min(calls) / batch, max(calls) / batch))


_Inputs = tuple[torch.Tensor, ...]


def _inputs(method: DiffusionMethod, device: torch.device, count: int) -> _Inputs:
    x = torch.randn(count, *method.spec.image_shape, device=device)
    t = torch.full((count,), method.schedule.steps // 2, device=device)
    return x, t, torch.full((count,), NO_LABEL, device=device)


def _several(work: Callable[[_Inputs], None], inputs: _Inputs, device: torch.device) -> list[float]:
    """A few calls timed, after one to warm up."""
    return [_timed(work, inputs, device) for _ in range(_REPEATS + 1)][1:]


def _timed(work: Callable[[_Inputs], None], inputs: _Inputs, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    work(inputs)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
