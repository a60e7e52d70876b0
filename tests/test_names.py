"""No two public things share a name: a name says which one is meant, in a search as in a message.

Functions of commands are left out: they are called as the commands are.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]


def public_names(path: Path) -> Iterator[str]:
    """Classes, functions and assigned names at the top of a module, without what is only for typing."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                yield from (name.id for name in ast.walk(target) if isinstance(name, ast.Name))


def test_no_two_public_things_share_a_name() -> None:
    places = defaultdict(set)
    for folder in ("ltgen_bench", "baselines"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for name in public_names(path):
                if not name.startswith("_") and (path.parent.name != "cli" or name[0].isupper()):
                    places[name].add(path.relative_to(ROOT).as_posix())
    shared = {name: sorted(files) for name, files in places.items() if len(files) > 1}
    assert shared == {}
