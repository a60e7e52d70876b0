"""One run: train, sample, evaluate, record; each stage resumes where an earlier start stopped."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ltgen_bench.core.config import RunConfig
from ltgen_bench.core.devices import cpu_threads, cuda_formats, resolve_device
from ltgen_bench.core.distributed import World, join_world, lost_processes
from ltgen_bench.core.errors import ConfigError, PluginError
from ltgen_bench.core.plugins import author_code, plugin_origin
from ltgen_bench.core.progress import Progress, TerminalProgress
from ltgen_bench.core.speed import speed_words
from ltgen_bench.core.storage import read_json_object, write_json
from ltgen_bench.evaluation.assemble import assemble_record
from ltgen_bench.evaluation.evaluate import Evaluation, Evaluator
from ltgen_bench.evaluation.places import EvaluationPlaces
from ltgen_bench.evaluation.provenance import environment
from ltgen_bench.evaluation.record import MethodPart, Record, TrainingPart
from ltgen_bench.evaluation.record_files import read_record, write_record
from ltgen_bench.evaluation.report import write_figures
from ltgen_bench.evaluation.samples import Samples
from ltgen_bench.features import weights_sha256
from ltgen_bench.methods import DiffusionMethod, FitContext, Method
from ltgen_bench.metrics.saturation import saturation_warning
from ltgen_bench.runs.cost import long_run_note
from ltgen_bench.runs.folder import RunFolder, run_path
from ltgen_bench.runs.resolve import ResolvedRun
from ltgen_bench.runs.sampling_stage import SamplingStage
from ltgen_bench.runs.selection import Judge
from ltgen_bench.runs.trained_models import adopt_trained, load_trained, save_trained
from ltgen_bench.runs.training_log import logged


@dataclass
class Run:
    """A run in its folder. The stages are methods; `run_all` calls them in order."""

    resolved: ResolvedRun
    folder: RunFolder
    places: EvaluationPlaces
    progress: Progress

    @property
    def config(self) -> RunConfig:
        """The resolved configuration."""
        return self.resolved.config

    @property
    def draws(self) -> SamplingStage:
        """What draws samples from the trained model."""
        return SamplingStage(self.config, self.folder, self.progress)

    @classmethod
    def at(
        cls,
        resolved: ResolvedRun,
        runs_dir: Path,
        places: EvaluationPlaces,
        progress: Progress,
        run_dir: Path | None = None,
    ) -> Run:
        """The run of a configuration under `runs_dir`, or in exactly `run_dir`."""
        path = run_dir or run_path(runs_dir, resolved.config, resolved.dataset.name)
        folder = RunFolder(path, resolved.method_class.model_file)
        return cls(resolved, folder, places, progress)

    def run_all(self) -> Record:
        """Train, sample, evaluate and record; a finished run only reads its record."""
        world = join_world()
        with self._held(world):
            self.claim(world)
            if self.folder.record.exists():
                finished = read_record(self.folder.record)
                self._refuse_other_weights(finished)
                self.progress.say(f"finished before: {self.folder.record}")
                return finished
            with self.computing():
                method = self.train(world)
                self.draws.choose_guidance(method, world, self._judge)
                samples = self.draws.sample(method, world)
                self.evaluator(world).share_extraction(samples, self.resolved.dataset, self.config.protocol, world)
                record = self.evaluate(samples, method) if world.is_main else None
            world.barrier()
            return record or read_record(self.folder.record)

    def _refuse_other_weights(self, record: Record) -> None:
        """Weights are not part of the configuration, so a finished run may be asked for with others than it has."""
        for name, measured in {part.name: part.weights_sha256 for part in record.extractors.values()}.items():
            given = self.places.weights.get(name)
            found = weights_sha256(name, weights=given, weights_root=self.places.weights_root)
            if found not in (None, measured):  # None: gone by now, and not needed for a record that is there
                raise ConfigError(
                    f"{self.folder.path} was measured with other weights of {name} (sha256 {measured[:12]}..., and not "
                    f"{found[:12]}...); 'ltgen-bench evaluate {self.folder.path}' measures its samples with these"
                )

    def train_only(self) -> dict[str, Any]:
        """Train to the end and stop; returns what is known of the model."""
        world = join_world()
        with self._held(world):
            self.claim(world)
            with self.computing():
                return self.train(world).facts()

    def sample_only(self, count: int | None, seed: int | None, out: Path | None) -> tuple[Path, str]:
        """Draw samples from a trained run to `out`; returns the file and its samples' sha256."""
        count = count or self.config.protocol.samples
        seed = self.config.seed if seed is None else seed
        sampling = self.draws.sampling
        key = self.draws.samples_key(count, seed, sampling)
        path = out or self.folder.path / "samples" / f"{key}.npz"
        world = join_world()
        device = resolve_device(self.config.execution.device, world.local_rank)
        with self.computing(), self._author_errors():
            method = load_trained(self.resolved, self.folder, device)
            samples = self.draws.draw(method, path, count, seed, key, world, sampling)
        return path, samples.sha256()

    @contextlib.contextmanager
    def _held(self, world: World) -> Iterator[None]:
        """The folder, locked by the first process; errors of plug-ins and of lost processes in one line."""
        lock = self.folder.locked() if world.is_main else contextlib.nullcontext()
        with lock, self._author_errors(), lost_processes(world):
            yield

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Threads and number formats as the configuration says."""
        execution = self.config.execution
        with cpu_threads(execution.threads), cuda_formats(execution.tf32, execution.compile):
            yield

    @contextlib.contextmanager
    def _author_errors(self) -> Iterator[None]:
        """Put the traceback of a plug-in's error into the run's log, and say so."""
        try:
            yield
        except PluginError as error:
            self.folder.log_traceback(error)
            raise PluginError(f"{error} (traceback in {self.folder.log}, and with --debug)") from error.__cause__

    def claim(self, world: World) -> None:
        """Take the folder for this configuration and start its log."""
        if world.is_main:
            self.folder.claim(self.config, self.resolved.dataset.fingerprint(), self.resolved.method_sha256)
            if isinstance(self.progress, TerminalProgress):
                self.progress.log_file = self.folder.log
        world.barrier()

    def train(self, world: World) -> Method:
        """The trained model: from its file, from a finished run that trained the same, or by training."""
        device = resolve_device(self.config.execution.device, world.local_rank)
        method = self.resolved.make_method()
        if world.is_main and not self.folder.model.exists():
            write_json(self.folder.environment, environment(device).model_dump(mode="json"))
            adopt_trained(self.resolved, self.folder, self.progress)
        world.barrier()
        if not self.folder.model.exists():
            if world.is_main and not self.folder.training_state.exists() and (note := long_run_note(self.resolved)):
                self.progress.say(f"note: {note}")
            context = FitContext(self.folder.checkpoints, device, self.config.seed)
            with logged(context, self.resolved, self.folder, self.progress, world), author_code(type(method), "fit"):
                method.fit(self.resolved.dataset.train(), context)
            if world.is_main:
                save_trained(method, self.folder)
            world.barrier()
        return load_trained(self.resolved, self.folder, device)

    def evaluator(self, world: World | None = None) -> Evaluator:
        """What measures samples for this run, on this process's device."""
        execution = self.config.execution
        device = resolve_device(execution.device, 0 if world is None else world.local_rank)
        return Evaluator(self.places, device, execution.evaluation_batch_size, self.progress)

    def _judge(self) -> Judge:
        return self.evaluator().judge(self.resolved.dataset, self.config.protocol)

    def evaluate(self, samples: Samples, method: Method) -> Record:
        """Measure the samples, write figures and the record."""
        started = time.monotonic()
        evaluator, dataset = self.evaluator(), self.resolved.dataset
        evaluation = evaluator.with_recognition(
            evaluator.measure(samples, dataset, self.config.protocol), samples, dataset
        )
        device = resolve_device(self.config.execution.device)
        clip = self.config.sampling.clip_x0 if isinstance(method, DiffusionMethod) else None
        saturated = saturation_warning(samples.images, dataset.train().images, clip)
        if saturated is not None:
            self.progress.say(f"warning: {saturated}")
            report = evaluation.report
            evaluation = replace(evaluation, report=replace(report, notes={**report.notes, "saturation": saturated}))
        record = self._record(evaluation, method, device, time.monotonic() - started)
        write_figures(self.folder.figures, record, samples, dataset.train())
        write_record(self.folder.record, record)
        return record

    def _record(self, evaluation: Evaluation, method: Method, device: torch.device, seconds: float) -> Record:
        stats, config = self.folder.read_stats(), self.config
        training, chosen = None, config.sampling.guidance_scale is None
        if is_diffusion := isinstance(method, DiffusionMethod):  # another model has no steps and no sampler of ours
            training = TrainingPart(
                steps=config.training.steps,
                images_seen=config.training.steps * config.training.batch_size,
                final_losses=stats[-1].get("losses", {}) if stats else {},
            )
        note = read_json_object(self.folder.samples_note) or {}
        return assemble_record(
            evaluation,
            MethodPart(
                name=config.method["name"],
                title=method.title or config.method["name"],
                paper=method.paper,
                config=config.identity(),
                config_hash=config.hash(),
                facts=method.facts(),
                code_sha256=self.resolved.method_sha256,
                plugin=plugin_origin(self.resolved.method_class),
            ),
            environment(device).model_copy(update={"speed": speed_words(config)}),
            seed=config.seed,
            training=training,
            sampling=self.draws.sampling if is_diffusion else None,
            guidance=self.draws.guidance() if chosen else None,
            seconds={
                "guidance": self.draws.guidance_file().seconds() if chosen else None,
                "training": round(sum(row.get("seconds", 0.0) for row in stats), 3) if stats else None,
                "sampling": note.get("seconds"),
                "evaluation": round(seconds, 3),
            },
        )
