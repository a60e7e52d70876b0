from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltgen_bench.core.config import RunConfig, build
from ltgen_bench.core.errors import ConfigError, UnknownNameError
from ltgen_bench.core.mappings import difference, merge, parse_overrides, read_toml
from ltgen_bench.core.protocol import PROTOCOLS, Protocol, resolve_protocol
from ltgen_bench.runs.folder import read_run_config
from ltgen_bench.runs.resolve import resolve, trunk_recipe

ROOT = Path("unused")


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_overrides_read_toml_values_and_bare_words() -> None:
    layer = parse_overrides(["training.steps=2_000", "training.ema_warmup=true", "network.channel_multipliers=[1, 2]",
                             "sampling.sampler=ddim", "training.learning_rate=1e-3", "seed=3"])  # fmt: skip
    assert layer == {
        "training": {"steps": 2000, "ema_warmup": True, "learning_rate": 1e-3},
        "network": {"channel_multipliers": [1, 2]},
        "sampling": {"sampler": "ddim"},
        "seed": 3,
    }


@pytest.mark.parametrize("text", ["training.steps", "=3", "a.b.c=1", ".steps=1", "training.=1"])
def test_malformed_override_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--set wants section.key=value"):
        parse_overrides([text])


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"training": {"stepps": 3}}, "unknown configuration key 'training.stepps'; did you mean 'training.steps'?"),
        ({"trainning": {"steps": 3}}, "unknown configuration key 'trainning'; did you mean 'training'?"),
        ({"training": {"steps": "many"}}, "training.steps: input should be a valid integer"),
        ({"training": {"steps": 0}}, "training.steps: input should be greater than 0"),
        ({"training": {"learning_rate": float("nan")}}, "training.learning_rate: input should be a finite number"),
        ({"training": 3}, "training is a section: set one of its keys"),
        ({"method": {"name": "ddpm", "tau": 1}}, "unknown configuration key 'method.tau'"),
        ({"sampling": {"sampler": "dddim"}}, "sampling.sampler: input should be 'ddpm', 'ddim' or"),
        ({"sampling": {"steps": 1001}}, "sampling.steps 1001 is more than diffusion.timesteps 1000"),
        ({"network": {"channel_multipliers": [1, 2, 2, 2, 2]}}, "image_size = 8; 5 levels need a multiple of 16"),
    ],
)
def test_mistakes_are_one_line(layers: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        resolve(layers, ROOT).make_method()
    assert message in one_line(error)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"method": "dppm"}, "unknown method 'dppm'; did you mean 'ddpm'?"),
        ({"dataset": "digit-lt"}, "unknown data set 'digit-lt'; did you mean 'digits-lt'?"),
        ({"protocol": "digits-1k.v11"}, "unknown protocol 'digits-1k.v11'; did you mean 'digits-1k.v1'?"),
    ],
)
def test_unknown_names_come_with_the_closest(layers: dict[str, object], message: str) -> None:
    with pytest.raises(UnknownNameError) as error:
        resolve(layers, ROOT)
    assert message in one_line(error)


def test_the_configuration_survives_its_file(tmp_path: Path) -> None:
    config = resolve({"dataset": "cifar10lt", "seed": 4, "training": {"learning_rate": 3e-4}}, ROOT).config
    path = tmp_path / "config.toml"
    path.write_text(config.to_toml())
    assert read_run_config(path) == config
    assert read_run_config(path).hash() == config.hash()


def test_what_is_computed_makes_the_hash_and_how_does_not() -> None:
    base = resolve({}, ROOT).config
    same = resolve({"execution": {"sampling_batch_size": 7, "device": "cpu"}, "seed": 5}, ROOT).config
    other = resolve({"sampling": {"guidance_scale": 1.0}}, ROOT).config
    assert base.hash() == same.hash()
    assert base.hash() != other.hash()
    assert base.training_identity() == other.training_identity()


def test_recipes_of_the_paper() -> None:
    """The values that the CORAL paper prints in Table 3 and Appendix A for DDPM."""
    for dataset, guidance in (
        ({"name": "cifar10lt"}, 0.8),
        ({"name": "cifar10lt", "imbalance": 0.001}, 1.0),
        ({"name": "cifar100lt"}, 0.8),
    ):
        config = resolve({"dataset": dataset}, ROOT).config
        assert config.sampling.guidance_scale == guidance
        training = config.training
        assert (training.steps, training.batch_size, training.learning_rate) == (150_000, 128, 2e-4)
        assert (training.warmup_steps, training.ema_decay, training.gradient_clip) == (5000, 0.9999, 1.0)
        assert (config.sampling.sampler, config.sampling.steps, config.sampling.clip_x0) == ("ddpm", 1000, False)
        assert (config.network.dropout, config.protocol.samples) == (0.1, 50_000)


