"""The stages behind a trained model that draw samples: those that choose its guidance, and those that are reported."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ltgen_bench.core.config import RunConfig, SamplingConfig
from ltgen_bench.core.distributed import World
from ltgen_bench.core.errors import CheckpointError
from ltgen_bench.core.progress import Progress
from ltgen_bench.core.storage import read_json_object, sha256_file, sha256_json, write_json
from ltgen_bench.evaluation.guidance_rule import guidance_part, next_scales
from ltgen_bench.evaluation.record import GuidancePart
from ltgen_bench.evaluation.samples import Samples, read_samples
from ltgen_bench.methods import Method
from ltgen_bench.runs.folder import RunFolder
from ltgen_bench.runs.sampling import sample_to_file
from ltgen_bench.runs.selection import GuidanceFile, Judge, choose_guidance, selection_seed


@dataclass(frozen=True)
class SamplingStage:
    """Draws from the model in a run's folder, as its configuration and its protocol say."""

    config: RunConfig
    folder: RunFolder
    progress: Progress

    @property
    def sampling(self) -> SamplingConfig:
        """The sampling settings, with the scale that was chosen where the protocol chooses it."""
        own = self.config.sampling
        if own.guidance_scale is not None:
            return own
        return own.at_scale(self.guidance().guidance_scale)

    def guidance(self) -> GuidancePart:
        """The choice that was made for this model; raises CheckpointError before it was."""
        protocol, points = self.config.protocol, self.guidance_file().points()
        if not points or next_scales(protocol, points):
            raise CheckpointError(
                f"{self.folder.path} has not chosen its guidance scale yet: 'run' does, or give one with "
                "--set sampling.guidance_scale=W"
            )
        return guidance_part(protocol, self.config.sampling.steps or 0, points)

    def guidance_file(self) -> GuidanceFile:
        """What is known of the choice so far."""
        protocol = self.config.protocol
        return GuidanceFile.of(
            self.folder.guidance,
            model=sha256_file(self.folder.model),
            sampling=self.config.sampling.identity(),
            protocol=protocol.hash(),
            seed=self.config.seed,
        )

    def choose_guidance(self, method: Method, world: World, make_judge: Callable[[], Judge]) -> None:
        """Try the scales that the protocol's rule asks for, if it has one and the method has guidance."""
        config, protocol = self.config, self.config.protocol
        if config.sampling.guidance_scale is not None:
            return
        count, seed, folder = protocol.guidance_samples or 0, selection_seed(config.seed), self.folder.path / "guidance"

        def draw(scale: float) -> Samples:
            sampling = config.sampling.at_scale(scale)
            key = self.samples_key(count, seed, sampling)
            return self.draw(method, folder / f"{scale:g}.npz", count, seed, key, world, sampling)

        choose_guidance(
            protocol,
            self.guidance_file(),
            draw=draw,
            make_judge=make_judge,
            world=world,
            progress=self.progress,
        )
        if world.is_main:
            shutil.rmtree(folder, ignore_errors=True)  # nobody reports them
            chosen = self.guidance()
            self.progress.say(f"guidance {chosen.guidance_scale:g} chosen of {len(chosen.curve)} scales")
        world.barrier()

    def sample(self, method: Method, world: World) -> Samples:
        """The protocol's number of samples, drawn or read from an earlier start."""
        count, seed, sampling = self.config.protocol.samples, self.config.seed, self.sampling
        key = self.samples_key(count, seed, sampling)
        note = read_json_object(self.folder.samples_note)
        if note is not None and note.get("key") == key and self.folder.samples.exists():
            samples = read_samples(self.folder.samples, labelled=self.config.labelled)
            if samples.sha256() == note.get("sha256"):
                return samples
            self.progress.say(f"{self.folder.samples} is not what was drawn; drawing it again")
        started = time.monotonic()
        samples = self.draw(method, self.folder.samples, count, seed, key, world, sampling)
        if world.is_main:
            seconds = time.monotonic() - started
            write_json(self.folder.samples_note, {"key": key, "sha256": samples.sha256(), "seconds": round(seconds, 3)})
        return samples

    def draw(
        self, method: Method, path: Path, count: int, seed: int, key: str, world: World, sampling: SamplingConfig
    ) -> Samples:
        """Draw `count` samples of `seed` into `path`, resuming from shards of `key`; collective."""
        if self.config.uses("sampling"):
            method.run = method.run.model_copy(update={"sampling": sampling})  # what a method's `sample` reads
        return sample_to_file(
            method,
            path,
            count=count,
            seed=seed,
            key=key,
            batch_size=self.config.execution.sampling_batch_size,
            labelled=self.config.labelled,
            label_policy=self.config.protocol.label_policy,
            progress=self.progress if world.is_main else None,
            world=world,
        )

    def samples_key(self, count: int, seed: int, sampling: SamplingConfig) -> str:
        """What the samples depend on: the weights, the sampler, how many, which seed."""
        value = {
            "model": sha256_file(self.folder.model),
            "sampling": sampling.identity() if self.config.uses("sampling") else None,
            "count": count,
            "seed": seed,
        }
        if self.config.protocol.label_policy != "uniform":
            value["labels"] = self.config.protocol.label_policy
        return sha256_json(value)[:16]
