"""How fast against how exact: what `--speed` (`execution.speed`) stands for.

| | exact | fast |
|---|---|---|
| `training.precision`, `sampling.precision` | fp32 | bf16; fp16 on cards without it |
| `execution.tf32` (CUDA) | off | on |
| `execution.channels_last` | the recipe's | on |
| `execution.compile` | off | on |

`auto` is fast on CUDA and exact elsewhere. It only fills in what nobody set: a key given with `--set` or in a file
stands. What is set is written into the run's configuration, so that a run goes on as it began wherever it is resumed.

The precisions are a part of a configuration's identity, because they change the numbers by more than rounding in the
last places does; the other keys are provenance. So a run on a GPU and the same command on a CPU are two runs.
"""

from __future__ import annotations

from typing import Any, Literal

import torch

from ltgen_bench.core.config import RunConfig
from ltgen_bench.core.devices import resolve_device
from ltgen_bench.core.errors import DeviceError

Speed = Literal["exact", "fast"]


def chosen_speed(wanted: str, device: str) -> Speed:
    """`exact` or `fast`, as `wanted`; for `auto` by what kind of device `device` names."""
    if wanted == "exact":
        return "exact"
    if wanted == "fast":
        return "fast"
    return "fast" if _is_cuda(device) else "exact"


def speed_layer(speed: Speed, device: str) -> dict[str, Any]:
    """The configuration keys that `speed` sets, as a layer below the user's."""
    if speed == "exact":
        return {"execution": {"speed": speed}}
    precision = "bf16" if has_bf16(device) else "fp16"
    return {
        "training": {"precision": precision},
        "sampling": {"precision": precision},
        "execution": {"speed": speed, "tf32": True, "channels_last": True, "compile": True},
    }


def has_bf16(device: str) -> bool:
    """Whether the device computes in bfloat16 itself: every one but CUDA cards before Ampere."""
    return not _is_cuda(device) or torch.cuda.get_device_capability(resolve_device(device)) >= (8, 0)


def speed_words(config: RunConfig) -> str:
    """What is really set, in one line, for people and records."""
    execution = config.execution
    formats = {
        name: f"{name} {section.precision}"
        for name, section in (("training", config.training), ("sampling", config.sampling))
        if config.uses(name)
    }
    words = [": ".join([execution.speed, ", ".join(formats.values())] if formats else [execution.speed])]
    flags = {"TF32": execution.tf32, "channels_last": execution.channels_last, "compiled": execution.compile}
    words += [word for word, on in flags.items() if on]
    if execution.cuda_graphs:
        words.append("CUDA graphs")
    return ", ".join(words)


def _is_cuda(device: str) -> bool:
    try:
        return resolve_device(device).type == "cuda"
    except DeviceError:  # said where it is used
        return False
