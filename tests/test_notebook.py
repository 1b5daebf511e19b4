"""The notebook runs from top to bottom on a few queries, and what is committed is a whole and clean run of it."""

import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

NOTEBOOK = Path(__file__).parents[1] / "experiments" / "tune_and_compare.ipynb"
#: In the place of the cell tagged "parameters".
SMALL = "QUERIES = 10\nALPHAS = [0, 0.5, 1]"
PLOTS = ("plot_alpha(best", "plot_alpha(band", "plot_grid(", "plot_differences(")
TABLES = ('topics["dev"]', "pd.DataFrame({name", "comparison = compare", "neural = compare", "changed = neural.queries",
          "pipeline.search(")


@pytest.fixture(scope="module")
def committed():
    return nbformat.read(NOTEBOOK, as_version=4)


def outputs(notebook, start: str) -> list:
    """The outputs of the one code cell that has a line which starts so."""
    (cell,) = (cell for cell in notebook.cells if cell.cell_type == "code" and re.search(
        rf"^{re.escape(start)}|= {re.escape(start)}|^\w+\.{re.escape(start)}", cell.source, re.MULTILINE))
    return cell.outputs


def check(notebook) -> None:
    """Asserts what holds whatever the figures: plots and tables are there, the conclusion is, and nothing else."""
    for start in PLOTS:
        assert any("image/png" in output.get("data", {}) for output in outputs(notebook, start)), start
    for start in TABLES:
        assert "<table" in "".join(output.get("data", {}).get("text/html", "")
                                   for output in outputs(notebook, start)), start
    text = "".join(output.get("text", "") for cell in notebook.cells if cell.cell_type == "code"
                   for output in cell.outputs)
    assert "parameters merged" in text and re.search(r"α = \S+, weight = \S+: nDCG@10 0\.\d{4}", text)
    assert len(re.findall(r"Θ' \(α tuned\) is (not )?(significantly|identical)", text)) == 2
    assert "Wilcoxon" in text and "bootstrap" in text
    assert not [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
                if output.output_type == "error" or output.get("name") == "stderr"]


@pytest.mark.java
@pytest.mark.timeout(600)
def test_it_runs_on_a_few_queries(committed, tmp_path):
    notebook = nbformat.from_dict(committed)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    names = [re.findall(r"^(\w+) = ", source, re.MULTILINE) for source in (parameters.source, SMALL)]
    assert names[0] == names[1]
    parameters.source = SMALL
    client = nbclient.NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    check(notebook)
    assert re.search("10 queries", str(outputs(notebook, "comparison = compare")))
    assert not list(tmp_path.iterdir())  # it leaves nothing behind


def test_the_committed_outputs_are_of_a_whole_run_and_name_no_place(committed):
    code = [cell for cell in committed.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    check(committed)
    assert "775 queries" in str(outputs(committed, "comparison = compare"))
    raw = NOTEBOOK.read_text(encoding="utf-8")
    assert not re.search(r"(?<![\w.~:/<])/(home|root|tmp|usr|work|Users|var|opt)/|site-packages|C:\\\\", raw)
    assert len(raw) < 1_000_000
