"""`validate`: what an honest submission looks like, and every contradiction that is found out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from leaderboard_records import change, command, make_record, refused, set_value, write_submission, write_sums

from ltgen_bench.core.config import DatasetConfig
from ltgen_bench.core.protocol import PROTOCOLS
from ltgen_bench.core.storage import sha256_json
from ltgen_bench.datasets import load_dataset
from ltgen_bench.evaluation.record_files import parse_record
from ltgen_bench.leaderboard.collect import read_entries
from ltgen_bench.leaderboard.submission import SubmissionError, validate_submission


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_submission(tmp_path, "coral", [make_record("coral", seed, 5 + 0.1 * seed) for seed in range(3)])


def test_an_honest_submission_is_valid(folder: Path, monkeypatch, capsys) -> None:
    submission = validate_submission(folder)
    assert list(submission.records) == [0, 1, 2]
    assert submission.notes == []
    code, out, err = command(monkeypatch, capsys, "validate", folder)
    assert (code, err) == (0, "")
    assert "is a valid submission: coral on digits-lt, digits-1k.v1, 3 seeds" in out
    code, out, _ = command(monkeypatch, capsys, "validate", folder, "--json")
    assert json.loads(out)["seeds"] == [0, 1, 2]


def test_fewer_than_three_seeds_are_named(tmp_path: Path, monkeypatch, capsys) -> None:
    folder = write_submission(tmp_path, "one", [make_record(foreign=True)])
    code, out, _ = command(monkeypatch, capsys, "validate", folder)
    assert code == 0
    assert "note: n = 1" in out


def test_a_record_alone_is_checked_too(folder: Path, monkeypatch, capsys) -> None:
    code, out, _ = command(monkeypatch, capsys, "validate", folder / "0.json")
    assert code == 0
    assert "valid record: coral on digits-lt" in out
    assert "cannot be read" in refused(monkeypatch, capsys, "validate", folder / "9.json")


# --- derived values -----------------------------------------------------------------------------------------------


def _shift(*path: object, by: float = 0.01) -> Callable[[dict], None]:
    def edit(record: dict) -> None:
        for key in path[:-1]:
            record = record[key]  # type: ignore[index]
        record[path[-1]] += by  # type: ignore[index]

    return edit


DERIVED = [
    (_shift("metrics", "recall"), "metrics.recall is not the mean of the groups' recall"),
    (_shift("metrics", "precision"), "metrics.precision is not the mean"),
    (_shift("metrics", "groups", "few", "coverage"), "metrics.coverage is not the mean"),
    (_shift("metrics", "groups", "many", "mean_class_fid"), "groups.many.mean_class_fid is not the mean over"),
    (_shift("metrics", "groups", "many", "n_generated", by=1), "groups.many.n_generated is not the sum"),
    (_shift("metrics", "head_tail_gap", "fid"), "head_tail_gap.fid is not few minus many"),
    (_shift("metrics", "label_accuracy", by=-0.01), "metrics.label_accuracy is not the"),
    (_shift("metrics", "per_class", "label_accuracy", 3, by=-0.01), "per_class.label_accuracy.3 is not the diagonal"),
    (_shift("metrics", "confusion", 2, 2, by=1), "a row does not sum to the class's number of samples"),
    (_shift("metrics", "fid", by=-2), "metrics.confidence.fid does not hold metrics.fid"),
    (set_value("metrics", "groups", "few", "classes", value=[9]), "classes are not those of dataset.groups.few"),
    (_shift("training", "images_seen", by=1), "training.images_seen is not steps x batch_size"),
    (_shift("samples", "network_evaluations", by=1), "network_evaluations is not the sampler's 25"),
    (set_value("samples", "sampler", "steps", value=50), "samples.sampler is not the configured one"),
    (set_value("method", "name", value="cbdm"), "method.name is not that of method.config"),
    (set_value("metrics", "groups", "few", "mean_class_kid", value=1.0), "has no list in metrics.per_class"),
    (set_value("metrics", "groups", "few", "fid", value=-100.0), "groups.few.fid is not within 0 ... 1e+100"),
    (set_value("metrics", "groups", "few", "recall", value=7.0), "groups.few.recall is not within 0 ... 1"),
    (set_value("metrics", "groups", "few", "fid", value=1e308), "metrics.groups.few.fid"),
    (set_value("metrics", "groups", "few", "fid", value=10**400), "an integer has too many digits"),
    (set_value("metrics", "groups", "few", "mean_class_fid", value=10**400), "an integer has too many digits"),
    (set_value("metrics", "per_class", "recall", 3, value=1.5), "per_class.recall is not within 0 ... 1"),
    (set_value("metrics", "fid", value=1e300), "metrics.fid"),
    *(
        (set_value("metrics", "memorisation", value=value), "metrics.memorisation lacks features or pixels")
        for value in (None, {})
    ),
    *(
        (set_value("metrics", "memorisation", "features", value=value), "metrics.memorisation is not one of")
        for value in (
            *(5, {"fraction": "abc"}, {"fraction": -3}, {"fraction": True}),
            *({"fraction": 0.1, "groups": value} for value in ([0.1], {"few": "<b>"}, {"few": 7})),
            *({"fraction": 0.1, key: [1]} for key in ("by_class", "by_neighbourhood", "authentic_share")),
            {"fraction": 0.1, "by_class": {"fraction": 0.1, "groups": 3}},
        )
    ),
]


def drop(*path: object) -> Callable[[dict], None]:
    def edit(record: dict) -> None:
        for key in path[:-1]:
            record = record[key]  # type: ignore[index]
        del record[path[-1]]

    return edit


def together(*edits: Callable[[dict], None]) -> Callable[[dict], None]:
    def edit(record: dict) -> None:
        for each in edits:
            each(record)

    return edit


def configured(*path: object, value: object) -> Callable[[dict], None]:
    """Another configuration, with its hash made to fit."""

    def edit(record: dict) -> None:
        set_value("method", "config", *path, value=value)(record)
        record["method"]["config_hash"] = sha256_json(record["method"]["config"])[:10]

    return edit


def zero_copies(record: dict) -> None:
    record["metrics"]["memorisation"]["features"]["fraction"] = 0.0


HALF = 2.5
no_gap = set_value("metrics", "head_tail_gap", value={})
INCOMPLETE = {
    "accuracy without its table": (
        set_value("metrics", "confusion", value=None),
        "metrics.confusion is missing",
    ),
    "no groups": (together(no_gap, set_value("metrics", "groups", value={})), "metrics.groups.many is missing"),
    "a group left out": (together(no_gap, drop("metrics", "groups", "few")), "metrics.groups.few is missing"),
    "a group's number left out": (
        together(no_gap, drop("metrics", "groups", "few", "fid")),
        "metrics.groups.few.fid is missing",
    ),
    "a list left out": (drop("metrics", "per_class", "fid"), "has no list in metrics.per_class"),
    "lists left out": (
        together(no_gap, drop("metrics", "per_class", "recall")),
        "metrics.per_class.recall is missing",
    ),
    "an unknown number of a group": (
        set_value("metrics", "groups", "few", "fid_ours", value=0.1),
        "has an unknown number 'fid_ours'",
    ),
    "an unknown list": (set_value("metrics", "per_class", "score", value=[1.0] * 10), "has an unknown list 'score'"),
    "text for a number": (set_value("metrics", "groups", "few", "f8", value="0.9"), "metrics.groups.few.f8"),
    "text in a list": (set_value("metrics", "per_class", "recall", value=["0.9"] * 10), "metrics.per_class.recall"),
    "true for a number": (set_value("metrics", "groups", "few", "f8", value=True), "metrics.groups.few.f8"),
    "half the distance, no interval": (
        together(set_value("metrics", "fid", value=HALF), drop("metrics", "confidence", "fid")),
        "metrics.confidence.fid is missing",
    ),
    "half the distance, a wide interval": (
        together(
            set_value("metrics", "fid", value=HALF),
            set_value("metrics", "confidence", "fid", value={"low": 2.4, "high": 9.0, "level": 0.95, "method": "x"}),
        ),
        "metrics.fid is not in the middle of metrics.confidence.fid",
    ),
    "a score above the number of classes": (
        together(
            set_value("metrics", "inception_score", value=10.5),
            set_value("metrics", "confidence", "inception_score", "high", value=11.0),
        ),
        "metrics.inception_score is above the number of classes of digits-cnn, 10",
    ),
    "an absurd deviation": (set_value("metrics", "kid_std", value=1e99), "metrics.kid_std is beyond"),
    "no copies": (zero_copies, "metrics.memorisation.features.fraction is not the mean over the classes"),
    "copies without their classes' shares": (
        set_value("metrics", "memorisation", "features", value={"fraction": 0.0}),
        "metrics.memorisation.features.median_distance is missing",
    ),
    "shares of copies that are none": (
        set_value("metrics", "memorisation", "pixels", "per_class", value=[2.0] * 10),
        "metrics.memorisation.pixels.per_class is not one share a class",
    ),
    "no training": (set_value("training", value=None), "training is null, and method.config says how"),
    "no sampler": (set_value("samples", "sampler", value=None), "samples.sampler is null, and method.config says how"),
    "one evaluation of the network": (
        set_value("samples", "network_evaluations", value=1),
        "samples.network_evaluations is not the sampler's",
    ),
    "steps in words": (configured("training", "steps", value="many"), "method.config.training.steps"),
    "an unknown key": (configured("training", "speed", value=2), "unknown configuration key"),
    "an unknown option of the method": (configured("method", "strength", value=2), "strength"),
    "an option of another type": (configured("method", "weight", value="large"), "method.config.method.weight"),
    "another seed": (configured("seed", value=7), "method.config has 'seed', which is no part"),
    "a path to weights": (
        configured("training", "init_from", value="/home/me/x.safetensors"),
        "is a path; a record has",
    ),
    "an unknown method": (
        together(set_value("method", "name", value="magic"), configured("method", "name", value="magic")),
        "method 'magic' is not one of this package",
    ),
    "no configuration, but its hash": (
        together(set_value("method", "config", value=None), set_value("training", value=None)),
        "method.config_hash is set, and method.config is null",
    ),
    "no configuration, but a training": (
        together(set_value("method", "config", value=None), set_value("method", "config_hash", value=None)),
        "training is set, and method.config is null",
    ),
    "resized samples": (set_value("samples", "resized_from", value=16), "takes no resized samples"),
    "unlabelled, with label accuracy": (
        together(
            set_value("samples", "labelled", value=False),
            set_value("samples", "class_counts", value=[0] * 10),
            set_value("metrics", "per_class", "n_generated", value=[0] * 10),
        ),
        "metrics.",
    ),
    "a commit that is neither clean nor not": (set_value("code", "clean", value=None), "code.clean says nothing"),
    "clean without a commit": (set_value("code", "commit", value=None), "code.clean says nothing"),
    "before the package": (set_value("timing", "created", value="1969-12-31T23:59:59Z"), "before this package was"),
    "yesterday": (set_value("timing", "created", value="yesterday"), "is no time of the form"),
    "the future": (set_value("timing", "created", value="2999-01-01T00:00:00Z"), "or in the future"),
    "no time zone": (set_value("timing", "created", value="2026-05-01T12:00:00"), "is not in UTC"),
    "markup for a time": (set_value("timing", "created", value="<b>now</b>"), "is no time of the form"),
    "a title that hides something": (set_value("method", "title", value="CORAL\u3164"), "method.title"),
    "a title of two spaces": (set_value("method", "title", value="CORAL  2"), "has spaces at an end"),
    "escape in a note": (set_value("metrics", "notes", value={"fid": "\x1b[2J"}), "control character"),
}


@pytest.mark.parametrize(("edit", "message"), INCOMPLETE.values(), ids=INCOMPLETE)
def test_what_a_protocol_computes_is_there_and_possible(folder: Path, edit, message: str) -> None:
    change(folder, 0, edit)
    with pytest.raises(SubmissionError) as refused:
        validate_submission(folder)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        (set_value("code", "commit", value="1" * 40), "version of the code"),
        (set_value("code", "version", value="0.2.0"), "version of the code"),
        (set_value("method", "title", value="CORAL 2"), "title of the method"),
        (set_value("method", "paper", value="Somebody, 2026"), "paper"),
        (set_value("method", "facts", value={"network_parameters": 9}), "size of the model"),
    ],
)
def test_seeds_of_one_submission_agree(folder: Path, edit, what: str) -> None:
    change(folder, 1, edit)
    with pytest.raises(SubmissionError, match=f"seeds 0 and 1 have another {what}"):
        validate_submission(folder)


@pytest.mark.parametrize(("edit", "message"), DERIVED)
def test_every_derivable_value_is_computed_again(folder: Path, edit, message: str) -> None:
    change(folder, 1, edit)
    with pytest.raises(SubmissionError) as caught:
        validate_submission(folder)
    assert message in str(caught.value)
    assert "1.json" in str(caught.value)


def test_labels_of_the_seed_are_drawn_again(folder: Path) -> None:
    """Another seed's class counts betray a record whose seed was changed."""
    record = make_record("coral", 7)
    record["seed"] = 1
    (folder / "1.json").write_text(json.dumps(record))
    write_sums(folder)
    with pytest.raises(SubmissionError, match="not those of the labels that seed 1 draws"):
        validate_submission(folder)


