"""Runs a notebook of experiments/ on little data, and says what is wrong with what one printed."""

import ast
import os
import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"
PLACE = re.compile(r"(?<![\w.~:/<])/(home|root|tmp|usr|work|Users|var|opt)/|site-packages|C:\\\\")


def committed(name: str):
    """The notebook as it is committed."""
    return nbformat.read(EXPERIMENTS / f"{name}.ipynb", as_version=4)


def run(name: str, folder: Path, **parameters):
    """The notebook executed in `folder`, without its committed outputs; the cell "parameters" sets `parameters`."""
    notebook = committed(name)
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    (cell,) = (cell for cell in code_cells(notebook) if "parameters" in cell.metadata.get("tags", []))
    names = [target.id for line in ast.parse(cell.source).body for target in line.targets]  # assignments, no more
    assert names == list(parameters)
    cell.source = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    execute(notebook, folder)
    return notebook


def execute(notebook, folder: Path) -> None:
    """Executes the notebook in a folder, in place; it finds this checkout's packages, as it does in experiments/."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    client = nbclient.NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    client.execute(env={**os.environ, "PYTHONPATH": path})


def code_cells(notebook) -> list:
    """Its cells of code, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook, start: str) -> list:
    """The outputs of the one code cell that has a line which starts so (or assigns, or calls a method that does)."""
    (cell,) = (cell for cell in code_cells(notebook) if re.search(
        rf"^{re.escape(start)}|= {re.escape(start)}|^\w+\.{re.escape(start)}", cell.source, re.MULTILINE))
    return cell.outputs


def printed(notebook) -> str:
    """All that was printed."""
    return "".join(output.get("text", "") for cell in code_cells(notebook) for output in cell.outputs)


def assert_shown(notebook, plots: tuple[str, ...], tables: tuple[str, ...]) -> None:
    """Asserts that these cells (by their start, see `outputs`) show a plot or a table, and nothing went to stderr."""
    for start in plots:
        assert any("image/png" in output.get("data", {}) for output in outputs(notebook, start)), start
    for start in tables:
        assert "<table" in "".join(output.get("data", {}).get("text/html", "")
                                   for output in outputs(notebook, start)), start
    wrong = [output for cell in code_cells(notebook) for output in cell.outputs
             if output.output_type == "error" or output.get("name") == "stderr"]
    assert not wrong


def assert_whole(name: str) -> None:
    """Asserts that what is committed ran once from top to bottom, names no place on a machine, and is not large."""
    cells = code_cells(committed(name))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    raw = (EXPERIMENTS / f"{name}.ipynb").read_text(encoding="utf-8")
    assert not PLACE.search(raw)
    assert len(raw) < 1_000_000