@given(st.integers(1, 512))
def test_every_image_size_has_a_trunk_that_divides_it(size: int) -> None:
    network = trunk_recipe(size)["network"]
    levels = len(network["channel_multipliers"])
    assert size % 2 ** (levels - 1) == 0
    assert all(level < levels for level in network["attention_levels"])


layers = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from("abc"), layers), st.dictionaries(st.sampled_from("abc"), layers))
def test_merge_and_difference_are_laws(a: dict[str, object], b: dict[str, object]) -> None:
    assert difference(a, a) == []
    assert merge(a, a) == a
    assert difference(merge(a, b), merge(merge(a, b), b)) == []
    assert (difference(a, b) == []) == (a == b or _only_none_differs(a, b))


def _only_none_differs(a: dict[str, object], b: dict[str, object]) -> bool:
    return all(a.get(key) == b.get(key) for key in {*a, *b})


def test_published_protocols_never_change() -> None:
    """A changed hash means that published numbers lose their meaning: add a `.v2` instead of editing."""
    assert {name: protocol.hash() for name, protocol in PROTOCOLS.items()} == PINNED_PROTOCOLS


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_a_configuration_that_was_written_is_the_same_protocol_when_it_is_read(name: str, tmp_path: Path) -> None:
    dataset = "digits-lt" if name.startswith("digits") else "cifar10lt"
    config = resolve({"protocol": name, "dataset": dataset}, ROOT).config
    (tmp_path / "config.toml").write_text(config.to_toml())
    again = resolve(read_toml(tmp_path / "config.toml"), ROOT).config
    assert again.protocol == config.protocol == PROTOCOLS[name]
    assert again.hash() == config.hash()
    stated = json.loads(json.dumps(config.identity()))  # as in a record, and in a leaderboard's recipe
    assert resolve(stated, ROOT).config.hash() == config.hash()


PINNED_PROTOCOLS = {
    "cbdm-50k-ddpm1000.v1": "c2a9c16615dd22f4",
    "ccua-10k-ddim100.v1": "6ce695b52526cc99",
    "cifar-50k-dinov2.v1": "172fed36bababaab",
    "cifar-50k-fixed-budget.v1": "12e100dcefb9b999",
    "cifar-50k-recognition.v2": "a99c69a3557df778",
    "cifar-50k.v1": "17038637685c686f",
    "cifar-50k.v2": "52a1e556ba5281f5",
    "cm-50k-ddim50.v1": "c76c1f3b0e2b6d55",
    "coral-50k-ddpm1000.v1": "39c28fb929e7153a",
    "digits-1k-fixed-budget.v1": "d0992d41d9e01bd5",
    "digits-1k-recognition.v2": "0342d82eb44d090b",
    "digits-1k.v1": "2bcc4a9eae1a8aa6",
    "digits-1k.v2": "577a1ca81c661bb9",
    "imagenet-lt-50k.v1": "d8982aa39af50761",
    "imagenet-lt-50k.v2": "1aa0ea6323747e48",
    "images-50k-dinov2.v1": "e38ad526bd39dcda",
    "images-50k.v1": "abe45dc86a3da8ff",
    "images-50k.v2": "ecb1ad8de9545963",
    "offline-10k.v1": "ca8f6100f71c7771",
    "offline-10k.v2": "9d0f5a43f53bbd22",
    "offline-1k.v2": "01ed2a5ec00a8c38",
    "t2h-50k-ddim100.v1": "60ce909da4f0ea03",
}


def test_a_protocol_of_a_paper_can_fix_the_scale_of_guidance() -> None:
    def run(**layers: object):
        return resolve({"dataset": "cifar10lt", "protocol": "cm-50k-ddim50.v1", "method": "ddpm", **layers}, ROOT)

    plain = run()
    assert plain.config.sampling.guidance_scale == 1.5  # not the recipe's .8
    assert plain.config.protocol == PROTOCOLS["cm-50k-ddim50.v1"]
    assert run(sampling={"guidance_scale": 1.5}).config.protocol == plain.config.protocol
    own = run(sampling={"guidance_scale": 1.0})
    assert own.config.protocol.is_custom
    assert "guidance 1.5" in " ".join(own.notes)
    unlabelled = run(method="h2t").config
    assert (unlabelled.sampling.guidance_scale, unlabelled.protocol.is_custom) == (0.0, False)
    with pytest.raises(ValueError, match="exclude each other"):
        Protocol(name="x", fixed_guidance=1.0, guidance_grid=(0.0,), guidance_samples=10)