def test_foreign_labels_have_to_be_uniform() -> None:
    record = make_record("gan", 0, foreign=True)
    few = record["metrics"]["confusion"]
    for part in (record["samples"]["class_counts"], record["metrics"]["per_class"]["n_generated"]):
        part[0], part[9] = part[0] + part[9] - 2, 2
    few[9] = [0] * 9 + [2]
    few[0][0] += record["samples"]["class_counts"][0] - sum(few[0])
    from ltgen_bench.evaluation.contradictions import _labels

    problems = list(_labels(parse_record(json.dumps(record), "x")))
    assert problems == ["samples.class_counts are not those of labels drawn uniformly over the classes"]


# --- the package's own knowledge ----------------------------------------------------------------------------------

OFFICIAL = [
    (set_value("dataset", "fingerprint", value="0" * 64), "trained on another split"),
    (set_value("dataset", "reference", "fingerprint", value="0" * 64), "reference.fingerprint is not that"),
    (set_value("dataset", "class_names", 0, value="zero"), "dataset.class_names is not that of digits-lt"),
    (set_value("code", "clean", value=False), "code.clean is false"),
    (set_value("dataset", "name", value="my-own"), "data set 'my-own' is not one that everybody can load"),
    (set_value("dataset", "name", value="cifar10lt-nan"), "data set 'cifar10lt-nan' is not one"),
    *(
        (
            set_value("extractors", "features", key, value=value),
            f"features.{key} is not that of the official digits-cnn",
        )
        for key, value in (("weights_sha256", "0" * 64), ("version", 2), ("precision", "bf16"), ("label", "FID"))
    ),
    (lambda record: record["extractors"].pop("features"), "extractors.features is not the protocol's digits-cnn"),
]


