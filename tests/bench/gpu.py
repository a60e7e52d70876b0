"""What a GPU does with the paper's networks: a Markdown table, and JSON.

    python tests/bench/gpu.py --out tests/bench/GPU.md        # about six minutes on one H100
    python tests/bench/gpu.py --device cpu --short            # the same code in a minute, with tiny networks

Every row is measured in this run on this machine. "as released" is the authors' way of doing it, written by us: plain
PyTorch with its own number formats, batch 128, an Adam that is not fused, an average updated tensor by tensor, and the
loss read in every step.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ltgen_bench.core.devices import cuda_formats, describe_device
from ltgen_bench.core.errors import DeviceError
from ltgen_bench.core.mappings import merge
from ltgen_bench.core.seeding import sample_seeds
from ltgen_bench.datasets import ImageSet
from ltgen_bench.methods import DiffusionMethod, FitContext
from ltgen_bench.methods.sampler import sample_diffusion
from ltgen_bench.methods.trainer import Trainer
from ltgen_bench.runs.cost import estimate_cost
from ltgen_bench.runs.resolve import ResolvedRun, resolve

TRAINING_STEPS, SAMPLES, TABLE_1_RUNS = 300_000, 50_000, 48
ALMOST_NOTHING = 1e-9


@dataclass
class Report:
    """Sections of rows, printed as they come."""

    device: torch.device
    short: bool
    sections: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def add(self, section: str, **row: Any) -> None:
        """Keep a row and show it."""
        self.sections.setdefault(section, []).append(row)
        print(section, row, file=sys.stderr, flush=True)

    def markdown(self) -> str:
        """Every section as a table."""
        lines = [f"# {machine(self.device)['device']}, {datetime.date.today()}", ""]
        lines += [f"* {key}: {value}" for key, value in machine(self.device).items()]
        if self.short:
            lines += ["", "A short trial with tiny networks: it shows that the script works, and nothing else."]
        for section, rows in self.sections.items():
            keys = list(dict.fromkeys(key for row in rows for key in row))
            lines += ["", f"## {section}", "", f"| {' | '.join(keys)} |", f"|{'---|' * len(keys)}"]
            lines += [f"| {' | '.join(shown(row.get(key, '')) for key in keys)} |" for row in rows]
        return "\n".join(lines) + "\n"


def shown(value: Any) -> str:
    return f"{value:,.3g}" if isinstance(value, float) else str(value)


def machine(device: torch.device) -> dict[str, Any]:
    """Card, driver, clock, versions."""
    found: dict[str, Any] = {"device": describe_device(device), "torch": torch.__version__}
    if device.type == "cuda":
        found["cuda"] = torch.version.cuda
        query = "driver_version,clocks.sm,clocks.max.sm,power.limit"
        command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
        try:
            values = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
            found |= dict(zip(query.split(","), (v.strip() for v in values.splitlines()[0].split(",")), strict=False))
        except (OSError, subprocess.SubprocessError) as error:
            found["nvidia-smi"] = f"not asked: {error}"
    return found


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], Any], device: torch.device, at_least: float) -> float:
    """Seconds of one call: as many as take `at_least`, after one that is not timed."""
    work()
    wait(device)
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < at_least:
        for _ in range(5 if count else 1):
            work()
            count += 1
        wait(device)
    return (time.perf_counter() - began) / count


def peak_tflops(report: Report) -> dict[str, float]:
    """Dense matrix products of a size that fills the card, by format."""
    size = 256 if report.short else 8192
    found = {}
    for name, dtype, tf32 in (
        ("fp32", torch.float32, False),
        ("tf32", torch.float32, True),
        ("bf16", torch.bfloat16, False),
    ):
        a, b = (torch.randn(size, size, device=report.device, dtype=dtype) for _ in range(2))
        with cuda_formats(tf32, fixed_shapes=True):
            each = seconds(lambda a=a, b=b: a @ b, report.device, 0.1 if report.short else 1.0)
        found[name] = 2 * size**3 / each / 1e12
        report.add("Dense products here", format=name, TFLOPs=found[name])
    return found


def the_run(pixels: int, report: Report, **layers: Any) -> ResolvedRun:
    """CORAL on the paper's network of so many pixels, or a tiny one of the same form."""
    tiny = {
        "network": {"base_channels": 16, "norm_groups": 4},
        "training": {"batch_size": 8},
        "execution": {"sampling_batch_size": 8},
    }
    base: dict[str, Any] = {
        "method": {"name": "coral"},
        "dataset": {"name": "cifar100lt" if pixels == 32 else "tinyimagenet-lt"},
        "execution": {"device": str(report.device), "speed": "exact"},
    }
    return resolve(merge(base, tiny if report.short else {}, layers), Path("unused"))


