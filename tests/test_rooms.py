"""The rooms of the package: which may import which, read from every import, also those in functions and for types."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "pyterrier_taskarith"
#: From low to high: a room imports from those before it and beside it. What is directly in the package is a room too.
ORDER = [("errors", "_files", "_json", "_parallel", "_score_cache", "families", "_meaning", "tables",
          "_identity"), ("checkpoints",), ("arithmetic",),
         ("inspection", "data"), ("scorers", "datasets"), ("terrier",),
         ("first_stage",), ("_options", "reranker", "fusion", "artifact"), ("evaluation",), ("tuning",),
         ("demo",), ("cli",)]
RANKS = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}


def modules(*folders: str) -> dict[str, Path]:
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
            for folder in folders for path in (ROOT / folder).rglob("*.py")}


def room(name: str) -> str:
    return name.split(".")[1]


OURS = modules(PACKAGE)


def imports(path: Path) -> set[str]:
    """Returns what a file imports from the package, as dotted names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {f"{node.module}.{name.name}" for name in node.names}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return {name for name in found if name.startswith(f"{PACKAGE}.") and f"{PACKAGE}.{room(name)}" in OURS}


IMPORTS = {name: imports(path) for name, path in OURS.items() if name != PACKAGE}


def test_every_room_has_its_rank():
    assert {room(name) for name in IMPORTS} == set(RANKS)


def test_a_lower_room_imports_no_higher_one():
    assert not [f"{name} imports {other}" for name, others in IMPORTS.items() for other in others
                if RANKS[room(other)] > RANKS[room(name)]]


@pytest.mark.parametrize("folder", [PACKAGE, "experiments", "benchmarks", "testing"])
def test_no_room_imports_private_names_of_another(folder):
    assert [] == [
        f"{name} imports {other}" for name, path in modules(folder).items() for other in imports(path)
        if any(part.startswith("_") for part in other.split(".")[2:])
        and not (name in IMPORTS and room(name) == room(other))]


@pytest.mark.parametrize("rooms", ORDER, ids=" ".join)
def test_there_are_no_import_circles(rooms):
    graph = {name: {other if other in OURS else other.rpartition(".")[0] for other in others}
             for name, others in IMPORTS.items() if room(name) in rooms}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