@pytest.mark.parametrize(("edit", "message"), OFFICIAL)
def test_what_the_package_knows_is_compared(tmp_path: Path, edit, message: str) -> None:
    record = make_record("gan", 0, foreign=True)
    edit(record)
    folder = write_submission(tmp_path, "gan", [record])
    with pytest.raises(SubmissionError, match=message):
        validate_submission(folder)


def _with_config(record: dict, *path: str, value: object) -> dict:
    """`record` with another value in its configuration, and its hash made to fit."""
    record["method"]["config"] = json.loads(json.dumps(record["method"]["config"]))
    set_value(*path, value=value)(record["method"]["config"])
    record["method"]["config_hash"] = sha256_json(record["method"]["config"])[:10]
    return record


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("dataset", "name"), "cifar10", "method.config.dataset is not digits-lt"),
        (("dataset", "imbalance"), 0.5, "method.config.dataset is not digits-lt"),
        (("method", "levels"), [None], "holds null in a list"),
    ],
)
def test_the_configuration_is_the_records(tmp_path: Path, path, value, message: str) -> None:
    folder = write_submission(tmp_path, "ddpm", [_with_config(make_record(), *path, value=value)])
    with pytest.raises(SubmissionError, match=message):
        validate_submission(folder)


def _fixed_budget(record: dict) -> dict:
    protocol = PROTOCOLS["digits-1k-fixed-budget.v1"]
    record |= {"protocol": protocol.model_dump(mode="json"), "protocol_hash": protocol.hash()}
    if record["method"]["config"] is not None:
        _with_config(record, "protocol", value=record["protocol"])
    return record


