"""One run: train, sample, evaluate, record; each stage goes on where an earlier start stopped."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ltgen_bench.core.config import RunConfig
from ltgen_bench.core.devices import cpu_threads, resolve_device
from ltgen_bench.core.distributed import World, join_world
from ltgen_bench.core.errors import ConfigError, UserError
from ltgen_bench.core.progress import Progress
from ltgen_bench.core.storage import atomic_path, sha256_file, sha256_json, write_json
from ltgen_bench.evaluation.evaluate import Evaluation, evaluate_samples
from ltgen_bench.evaluation.places import EvaluationPlaces
from ltgen_bench.evaluation.provenance import code_state, environment, now, peak_memory_bytes
from ltgen_bench.evaluation.record import MethodPart, MetricsPart, Record, TimingPart, TrainingPart
from ltgen_bench.evaluation.record_files import read_record, write_record
from ltgen_bench.evaluation.samples import Samples, read_samples
from ltgen_bench.features import weights_sha256
from ltgen_bench.methods import DiffusionMethod, FitContext, Method
from ltgen_bench.methods.checkpoints import load_raw_weights
from ltgen_bench.runs.folder import RunFolder, read_run_config, run_path
from ltgen_bench.runs.resolve import ResolvedRun
from ltgen_bench.runs.sampling import sample_to_file


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
        if world.is_main:
            with self.folder.locked():
                return self._run_all(world)
        return self._run_all(world)

    def _run_all(self, world: World) -> Record:
        self.claim(world)
        if self.folder.record.exists():
            finished = read_record(self.folder.record)
            self._refuse_other_weights(finished)
            self.progress.say(f"finished before: {self.folder.record}")
            return finished
        with cpu_threads(self.config.execution.threads):
            method = self.train(world)
            samples = self.sample(method, world)
            record = self.evaluate(samples, method) if world.is_main else None
        world.barrier()
        return record or read_record(self.folder.record)

    def _refuse_other_weights(self, record: Record) -> None:
        """Weights are no part of the configuration, so a finished run may be asked for with others than it has."""
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
        with self.folder.locked() if world.is_main else contextlib.nullcontext():
            self.claim(world)
            with cpu_threads(self.config.execution.threads):
                return self.train(world).facts()

    def sample_only(self, count: int | None, seed: int | None, out: Path | None) -> tuple[Path, str]:
        """Draw samples from a trained run to `out`; returns the file and its samples' sha256."""
        count = count or self.config.protocol.samples
        seed = self.config.seed if seed is None else seed
        key = self._samples_key(count, seed)
        path = out or self.folder.path / "samples" / f"{key}.npz"
        world = join_world()
        device = resolve_device(self.config.execution.device, world.local_rank)
        with cpu_threads(self.config.execution.threads):
            method = self._trained(device)
            samples = sample_to_file(
                method,
                path,
                count=count,
                seed=seed,
                key=key,
                batch_size=self.config.execution.sampling_batch_size,
                progress=self.progress,
                world=world,
            )
        return path, samples.sha256()

    def claim(self, world: World) -> None:
        """Take the folder for this configuration and start its log."""
        if world.is_main:
            self.folder.claim(self.config, self.resolved.dataset.fingerprint(), self.resolved.method_sha256)
            if hasattr(self.progress, "log_file"):
                self.progress.log_file = self.folder.log
        world.barrier()

    def train(self, world: World) -> Method:
        """The trained model: from its file, from a finished run that trained the same, or by training."""
        device = resolve_device(self.config.execution.device, world.local_rank)
        method = self.resolved.make_method()
        if world.is_main and not self.folder.model.exists():
            write_json(self.folder.environment, environment(device).model_dump(mode="json"))
            self._adopt_trained()
        world.barrier()
        if not self.folder.model.exists():
            context = FitContext(
                self.folder.checkpoints,
                device,
                self.config.seed,
                self.progress if world.is_main else Progress(),
                self.folder.append_stats if world.is_main else lambda row: None,
            )
            method.fit(self.resolved.dataset.train(), context)
            if world.is_main:
                with atomic_path(self.folder.model) as path:  # its presence says that training is done
                    method.save(path)
                    if not path.stat().st_size:
                        raise ConfigError(
                            f"{type(method).__name__}.save wrote nothing to the file that it was given; numpy.savez "
                            "adds '.npz' to a name without it: set model_file = \"model.npz\""
                        )
            world.barrier()
        return self._trained(device)

    def _trained(self, device: torch.device) -> Method:
        """The model on disk: its EMA weights, or those that the optimiser left (`sampling.weights = "raw"`)."""
        method = self.resolved.make_method()
        method.load(self.folder.model)
        if self.config.sampling.weights == "raw":
            if not isinstance(method, DiffusionMethod):
                raise ConfigError(
                    f"sampling.weights = raw: method {self.config.method['name']!r} has one set of weights"
                )
            load_raw_weights(self.folder.training_state, method.network)
        method.to(device)
        return method

    def _adopt_trained(self) -> None:
        """Use the model of a sibling run that differs in sampling or protocol only."""
        own = sha256_json(self.config.training_identity())
        for candidate in sorted(self.folder.path.parent.glob(f"*-s{self.config.seed}")):
            sibling = RunFolder(candidate, self.resolved.method_class.model_file)
            if candidate == self.folder.path or not sibling.model.exists():
                continue
            try:
                theirs = read_run_config(sibling.config)
            except UserError:
                continue  # not a run of this version: nothing to reuse
            same = all(
                _read_json(candidate / name) == _read_json(self.folder.path / name)
                for name in ("dataset.json", "method.json")
            )
            if same and theirs.seed == self.config.seed and sha256_json(theirs.training_identity()) == own:
                wanted = [(sibling.stats, self.folder.stats), (sibling.model, self.folder.model)]
                if self.config.sampling.weights == "raw":
                    wanted.insert(0, (sibling.training_state, self.folder.training_state))
                for source, target in wanted:  # the model last: it says that training is done
                    if source.exists():
                        shutil.copyfile(source, target.with_suffix(".partial"))
                        target.with_suffix(".partial").replace(target)
                self.progress.say(f"the same training was done before: model taken from {candidate}")
                return

    def sample(self, method: Method, world: World) -> Samples:
        """The protocol's number of samples, drawn or read from an earlier start."""
        key = self._samples_key(self.config.protocol.samples, self.config.seed)
        note = _read_json(self.folder.samples_note)
        if note is not None and note.get("key") == key and self.folder.samples.exists():
            samples = read_samples(self.folder.samples)
            if samples.sha256() == note.get("sha256"):
                return samples
            self.progress.say(f"{self.folder.samples} is not what was drawn; drawing it again")
        started = time.monotonic()
        samples = sample_to_file(
            method,
            self.folder.samples,
            count=self.config.protocol.samples,
            seed=self.config.seed,
            key=key,
            batch_size=self.config.execution.sampling_batch_size,
            progress=self.progress if world.is_main else None,
            world=world,
        )
        if world.is_main:
            seconds = time.monotonic() - started
            write_json(self.folder.samples_note, {"key": key, "sha256": samples.sha256(), "seconds": round(seconds, 3)})
        return samples

    def _samples_key(self, count: int, seed: int) -> str:
        """What the samples depend on: the weights, the sampler, how many, which seed."""
        value = {
            "model": sha256_file(self.folder.model),
            "sampling": self.config.sampling.model_dump(mode="json"),
            "count": count,
            "seed": seed,
        }
        return sha256_json(value)[:16]

    def evaluate(self, samples: Samples, method: Method) -> Record:
        """Measure the samples, write figures and the record."""
        from ltgen_bench.evaluation.report import write_figures

        started = time.monotonic()
        execution = self.config.execution
        device = resolve_device(execution.device)
        evaluation = evaluate_samples(
            samples,
            self.resolved.dataset,
            self.config.protocol,
            places=self.places,
            device=device,
            batch_size=execution.evaluation_batch_size,
            progress=self.progress,
            labelled=self.config.sampling.conditioning == "class",
        )
        seconds = time.monotonic() - started
        record = self._record(evaluation, method, device, seconds)
        write_figures(self.folder.figures, record, samples, self.resolved.dataset.train())
        write_record(self.folder.record, record)
        return record

    def _record(self, evaluation: Evaluation, method: Method, device: torch.device, seconds: float) -> Record:
        stats = self.folder.read_stats()
        training, config = self.config.training, self.config
        evaluations = (config.sampling.steps or 0) * (2 if config.sampling.guidance_scale else 1)
        is_diffusion = "network_parameters" in method.facts()
        note = _read_json(self.folder.samples_note) or {}
        return Record(
            method=MethodPart(
                name=config.method["name"],
                title=method.title or config.method["name"],
                paper=method.paper,
                config=config.identity(),
                config_hash=config.hash(),
                facts=method.facts(),
                code_sha256=self.resolved.method_sha256,
            ),
            dataset=evaluation.dataset,
            protocol=evaluation.protocol,
            protocol_hash=evaluation.protocol.hash(),
            seed=config.seed,
            training=TrainingPart(
                steps=training.steps,
                images_seen=training.steps * training.batch_size,
                final_losses=stats[-1].get("losses", {}) if stats else {},
            )
            if is_diffusion
            else None,
            samples=evaluation.samples.model_copy(
                update={
                    "sampler": config.sampling.model_dump(mode="json"),
                    "network_evaluations": evaluations,
                }
                if is_diffusion
                else {}
            ),
            extractors=evaluation.extractors,  # type: ignore[arg-type]
            metrics=MetricsPart.model_validate(evaluation.to_dict()),
            environment=environment(device),
            code=code_state(),
            timing=TimingPart(
                created=now(),
                training_seconds=round(sum(row.get("seconds", 0.0) for row in stats), 3) if stats else None,
                sampling_seconds=note.get("seconds"),
                evaluation_seconds=round(seconds, 3),
                peak_memory_bytes=peak_memory_bytes(),
            ),
        )


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
