"""The classifier of noisy images: its gradient, its prior, its training, its files, and what it guides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from baselines_support import make_batch, tiny_method, tiny_run

from baselines.tiw import TIWUnconditional
from ltgen_bench.core.errors import CheckpointError, ConfigError
from ltgen_bench.core.seeding import sample_seeds
from ltgen_bench.methods import NO_LABEL, ClassifierConfig, DataSpec, FitContext, NoiseClassifier, fit_classifier
from ltgen_bench.methods.checkpoints import read_checkpoint, save_model
from ltgen_bench.methods.trainer import Trainer

COUNTS = (40, 20, 10, 5)


def classifier(**options: Any) -> NoiseClassifier:
    method = tiny_method("ddpm-cg", class_counts=COUNTS, method={"classifier": options})
    return method.classifier  # type: ignore[return-value]


def noisy(rows: int = 5) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(rows, 3, 8, 8, generator=generator)
    return x, torch.randint(1000, (rows,), generator=generator), torch.arange(rows) % 4


def test_its_gradient_is_that_of_the_log_probability() -> None:
    own = classifier()
    x, t, labels = noisy(2)
    with torch.inference_mode():
        gradient = own.gradient(x, t, labels)
    for row, place in ((0, (0, 0, 0, 0)), (1, (1, 2, 5, 3)), (1, (1, 0, 7, 7))):
        step = torch.zeros_like(x)
        step[place] = 1e-2
        up, down = (own.log_probability(x + sign * step, t)[row, labels[row]].detach() for sign in (1, -1))
        assert float(gradient[place]) == pytest.approx(float(up - down) / 2e-2, rel=0.01, abs=1e-4)


def test_a_row_does_not_depend_on_the_others() -> None:
    own = classifier()
    x, t, labels = noisy(5)
    whole = own.gradient(x, t, labels)
    for row in range(5):
        one = own.gradient(x[row : row + 1], t[row : row + 1], labels[row : row + 1])
        torch.testing.assert_close(one[0], whole[row], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rule", ["natural", "balanced", "exponent:0.5", "tail:0.1"])
def test_the_uniform_prior_divides_out_what_it_was_trained_on(rule: str) -> None:
    own = classifier(class_sampling=rule)
    mass = {
        "natural": np.array(COUNTS, float),
        "balanced": np.ones(4),
        "exponent:0.5": np.array(COUNTS, float) ** 0.5,
        "tail:0.1": 0.1 ** (np.arange(4) / 3),
    }[rule]
    x, t, _ = noisy()
    p = own.log_probability(x, t).detach().double().exp().numpy()
    literal = p / (mass / mass.sum())
    literal /= literal.sum(axis=1, keepdims=True)
    uniform = own.log_probability(x, t, "uniform").detach().double().exp().numpy()
    np.testing.assert_allclose(uniform, literal, rtol=1e-4)
    assert np.allclose(uniform, p, rtol=1e-4) == (rule == "balanced")


def test_training_learns_and_resumes_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers: dict[str, Any] = {"training": {"batch_size": 32, "steps": 120}}
    run = tiny_run("ddpm-cg", method={"classifier": {"learning_rate": 3e-3}}, **layers)
    spec, options, images = run.spec, ClassifierConfig(learning_rate=3e-3), run.dataset.train()

    def fit(folder: Path) -> NoiseClassifier:
        context = FitContext(folder, torch.device("cpu"), 0)
        return fit_classifier(spec, run.config, options, images, context)

    whole = fit(tmp_path / "whole")
    rows = [json.loads(row) for row in (tmp_path / "whole/classifier/stats.jsonl").read_text().splitlines()]
    curve = [row["losses"]["classification"] for row in rows]
    assert np.mean(curve[-20:]) < 0.8 * np.mean(curve[:5])
    assert not whole.network.training

    step = Trainer.train_step

    def stopped(self: Trainer) -> Any:
        if self.state.step == 17:
            self.checkpoint()
            raise KeyboardInterrupt
        return step(self)

    monkeypatch.setattr(Trainer, "train_step", stopped)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "stopped")
    assert not (tmp_path / "stopped/classifier.safetensors").exists()
    monkeypatch.setattr(Trainer, "train_step", step)
    resumed = fit(tmp_path / "stopped")
    ours, theirs = resumed.network.state_dict(), whole.network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    again = fit(tmp_path / "whole")  # read, not trained
    assert all(torch.equal(again.network.state_dict()[name], theirs[name]) for name in theirs)


def test_a_scale_of_0_is_ddpm_and_any_other_is_not() -> None:
    sampling = {"steps": 5, "sampler": "ddim", "clip_x0": True}
    labels, seeds = torch.arange(5) % 4, sample_seeds(0, range(5))
    plain = tiny_method("ddpm", sampling={**sampling, "guidance_scale": 0.0})
    drawn = {}
    for scale, prior in ((0.0, "training"), (3.0, "training"), (3.0, "uniform")):
        method = tiny_method("ddpm-cg", sampling={**sampling, "guidance_scale": scale, "classifier_prior": prior})
        method.network.load_state_dict(plain.network.state_dict())
        with torch.inference_mode():
            drawn[scale, prior] = method.sample(labels, seeds)
            alone = torch.cat([method.sample(labels[i : i + 1], seeds[i : i + 1]) for i in range(5)])
        assert torch.equal(drawn[scale, prior], alone)  # whatever the batch
    with torch.inference_mode():
        assert torch.equal(plain.sample(labels, seeds), drawn[0.0, "training"])
    assert not torch.equal(drawn[0.0, "training"], drawn[3.0, "training"])
    assert not torch.equal(drawn[3.0, "uniform"], drawn[3.0, "training"])


def test_a_network_that_is_not_told_the_class_is_guided_to_it() -> None:
    sampling = {"steps": 5, "guidance_scale": 3.0, "conditioning": "classifier"}
    method = tiny_method("ddpm-cg", sampling=sampling)
    seen: list[torch.Tensor] = []
    method.network.register_forward_pre_hook(lambda module, given: seen.append(given[2].clone()))
    with torch.inference_mode():
        images = method.sample(torch.zeros(4, dtype=torch.int64), [7, 7, 8, 9])
        others = method.sample(torch.ones(4, dtype=torch.int64), [7, 7, 8, 9])
    assert all(bool((labels == NO_LABEL).all()) for labels in seen)
    assert torch.equal(images[0], images[1])
    assert not torch.equal(images, others)


def test_a_key_of_the_classifier_leaves_the_others_as_they_are() -> None:
    config = tiny_run("ddpm-cg-balanced", method={"classifier": {"steps": 7}}).config.method["classifier"]
    assert (config["steps"], config["class_sampling"]) == (7, "balanced")


def test_both_networks_are_saved_and_another_file_is_refused(tmp_path: Path) -> None:
    method = tiny_method("ddpm-cg")
    method.save(tmp_path / "model")
    other = tiny_method("ddpm-cg")
    for parameter in [*other.network.parameters(), *other.classifier.network.parameters()]:  # type: ignore[union-attr]
        parameter.data.zero_()
    other.load(tmp_path / "model")
    for one, two in ((method.network, other.network), (method.classifier.network, other.classifier.network)):  # type: ignore[union-attr]
        assert all(torch.equal(value, two.state_dict()[name]) for name, value in one.state_dict().items())
    with pytest.raises(CheckpointError, match=r"classifier.class_sampling: natural -> balanced"):
        tiny_method("ddpm-cg-balanced").load(tmp_path / "model")


@pytest.fixture
def spec() -> DataSpec:
    return DataSpec((3, 8, 8), tuple("0123"), COUNTS)


def test_a_classifier_in_a_file_may_have_any_size_and_no_other_data(tmp_path: Path, spec: DataSpec) -> None:
    run = tiny_run("ddpm").config
    wide = NoiseClassifier(spec, run, ClassifierConfig(base_channels=16, residual_blocks=2, class_sampling="balanced"))
    wide.save(tmp_path / "wide.safetensors")
    read = NoiseClassifier.read(tmp_path / "wide.safetensors", spec, run)
    assert read.config.residual_blocks == 2
    assert torch.equal(read.shares, torch.full((4,), 0.25, dtype=torch.float64))
    x, t, _ = noisy()
    assert torch.equal(read.network(x, t), wide.network.eval()(x, t))
    with pytest.raises(CheckpointError, match="class_counts"):
        NoiseClassifier.read(tmp_path / "wide.safetensors", DataSpec((3, 8, 8), tuple("0123"), (9, 8, 7, 6)), run)
    slower = tiny_run("ddpm", diffusion={"beta_end": 0.01}).config
    with pytest.raises(CheckpointError, match="beta_end"):
        NoiseClassifier.read(tmp_path / "wide.safetensors", spec, slower)
    tiny_method("ddpm").save(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="is no classifier"):
        NoiseClassifier.read(tmp_path / "model.safetensors", spec, run)


@pytest.mark.parametrize(
    "network",
    [
        {"base_channels": 100_000},
        {"channel_multipliers": [1, 100_000]},
        {"residual_blocks": 64},
        {"residual_blocks": 10**9},
        {"channel_multipliers": [0]},
        {"channel_multipliers": [1] * 1000},
        {"attention_levels": "x"},
        {"base_channels": None},
    ],
)
def test_a_header_cannot_make_it_build_what_the_file_does_not_hold(
    network: dict[str, Any], tmp_path: Path, spec: DataSpec
) -> None:
    own = NoiseClassifier(spec, tiny_run("ddpm").config, ClassifierConfig())
    path = tmp_path / "hostile.safetensors"
    own.save(path)
    header, weights = read_checkpoint(path)
    identity = header["identity"]
    save_model(path, weights, {**identity, "network": {**identity["network"], **network}})
    with pytest.raises((CheckpointError, ConfigError)) as caught:
        NoiseClassifier.read(path, spec, tiny_run("ddpm").config)
    assert "\n" not in str(caught.value)


SMALL = [
    *("--set", "training.steps=6", "--set", "network.base_channels=8", "--set", "network.norm_groups=4"),
    *("--set", "sampling.steps=2", "--set", "protocol.samples=40", "--json", "-q"),
]


def test_the_command_makes_a_file_that_guides_any_method(cli: Any, tmp_path: Path) -> None:
    runs, file = tmp_path / "runs", tmp_path / "own.safetensors"
    small = ["--set", "network.base_channels=8", "--set", "network.norm_groups=4", "--runs-dir", runs]
    steps = ["--set", "method.classifier.steps=8", *small, "--json", "-q"]
    code, out, err = cli("train-classifier", *steps, "-o", file)
    assert code == 0, err
    facts = json.loads(out)
    assert (facts["steps"], facts["class_sampling"]) == (8, "natural")
    assert set(facts["reference_accuracy"]) == {"0", "100", "250", "500"}
    assert json.loads(cli("train-classifier", *steps)[1])["sha256"] == facts["sha256"]
    (tmp_path / "run.toml").write_text('seed = 3\n[method]\nname = "coral"\nweight = 0.1\n[diffusion]\nbeta_end = 0.03')
    (tmp_path / "guided.toml").write_text('[method]\nname = "ddpm-cg-balanced"\nclassifier = { steps = 8 }')
    for name, seed, sampling in (("run", 3, "natural"), ("guided", 0, "balanced")):
        facts_of = json.loads(cli("train-classifier", "--config", tmp_path / f"{name}.toml", *steps)[1])
        assert facts_of["class_sampling"] == sampling
        assert facts_of["sha256"] != facts["sha256"]
        assert facts_of["classifier"].endswith(f"-s{seed}/classifier.safetensors")
    guided = ["--set", "sampling.guidance=classifier", "--set", "sampling.guidance_scale=2"]
    code, out, err = cli(
        "run", "--method", "cbdm", *SMALL, *guided, "--runs-dir", runs, "--set", f"sampling.classifier={file}"
    )
    assert code == 0, err
    sampler = json.loads(out)["samples"]["sampler"]
    assert (sampler["guidance"], sampler["classifier_sha256"]) == ("classifier", facts["sha256"])
    assert "classifier" not in sampler  # where it lay is nobody's business
    assert json.loads(out)["samples"]["network_evaluations"] == 4
    file.unlink()
    (run,) = runs.glob("digits-lt/cbdm/*")
    code, _, err = cli("sample", run, "-n", "4")
    assert code == 2
    assert "give its file with --set sampling.classifier=FILE" in err


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["sampling.guidance=classifier"], "'ltgen-bench train-classifier' makes a file"),
        (["sampling.free_scale=1"], "sampling.free_scale is read with --set sampling.guidance=classifier only"),
        (["sampling.classifier_prior=uniform"], "sampling.classifier_prior is read with"),
        (["sampling.conditioning=classifier"], "sampling.conditioning is read with"),
        (["sampling.classifier=nowhere"], "sampling.classifier: there is no file nowhere"),
        (["method.name=ddpm-cg", "sampling.free_scale=1"], "free_scale goes with a scale of your own"),
        (
            ["method.name=ddpm-cg", "sampling.guidance_scale=1", "sampling.free_scale=1", "training.label_drop=0"],
            "sampling.free_scale needs a network that is told the class and was trained without too",
        ),
        (
            ["method.name=ddpm-cg", "sampling.conditioning=classifier", "training.label_drop=0"],
            "sampling.conditioning classifier needs training without labels",
        ),
        (["method.name=tiw-unconditional", "method.classifier.class_sampling=balanced"], "has to be natural"),
        (["method.name=tiw-unconditional", "training.class_sampling=balanced"], "leave training.class_sampling at"),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_one_line(cli: Any, sets: list[str], message: str) -> None:
    # the first protocol leaves the scale of guidance to the method, the second chooses it
    protocol = "digits-1k.v2" if "a scale of your own" in message else "digits-1k.v1"
    code, _, err = cli("run", "--dry-run", "--protocol", protocol, *(word for one in sets for word in ("--set", one)))
    assert code == 2, err
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_without_balance_tiw_is_unconditional_ddpm() -> None:
    plain = tiny_method("ddpm", training={"label_drop": 1.0}, sampling={"conditioning": "none", "guidance_scale": 0.0})
    own = tiny_method("tiw-unconditional", method={"balance": 0.0})
    own.network.load_state_dict(plain.network.state_dict())
    batch = make_batch(plain, [0, 1, 2, 3], [0, 1, 2, 3])
    assert torch.equal(plain.losses(batch)["diffusion"], own.losses(batch)["diffusion"])


def test_with_an_exact_classifier_the_corrected_target_is_that_of_equal_classes() -> None:
    """E[e | x_t] of the long tail, minus sqrt(1 - ab) grad log w, is E[e | x_t] of the balanced mixture."""
    means, counts, spread = torch.tensor([-0.5, 0.1, 0.4, 0.7]), torch.tensor(COUNTS).double(), 0.2
    method = tiny_method("tiw-unconditional", class_counts=COUNTS)
    assert isinstance(method, TIWUnconditional)
    alpha_bar = torch.tensor(method.schedule.alpha_bar.tolist(), dtype=torch.float64)

    def logits(x: torch.Tensor, t: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        a = alpha_bar[t][:, None]
        distance = (x.double().flatten(1)[:, None] - a[..., None].sqrt() * means[:, None]).square().sum(dim=2)
        return shares.log() - distance / (2 * (a * spread**2 + 1 - a))

    def noise(x: torch.Tensor, t: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        x = x.double().requires_grad_()
        a = alpha_bar[t][:, None, None, None]
        (score,) = torch.autograd.grad(logits(x, t, shares).logsumexp(dim=1).sum(), x)
        return -(1 - a).sqrt() * score

    class Exact(torch.nn.Module):
        def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            return logits(x, t, counts / counts.sum()).float()

    method.classifier.network = Exact()  # type: ignore[assignment]
    x, t, _ = noisy(6)
    x = 0.3 * x
    weight, gradient = method.importance(x, t)
    sigma = (1 - alpha_bar[t]).sqrt()[:, None, None, None]
    corrected = noise(x, t, counts / counts.sum()) - sigma * gradient
    torch.testing.assert_close(corrected, noise(x, t, torch.full((4,), 0.25).double()), rtol=1e-3, atol=1e-4)
    ratio = logits(x, t, torch.full((4,), 0.25).double()).logsumexp(1) - logits(x, t, counts / counts.sum()).logsumexp(
        1
    )
    torch.testing.assert_close(weight.double(), ratio.exp(), rtol=1e-4, atol=1e-6)