def test_a_fixed_budget_is_for_those_who_counted(tmp_path: Path) -> None:
    """Nobody knows what samples from elsewhere cost, and a checkpoint to start from costs images that nobody counts."""
    free = write_submission(tmp_path, "gan", [_fixed_budget(make_record("gan", foreign=True))])
    with pytest.raises(SubmissionError, match="training is null, and protocol digits-1k-fixed-budget"):
        validate_submission(free)
    tuned = _with_config(_fixed_budget(make_record()), "training", "init_sha256", value="0" * 64)
    with pytest.raises(SubmissionError, match="training started from a checkpoint"):
        validate_submission(write_submission(tmp_path, "tuned", [tuned]))
    assert validate_submission(write_submission(tmp_path, "honest", [_fixed_budget(make_record())]))


def test_one_run_may_stand_under_two_protocols(tmp_path: Path) -> None:
    """The digits recipe sees just the images that the fixed budget allows: the same samples, measured under both."""
    write_submission(tmp_path, "ddpm", [make_record()])
    write_submission(tmp_path, "ddpm-budget", [_fixed_budget(make_record())], method="DDPM in budget")
    assert len(read_entries(tmp_path)) == 2


def test_a_data_set_whose_counts_need_its_files_stops_nothing(tmp_path: Path) -> None:
    """celeba5's class counts follow from a file that few have: what can be known without it is compared, and said."""
    from ltgen_bench.leaderboard.submission.departures import departures, unchecked

    record = make_record("gan", foreign=True)
    dataset = load_dataset(DatasetConfig(name="celeba5"), tmp_path)
    record["dataset"] |= {
        "name": "celeba5",
        "image_shape": list(dataset.image_shape),
        "class_names": [f"c{c}" for c in range(10)],
    }
    record = parse_record(json.dumps(record), "x")
    found = list(departures(record, tmp_path, pixels=True))
    assert "dataset.class_names is not that of celeba5" in found
    assert not any("class_counts" in line for line in found)
    (note,) = unchecked(record, tmp_path)
    assert "class counts and fingerprints were not compared" in note