def images_for(run: ResolvedRun) -> ImageSet:
    draw = np.random.default_rng(0)
    count = 512
    return ImageSet(
        draw.integers(0, 256, (count, *run.spec.image_shape), np.uint8), draw.integers(0, run.spec.class_count, count)
    )


FAST = {"training": {"precision": "bf16"}, "execution": {"tf32": True}}
LADDER: dict[str, dict[str, Any]] = {
    "fp32": {},
    "+ TF32": {"execution": {"tf32": True}},
    "bf16": FAST,
    "+ channels_last": merge(FAST, {"execution": {"channels_last": True}}),
    "+ compile (--speed fast)": merge(FAST, {"execution": {"channels_last": True, "compile": True}}),
    "+ CUDA graphs": merge(FAST, {"execution": {"channels_last": True, "compile": True, "cuda_graphs": True}}),
}


def training(report: Report, peaks: dict[str, float], pixels: int) -> None:
    """Images a second of a training step, from the authors' way to everything at once."""
    section = f"Training, {pixels} px, batch {the_run(pixels, report).config.training.batch_size}, CORAL"
    cost = estimate_cost(the_run(pixels, report))
    flops_an_image = 1e15 * cost["training_petaflops"] / cost["images_seen"]
    for name, step, precision, tf32, batch in _training_rows(report, pixels):
        if report.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        try:
            with cuda_formats(tf32, fixed_shapes=True):
                each = seconds(step, report.device, 0.2 if report.short else 4.0)
        except Exception as error:  # one way that fails here must not cost the others
            report.add(section, way=name, failed=" ".join(str(error).split())[:200])
            continue
        achieved = flops_an_image * batch / each / 1e12
        peak = peaks["bf16" if precision == "bf16" else "tf32" if tf32 else "fp32"]
        row: dict[str, Any] = {
            "way": name,
            "steps/s": 1 / each,
            "images/s": batch / each,
            "TFLOP/s": achieved,
            "% of dense": 100 * achieved / max(peak, ALMOST_NOTHING),
            "hours for 300k steps": each * TRAINING_STEPS / 3600,
        }
        if report.device.type == "cuda":
            row["peak GiB"] = torch.cuda.max_memory_allocated() / 2**30
        report.add(section, **row)


def _training_rows(report: Report, pixels: int) -> Any:
    run = the_run(pixels, report)
    batch = run.config.training.batch_size
    yield "as released", as_released(run, report.device), "fp32", False, batch
    for name, layers in LADDER.items():
        run = the_run(pixels, report, **layers)
        if report.device.type == "cpu" and run.config.execution.compile:
            continue
        trainer = made_trainer(run, report.device)
        config = run.config
        yield name, trainer.train_step, config.training.precision, config.execution.tf32, batch


def made_trainer(run: ResolvedRun, device: torch.device) -> Trainer:
    method = run.make_method()
    assert isinstance(method, DiffusionMethod)
    trainer = Trainer(method, images_for(run), FitContext(Path(tempfile.mkdtemp()), device, 0))
    if run.config.execution.compile:
        from ltgen_bench.core.devices import compile_network

        compile_network(method.network, run.config.execution.cuda_graphs)
    return trainer


