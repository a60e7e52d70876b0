"""The house as CONTRIBUTING.md draws it: every import goes down, lazy ones included, and none goes round."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ltgen_bench"
DOOR = ("ltgen_bench.methods", "ltgen_bench.core.errors")  # what plug-ins use


def table() -> dict[str, int]:
    """The floor of every room, from the table in CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) \| (.+?) \|", text, re.MULTILINE)
    return {room: int(floor) for floor, rooms in rows for room in re.findall(r"`(\w+)(?:/|\.py)`", rooms)}


FLOORS = table()


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {module_name(path): path for folder in ("ltgen_bench", "baselines") for path in (ROOT / folder).rglob("*.py")}


def room(module: str) -> str:
    """`python -m ltgen_bench` is the command line by another door."""
    name = module.removeprefix("ltgen_bench.").partition(".")[0]
    return "cli" if name == "__main__" else name


def imports(path: Path, *, entries: bool = True) -> Iterator[tuple[int, str]]:
    """Line and target of every import of our own modules, wherever it stands.

    With `entries` also the `module:attribute` strings of registries, which are imported when they are asked for.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif entries and isinstance(node, ast.Constant) and re.fullmatch(r"[\w.]+:\w+", str(node.value)):
            names = [str(node.value).partition(":")[0]]
        else:
            continue
        for name in names:
            target = name if name in FILES else name.rpartition(".")[0]
            if target in FILES:
                yield node.lineno, target


def test_the_table_names_every_room() -> None:
    entries = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert entries - {"__init__"} == set(FLOORS)
    assert len(entries - {"__init__", "__main__"}) <= 12


@pytest.mark.parametrize("name", sorted(FILES))
def test_imports_go_down(name: str) -> None:
    if name == "ltgen_bench":
        return  # the front door: it names what `evaluation` offers
    path = FILES[name]
    for line, target in imports(path):
        where = f"{path.relative_to(ROOT)}:{line}: {name} imports {target}"
        if name.startswith("baselines"):
            assert target.startswith("baselines") or target in DOOR, f"{where}, which is not public"
        elif room(target) != room(name):
            assert not target.startswith("baselines"), f"{where}, a plug-in"
            assert target != "ltgen_bench", f"{where}, the front door"
            assert FLOORS[room(target)] < FLOORS[room(name)], f"{where}, which is not below it"


def test_no_circles() -> None:
    """No module needs itself; depth first, so that the circle is shown."""
    graph = {
        name: sorted({target for _, target in imports(path, entries=False)} - {name}) for name, path in FILES.items()
    }
    done: set[str] = set()

    def visit(name: str, above: list[str]) -> None:
        assert name not in above, " -> ".join([*above[above.index(name) :], name])
        if name not in done:
            for target in graph[name]:
                visit(target, [*above, name])
            done.add(name)

    for name in graph:
        visit(name, [])


def test_no_module_uses_another_ones_private_names() -> None:
    for name, path in FILES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("ltgen_bench", "baselines")):
                private = [alias.name for alias in node.names if re.match(r"_(?!_)", alias.name)]
                assert not private, f"{path}:{node.lineno}: {name} imports {private} of {node.module}"


def test_functions_and_classes_stay_small() -> None:
    for path in FILES.values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                length, most = (node.end_lineno or 0) - node.lineno + 1, 200 if isinstance(node, ast.ClassDef) else 60
                assert length <= most, f"{path.relative_to(ROOT)}:{node.lineno}: {node.name} has {length} lines"