def test_a_custom_protocol_never_enters(tmp_path: Path) -> None:

    record = make_record("gan", 0, foreign=True)
    protocol = PROTOCOLS["digits-1k.v1"].customised(neighbours=5)
    record |= {"protocol": protocol.model_dump(mode="json"), "protocol_hash": protocol.hash()}
    folder = write_submission(tmp_path, "gan", [record])
    with pytest.raises(SubmissionError, match="only published protocols enter a leaderboard"):
        validate_submission(folder)


# --- seeds --------------------------------------------------------------------------------------------------------


def test_the_best_of_several_is_refused(tmp_path: Path, monkeypatch, capsys) -> None:
    folder = write_submission(tmp_path, "x", [make_record(seed=s) for s in (0, 2)], seeds_run=[0, 1, 2, 3])
    line = refused(monkeypatch, capsys, "validate", folder)
    assert "seeds 0, 1, 2, 3 were run and 1, 3 are not here; the best of several is not accepted" in line


def test_undeclared_seeds_are_refused(tmp_path: Path) -> None:
    folder = write_submission(tmp_path, "x", [make_record(seed=s) for s in (0, 1)], seeds_run=[0])
    with pytest.raises(SubmissionError, match="seeds 1 are here and not declared"):
        validate_submission(folder)


def test_one_set_of_samples_does_not_make_two_seeds(tmp_path: Path, monkeypatch, capsys) -> None:
    records = [make_record("gan", seed, foreign=True) for seed in (0, 1)]
    records[1]["samples"]["sha256"] = records[0]["samples"]["sha256"]
    folder = write_submission(tmp_path, "gan", records)
    assert "seeds 0 and 1 measured the same samples" in refused(monkeypatch, capsys, "validate", folder)


def test_seeds_of_one_submission_share_everything_else(tmp_path: Path) -> None:
    folder = write_submission(tmp_path, "x", [make_record("gan", 0, foreign=True), make_record("vae", 1, foreign=True)])
    with pytest.raises(SubmissionError, match="seeds 0 and 1 have another method"):
        validate_submission(folder)


def test_a_record_is_called_by_its_seed(folder: Path) -> None:
    (folder / "2.json").rename(folder / "5.json")
    write_sums(folder)
    with pytest.raises(SubmissionError, match="seed is 2; a record's file is called by its seed"):
        validate_submission(folder)