def as_released(run: ResolvedRun, device: torch.device) -> Callable[[], None]:
    """One step as the released implementations make it."""
    method = run.make_method()
    assert isinstance(method, DiffusionMethod)
    method.to(device)
    network, config = method.network.train(), run.config.training
    images = images_for(run)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate, foreach=False)
    average = {name: value.clone() for name, value in network.state_dict().items()}
    generator = np.random.default_rng(0)

    def step() -> None:
        from ltgen_bench.methods import DiffusionBatch

        rows = generator.integers(0, len(images), config.batch_size)
        x0 = torch.from_numpy(images.images[rows]).to(device).float() / 127.5 - 1
        labels = torch.from_numpy(images.labels[rows]).to(device)
        t = torch.randint(method.schedule.steps, (len(x0),), device=device)
        noise = torch.randn_like(x0)
        x_t = method.schedule.add_noise(x0, noise, t)
        losses = method.losses(DiffusionBatch(x0, noise, t, x_t, labels, labels, 0, 0))
        loss = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), config.gradient_clip)
        optimizer.step()
        with torch.no_grad():
            for name, value in network.state_dict().items():
                average[name].copy_(average[name] * config.ema_decay + value * (1 - config.ema_decay))
        float(loss)

    return step


def loader_share(report: Report) -> None:
    """How much of a training step is cutting, flipping and noising its batch."""
    layers = LADDER["+ channels_last"]
    trainer = made_trainer(the_run(32, report, **layers), report.device)
    least = 0.2 if report.short else 2.0
    with cuda_formats(tf32=True, fixed_shapes=True):
        whole = seconds(trainer.train_step, report.device, least)
    size = trainer.config.batch_size
    part = seconds(lambda: trainer.batches.draw(3).part(slice(0, size)), report.device, least)
    report.add(
        "Shares of a training step, 32 px, bf16", what="batch: cut, flip, noise", ms=1e3 * part, share=part / whole
    )
    quiet = seconds(lambda: trainer.state.ema.update(3), report.device, least)
    report.add("Shares of a training step, 32 px, bf16", what="average of weights", ms=1e3 * quiet, share=quiet / whole)


def sampling(report: Report, pixels: int) -> None:
    """Guided sampling steps, for several batches; and what the noise of the host adds."""
    batches = (4, 8) if report.short else (256, 1024, 4096)
    steps = 4 if report.short else 20
    for name in ("fp32", "+ channels_last", "+ compile (--speed fast)"):
        layers = LADDER[name]
        if report.device.type == "cpu" and layers.get("execution", {}).get("compile"):
            continue
        for batch in batches:
            own = {
                "execution": {"sampling_batch_size": batch},
                "sampling": {
                    "sampler": "ddpm",
                    "steps": steps,
                    "guidance_scale": 1.0,
                    "clip_x0": True,
                    "precision": layers.get("training", {}).get("precision", "fp32"),
                },
            }
            run = the_run(pixels, report, **merge(layers, own))
            try:
                row = sampled(run, report, batch, steps)
            except (DeviceError, torch.OutOfMemoryError, RuntimeError) as error:
                row = {"failed": " ".join(str(error).split())[:120]}
            report.add(f"Guided ancestral sampling, {pixels} px", way=name, batch=batch, **row)


def sampled(run: ResolvedRun, report: Report, batch: int, steps: int) -> dict[str, Any]:
    method = run.make_method()
    assert isinstance(method, DiffusionMethod)
    method.to(report.device)
    labels = torch.arange(batch) % run.spec.class_count
    with torch.inference_mode(), cuda_formats(run.config.execution.tf32, fixed_shapes=True):

        def draw() -> Tensor:
            return sample_diffusion(method, labels, sample_seeds(0, range(batch)))

        whole = seconds(draw, report.device, 0.2 if report.short else 4.0) / steps
        network = method.network
        x = torch.randn(2 * batch, *run.spec.image_shape, device=report.device)
        t = torch.zeros(2 * batch, dtype=torch.int64, device=report.device)
        with torch.autocast(report.device.type, torch.bfloat16, enabled=run.config.sampling.precision == "bf16"):
            alone = seconds(lambda: network(x, t, t), report.device, 0.1 if report.short else 1.0)
    return {
        "ms a step": 1e3 * whole,
        "images/s at 1,000 steps": batch / whole / 1000,
        "minutes for 50,000": SAMPLES / batch * whole * 1000 / 60,
        "% not in the network (noise, updates)": 100 * max(0.0, 1 - alone / whole),
    }


