"""`list`, `explain`, `doctor` and `schema`: look at things, compute nothing."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from ltgen_bench.cli.options import Options, offers
from ltgen_bench.cli.output import print_json, print_tables
from ltgen_bench.core.errors import ConfigError

Kind = Literal["methods", "datasets", "features", "protocols", "keys"]


def add_commands(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("list")(list_things)
    app.command("explain")(explain)
    app.command("doctor")(doctor)
    app.command("schema")(schema)


@offers("kind verbose compare plugins as_json debug")
def list_things(
    options: Options,
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Of methods also: what they need, and how faithful they can be.")
    ] = False,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(help="Of two protocols: every setting in which they differ.", metavar="A B", show_default=False),
    ] = None,
) -> None:
    """List methods, data sets, feature extractors, protocols or configuration keys, with one line about each.

    Example: ltgen-bench list protocols --compare cm-50k-ddim50.v1 cifar-50k.v2
    """
    options.load_plugins()
    if compare is not None:
        if kind != "protocols":
            raise ConfigError("--compare is for protocols: ltgen-bench list protocols --compare A B")
        _compare_protocols(*compare, options.as_json)
        return
    if verbose and kind != "methods":
        raise ConfigError("--verbose is for methods: ltgen-bench list methods --verbose")
    makers = {"datasets": _datasets, "features": _features, "protocols": _protocols, "keys": _keys}
    rows = _methods(verbose) if kind == "methods" else makers[kind]()
    if options.as_json:
        print_json(rows)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in rows[0]:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row.values()))
    print_tables([table])


def _methods(verbose: bool) -> list[dict[str, Any]]:
    from ltgen_bench.methods import METHODS, DiffusionMethod

    rows: list[dict[str, Any]] = []
    for name in METHODS.names():
        method = METHODS.get(name)
        summary = (method.__doc__ or "").strip().splitlines()
        rows.append(
            {
                "name": name,
                "title": method.title or name,
                "summary": summary[0] if summary else "",
                "paper": method.paper,
            }
        )
        if verbose:
            rows[-1]["fidelity"] = method.fidelity or "not said"
            diffusion = issubclass(method, DiffusionMethod)
            rows[-1]["passes"] = method.passes if issubclass(method, DiffusionMethod) else None
            needs = ["the step's whole batch in memory"] if diffusion and method.in_batch else []  # type: ignore[attr-defined]
            rows[-1]["needs"] = ", ".join([*needs, *(["labels"] if diffusion else [])]) or "-"
    return rows


def _datasets() -> list[dict[str, Any]]:
    from ltgen_bench.datasets import dataset_names, describe

    return [{"name": name, "summary": describe(name)} for name in dataset_names()]


def _features() -> list[dict[str, Any]]:
    from ltgen_bench.features import EXTRACTORS, extractor_info

    rows = []
    for name in EXTRACTORS.names():
        info = extractor_info(name)
        rows.append({"name": name, "title": info.title, "dim": info.dim, "licence": info.licence})
    return rows


def _protocols() -> list[dict[str, Any]]:
    from ltgen_bench.core.protocol import PROTOCOLS

    return [
        {
            "name": protocol.name,
            "samples": protocol.samples,
            "features": protocol.extractor,
            "manifold": protocol.manifold_extractor,
            "hash": protocol.hash(),
            "summary": protocol.summary,
        }
        for protocol in PROTOCOLS.values()
    ]


def _compare_protocols(first: str, second: str, as_json: bool) -> None:
    from ltgen_bench.core.protocol import get_protocol

    one, two = get_protocol(first), get_protocol(second)
    differences = one.differences(two)
    texts = {each.name: {key: getattr(each, key) for key in ("source", "not_reproduced")} for each in (one, two)}
    if as_json:
        changed = {key: list(pair) for key, pair in differences.items()}
        print_json({"protocols": [first, second], "differences": changed, "texts": texts})
        return
    from rich.table import Table

    table = Table()
    for column in ("setting", first, second):
        table.add_column(column, overflow="fold")
    for key, pair in differences.items():
        table.add_row(key, *("-" if value is None else str(value) for value in pair))
    lines = [f"{name}: {text}" for name, found in texts.items() for text in found.values() if text]
    same = ["the same in every setting but the name"] if not differences else [table]
    print_tables([*same, *lines])


def _keys() -> list[dict[str, Any]]:
    from ltgen_bench.runs.keys import all_keys

    rows = []
    for key in all_keys():
        of = f" ({', '.join(key.methods)})" if key.methods else ""
        rows.append({"key": key.name, "values": key.values, "default": key.default, "what it is for": key.text + of})
    return rows


@offers("key plugins as_json")
def explain(
    options: Options,
    key: Annotated[str, typer.Argument(help="A configuration key, such as training.ema_decay or ema_decay.")],
) -> None:
    """Explain a configuration key: what it is for, what it takes, its built-in default.

    Recipes of data sets and methods set others: 'run --dry-run' prints the values of a run. All keys: 'list keys'.

    Example: ltgen-bench explain training.ema_decay
    """
    options.load_plugins()
    from ltgen_bench.runs.keys import explained

    found = explained(key)
    if options.as_json:
        print_json([one.to_dict() for one in found])
        return
    for one in found:
        of = f"   only of {', '.join(one.methods)}" if one.methods else ""
        print(f"{one.name} = {one.default}   ({one.values}){of}")
        print(f"    {one.text}")
        print(f"    change it with --set {one.name}=VALUE")


@offers("data_root weights as_json")
def doctor(options: Options) -> None:
    """What is installed, which device there is, which data and weights are present, what each protocol lacks."""
    from ltgen_bench.runs.doctor import diagnose

    findings = diagnose(options.places())
    if options.as_json:
        print_json(findings)
        return
    from rich.table import Table
    from rich.text import Text

    parts: list[Any] = []
    for title, rows in findings.items():
        table = Table(
            title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, show_header=False
        )
        table.add_column(overflow="fold")
        table.add_column(overflow="fold")
        for key, value in rows.items():
            shown = "; ".join(map(str, value)) if isinstance(value, list) else value
            table.add_row(Text(key), Text("ready" if value == [] else str(shown)))
        parts += [table, ""]
    print_tables(parts)


def schema() -> None:
    """Print the JSON schema of a record."""
    from ltgen_bench.evaluation.record_files import record_schema

    print_json(record_schema())