def test_protocols_are_compared_by_what_they_compute(cli) -> None:
    same = PROTOCOLS["coral-50k-ddpm1000.v1"].differences(PROTOCOLS["cifar-50k.v1"])
    assert same == {}
    code, out, err = cli("list", "protocols", "--compare", "cm-50k-ddim50.v1", "cbdm-50k-ddpm1000.v1", "--json")
    assert code == 0, err
    assert json.loads(out)["differences"] == {
        "label_policy": ["equal", "uniform"],
        "sampler": ["ddim", "ddpm"],
        "sampler_steps": [50, 1000],
        "fixed_guidance": [1.5, None],
    }
    assert "visits t = 990" in json.loads(out)["texts"]["cm-50k-ddim50.v1"]["not_reproduced"]
    assert cli("list", "protocols", "--compare", "cm-50k-ddim50.v1", "cbdm-50k-ddpm1000.v1")[0] == 0
    assert "--compare is for protocols" in cli("list", "methods", "--compare", "a", "b")[2]
    assert "did you mean 'cifar-50k.v2'" in cli("list", "protocols", "--compare", "cifar-50k.v1", "cifar-50k.v9")[2]


def test_a_fixed_budget_gives_every_method_the_same_images() -> None:
    seen = set()
    for method in ("ddpm", "t2h", "coral"):
        config = resolve(
            {"method": method, "dataset": "cifar10lt", "protocol": "cifar-50k-fixed-budget.v1"}, ROOT
        ).config
        seen.add(config.training.steps * config.training.batch_size)
        assert config.protocol.name == "cifar-50k-fixed-budget.v1"
    assert seen == {150_000 * 128}
    free = resolve({"method": "t2h", "dataset": "cifar10lt"}, ROOT).config
    assert free.training.steps == 200_000  # the paper's
    half = resolve({"protocol": "digits-1k-fixed-budget.v1", "training": {"batch_size": 128}}, ROOT).config
    assert half.training.steps == 500


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"steps": 10}, "training.steps 10 x 64 is not the 64,000 images of protocol digits-1k-fixed-budget.v1"),
        ({"batch_size": 63}, "training.batch_size 63 does not divide the 64,000 images"),
        ({"init_from": __file__}, "it takes no training.init_from"),
    ],
)
def test_a_fixed_budget_is_kept(training: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        resolve({"protocol": "digits-1k-fixed-budget.v1", "training": training}, ROOT)
    assert message in one_line(error)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            {"training": {"label_drop": 0.0}, "sampling": {"guidance_scale": 0.8}},
            "guidance_scale 0.8 needs a model that was also trained without labels",
        ),
        ({"training": {"label_drop": 1.0}}, "training.label_drop 1 teaches no classes"),
        (
            {"training": {"label_drop": 0.0}, "sampling": {"conditioning": "none"}},
            "conditioning none needs training without labels",
        ),
        ({"sampling": {"conditioning": "none", "guidance_scale": 1.0}}, "guidance_scale needs classes"),
        ({"sampling": {"eta": 0.5, "sampler": "ddpm"}}, "sampling.eta is DDIM's; the sampler ddpm does not read it"),
    ],
)
def test_what_training_does_not_teach_cannot_be_sampled(layers: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        resolve(layers, ROOT)
    assert message in one_line(error)


def test_a_version_of_a_data_set_takes_its_recipe() -> None:
    """`cifar10lt-0.02` is the same task as `cifar10lt`; a missing recipe is reported."""

    def settings(method: str, **dataset: object) -> tuple[object, ...]:
        found = resolve({"method": method, "dataset": dataset}, ROOT)
        return found.config.sampling.guidance_scale, found.config.training.steps, found.notes

    assert settings("t2h", name="cifar10lt", imbalance=0.02) == settings("t2h", name="cifar10lt")
    assert settings("t2h", name="cifar10lt", imbalance=0.02)[:2] != (0.0, 150_000)
    assert settings("cbdm", name="cifar10", per_class=50) == settings("cbdm", name="cifar10")
    of_m2m, of_five = (resolve({"method": "cbdm", "dataset": name}, ROOT) for name in ("celeba5-m2m", "celeba5"))
    assert of_m2m.config.training == of_five.config.training
    assert of_m2m.config.method == of_five.config.method
    (note,) = resolve({"method": "t2h", "dataset": "digits"}, ROOT).notes
    assert (
        note == "no recipe for t2h on digits: settings are those for 8 px and your own, guidance chosen by the protocol"
    )


def test_overriding_a_protocol_renames_it() -> None:
    plain = Protocol(**resolve_protocol({"name": "digits-1k.v1"}))
    assert plain == PROTOCOLS["digits-1k.v1"]
    custom = Protocol(**resolve_protocol({"name": "digits-1k.v1", "samples": 10}))
    assert custom.name == "digits-1k.v1+custom"
    assert custom.is_custom
    assert custom.hash() != plain.hash()
    assert Protocol(**resolve_protocol(custom.model_dump())) == custom
    assert Protocol(**resolve_protocol({"name": "digits-1k.v1", "samples": 1000})) == plain


def test_build_names_the_place() -> None:
    with pytest.raises(ConfigError, match=r"protocol: field required"):
        build(RunConfig, {})
