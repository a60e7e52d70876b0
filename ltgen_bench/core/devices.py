"""Devices by name, threads, and number formats."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch

from ltgen_bench.core.errors import DeviceError

KINDS = ("cpu", "cuda", "mps")


def resolve_device(
    name: str, local_rank: int = 0, *, what: str = "execution.device", kinds: Sequence[str] = KINDS
) -> torch.device:
    """The device called `name`; `auto` is CUDA where there is one, else the CPU.

    Raises DeviceError, about the setting `what`, for one that is not there or not of the `kinds` that can be used.
    """
    if name == "auto":
        return torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"{what} {name!r} is not a device; use {_shown(kinds)}") from None
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise DeviceError(f"{what} is cuda and PyTorch sees no CUDA device here; use --device cpu or auto")
        index = local_rank if device.index is None else device.index
        if index >= torch.cuda.device_count():
            raise DeviceError(f"{what} is cuda:{index} and there are {torch.cuda.device_count()} CUDA devices")
        return torch.device("cuda", index)
    if device.type not in kinds:
        raise DeviceError(f"{what} {name!r} is not supported; use {_shown(kinds)}")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError(f"{what} is mps and PyTorch cannot use it here; use --device cpu")
    return device


def _shown(kinds: Sequence[str]) -> str:
    return "auto, cpu, cuda, cuda:N or mps" if "mps" in kinds else "auto, cpu, cuda or cuda:N"


def measuring_device(device: torch.device, say: Callable[[str], None] | None = None) -> torch.device:
    """Where features and distances are computed: CUDA, else the CPU, because they need float64, which MPS lacks.

    `say` gets one line where that is not the device that was asked for.
    """
    if device.type in ("cuda", "cpu"):
        return device
    if say is not None:
        say(f"measured on the CPU: it needs float64, which {device.type} lacks")
    return torch.device("cpu")


def describe_device(device: torch.device) -> str:
    """What the device is called, for records."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return device.type


@contextlib.contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Use `count` CPU threads inside, in PyTorch and in linear algebra and clustering; 0 leaves the libraries' choice.

    Tiny networks are faster on one.
    """
    if not count:
        yield
        return
    # SciPy's linear algebra is another than NumPy's, and only what is loaded can be limited; scikit-learn, which takes
    # two seconds to load and which training needs not, is limited where it is used (`as_many_as_blas`)
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    before = torch.get_num_threads()
    with threadpool_limits(count):
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@contextlib.contextmanager
def autocast(device: torch.device, precision: str) -> Iterator[None]:
    """Run eligible operations in bf16 or fp16; fp32 changes nothing."""
    if precision == "fp32":
        yield
        return
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    with torch.autocast(device.type, dtype=dtype):
        yield


@contextlib.contextmanager
def cuda_formats(tf32: bool, fixed_shapes: bool) -> Iterator[None]:
    """On CUDA: float32 in full or as TF32 inside; `fixed_shapes`: try kernels out, as every call has the same shape.

    PyTorch itself takes TF32 for convolutions and not for matrix products. Elsewhere this changes nothing.
    """
    cudnn = torch.backends.cudnn
    before = torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    cudnn.allow_tf32, cudnn.benchmark = tf32, fixed_shapes
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        cudnn.allow_tf32, cudnn.benchmark = before[1:]


def graphs_step() -> None:
    """With CUDA graphs: what earlier calls of a compiled network returned may be overwritten from here on."""
    torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]


def compile_network(network: torch.nn.Module, cuda_graphs: bool) -> None:
    """Compile in place, once, for calls of fixed shapes; the first call of each shape takes a minute."""
    if network._compiled_call_impl is None:
        network.compile(mode="reduce-overhead" if cuda_graphs else None)


@contextlib.contextmanager
def memory_errors(advice: str) -> Iterator[None]:
    """Turn an out-of-memory error into a DeviceError of one line that ends in `advice`."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise DeviceError(f"out of memory; {advice}") from error
    except RuntimeError as error:
        if "allocate memory" not in str(error):
            raise
        raise DeviceError(f"out of memory; {advice}") from error
