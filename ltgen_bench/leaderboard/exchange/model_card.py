"""The card of a published run: what it is, its numbers, how to use it, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping

from ltgen_bench.evaluation.record import Record
from ltgen_bench.leaderboard import text

_NUMBERS = {
    "fid": "",
    "kid": "KID",
    "inception_score": "Inception Score",
    "f8": "F8, recall-like",
    "f1_8": "F1/8, precision-like",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
}
_GROUPS = {"many": "head", "medium": "medium", "few": "tail"}


def model_card(record: Record, sizes: Mapping[str, int], weights: str) -> str:
    """Markdown with the front matter that model hubs read; `sizes` are the files' bytes by name."""
    title = text.markdown(record.method.title or record.method.name)
    dataset, protocol = text.markdown(record.dataset.name), text.markdown(record.protocol.name)
    label = record.extractors["features"].label
    parts = [
        "---\nlibrary_name: ltgen-bench\ntags:\n- long-tailed\n- image-generation\n- diffusion\n---",
        f"# {title} on {dataset}, seed {record.seed}",
        f"A model of {len(record.dataset.class_names)} classes with {max(record.dataset.class_counts):,} to "
        f"{min(record.dataset.class_counts):,} training images each, trained, sampled and measured by "
        f"ltgen-bench {text.markdown(record.code.version)} under the protocol {protocol}.",
        f"## Numbers\n\n{_numbers(record, label)}",
        f"## Use\n\n{_USE.format(weights=weights)}",
        f"## Files\n\n{_files(sizes)}",
        f"## Where it comes from\n\n{_provenance(record)}",
        f"## Limits\n\n{_LIMITS}",
    ]
    if record.method.paper:
        parts.insert(3, f"Method: {text.markdown(record.method.paper)}")
    return "\n\n".join(parts) + "\n"


_USE = """\
    ltgen-bench import THIS_FOLDER        # a run of its own: sample, evaluate, compare, submit as with yours
    ltgen-bench sample RUN -n 100 --set sampling.guidance_scale=1 -o more.npz

In Python: `ltgen_bench.load_run(RUN).sample([0, 0, 9], seed=1)`. `{weights}` holds the averaged weights,
`samples/samples.npz` the samples that were measured (`arr_0` uint8 (N, H, W, C), `labels`)."""

_LIMITS = (
    "Trained on a long tail to compare methods; rare classes are drawn worse than frequent ones, and samples may "
    "repeat training images (`memorisation` in record.json says how many were suspected). Nothing is said here about "
    "the training images' licence. Who checked these numbers, and how far, is not said by this folder: `verify` does."
)


def _numbers(record: Record, label: str) -> str:
    lines = ["| number | value | 95 % interval |", "|---|---|---|"]
    for key, name in _NUMBERS.items():
        value = record.metrics.number(key)
        if value is None:
            continue
        interval = record.metrics.confidence.get(key)
        between = f"{interval.low:.4g} … {interval.high:.4g}" if interval is not None else ""
        lines.append(f"| {text.markdown(name or label)} | {value:.4g} | {between} |")
    for group, name in _GROUPS.items():
        value = record.metrics.number(f"groups.{group}.fid")
        if value is not None:
            lines.append(f"| {text.markdown(label)} of the {name} | {value:.4g} | |")
    return "\n".join(lines) + "\n\nThe intervals say how far a number moves when the same model is sampled again."


def _files(sizes: Mapping[str, int]) -> str:
    lines = ["| file | bytes |", "|---|---|"]
    lines += [f"| {text.markdown(name)} | {size:,} |" for name, size in sorted(sizes.items())]
    return "\n".join(lines) + "\n\n`sha256sum -c SHA256SUMS` checks them."


def _provenance(record: Record) -> str:
    features = record.extractors["features"]
    lines = [
        f"* code: {record.code.commit or record.code.version}"
        + ("" if record.code.clean is not False else ", with changes that no commit has"),
        f"* configuration: {record.method.config_hash}, in config.toml",
        f"* training images: {record.dataset.fingerprint}",
        f"* reference: {text.markdown(record.dataset.reference.name)}, {record.dataset.reference.fingerprint}",
        f"* protocol: {record.protocol_hash}",
        f"* features: {text.markdown(features.name)}, weights {features.weights_sha256}",
        f"* samples: {record.samples.sha256}",
    ]
    if record.method.code_sha256 is not None:
        origin = text.markdown(record.method.plugin or "a file")
        lines.append(f"* the method is a plug-in, {origin}, its code {record.method.code_sha256}")
    return "\n".join(lines)