def evaluation(report: Report) -> None:
    """Extraction with InceptionV3 (weights made up: the work is the same), and the metrics on its features by stage."""
    count = 200 if report.short else 50_000
    random = np.random.default_rng(0)
    features = [random.standard_normal((count, 64 if report.short else 2048), dtype=np.float32) for _ in range(2)]
    for device in dict.fromkeys(("cpu", str(report.device))):
        for what, work in metric_stages(*features, device).items():
            if what == MANIFOLD and device == "cpu" and not report.short:
                continue  # minutes; the table of the CPU stands in metrics/README.md
            if device != "cpu" and what in CPU_ONLY:
                continue
            began = time.perf_counter()
            work()
            each = time.perf_counter() - began
            report.add("Evaluation", what=f"{what} of {count:,}", device=device, seconds=each)
    network = _extractor(report.device)
    if network is None:
        report.add("Evaluation", what="InceptionV3: torch-fidelity is not installed here", device="", seconds="")
        return
    images = torch.randint(0, 256, (8 if report.short else 2048, 3, 32, 32), dtype=torch.uint8)
    each = seconds(lambda: network(images), report.device, 0.1 if report.short else 3.0)
    rate = len(images) / each
    report.add("Evaluation", what="InceptionV3 of 50,000", device=str(report.device), seconds=50_000 / rate)


MANIFOLD = "precision, recall, density, coverage"
CPU_ONLY = ("FID", "KID, 10 subsets")


def metric_stages(x: np.ndarray, y: np.ndarray, device: str) -> dict[str, Callable[[], Any]]:
    """The metrics that take time, on features (N, D) each, with 100 classes."""
    from ltgen_bench.metrics import fid, kid, manifold_scores, per_class_fid, prd_scores

    classes = [np.arange(c, len(x), 100) for c in range(100)]
    clusters = min(200, len(x) // 4)
    return {
        "FID": lambda: fid(x, y),
        "KID, 10 subsets": lambda: kid(x, y, subset_size=min(1000, len(x) // 2), subsets=10, seed=0),
        "FID of each of 100 classes": lambda: per_class_fid(x, classes, y, classes, device=device),
        "PRD, one of ten runs": lambda: prd_scores(x, y, cluster_count=clusters, runs=1, seed=0, device=device),
        MANIFOLD: lambda: manifold_scores(x, y, k=3, device=device),
    }


def _extractor(device: torch.device) -> Any:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    try:
        from made_up_networks import made_up_inception

        state = made_up_inception().state_dict()
    except ImportError:
        return None
    from ltgen_bench.features.networks.inception import InceptionV3Extractor

    return InceptionV3Extractor(state, weights_sha256="0" * 64, device=str(device))


def totals(report: Report) -> None:
    """What the paper's budget and its Table 1 cost at the best rates found."""
    for pixels in (32, 64):
        rows = next((rows for name, rows in report.sections.items() if name.startswith(f"Training, {pixels}")), [])
        drawn = report.sections.get(f"Guided ancestral sampling, {pixels} px", [])
        hours = min((row["hours for 300k steps"] for row in rows if "steps/s" in row), default=None)
        minutes = min((row["minutes for 50,000"] for row in drawn if "minutes for 50,000" in row), default=None)
        if hours is None or minutes is None:
            continue
        run = hours + minutes / 60
        report.add(
            "The paper's budget at the best of these rates",
            network=f"{pixels} px",
            **{"training h": hours, "sampling h": minutes / 60, "a run h": run, "Table 1 h": run * TABLE_1_RUNS},
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--short", action="store_true", help="tiny networks, to try the script")
    parser.add_argument("--out", type=Path, help="the Markdown file; the JSON lies beside it")
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("error: PyTorch sees no CUDA device here; --device cpu --short tries the script")
    if device.type == "cuda":
        device = torch.device("cuda", 0)
    report = Report(device, options.short)
    peaks = peak_tflops(report)
    training(report, peaks, 32)
    loader_share(report)
    sampling(report, 32)
    training(report, peaks, 64)
    sampling(report, 64)
    evaluation(report)
    totals(report)
    text = report.markdown()
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")
        rows = {"machine": machine(device), "short": options.short, "sections": report.sections}
        options.out.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
