"""experiments/your_own_domain.ipynb."""

import argparse
import re
import shlex

import pytest

from pyterrier_taskarith.cli._main import COMMANDS

from .running import assert_shown, assert_whole, committed, outputs, printed, run

NAME = "your_own_domain"
PLOTS = ("plot_alpha(best",)
TABLES = ("inspect_merge(r", "pd.DataFrame({name", "neural = compare", "mixed = compare", "pipeline.search(")
SYSTEMS = ("BM25", "Θ_0", "Θ_D", "Θ_T", "Θ' (α = 1)", "Θ' (α tuned)", "Θ' (α = .4)")


def check(notebook) -> None:
    """Asserts what holds whatever the figures."""
    assert_shown(notebook, PLOTS, TABLES)
    text = printed(notebook)
    assert "37 of 37 parameters merged" in text and "\n0 warnings\n" in text
    size, weights, swapped = re.split(r"^Θ_D = .*, Θ_0 = .*:\n", text, flags=re.MULTILINE)[1:]
    assert size.startswith("- MergeError: ") and "num_hidden_layers 2 and 1" in size
    assert weights.count("- warning: ") == 2 and "Is Θ_0 the model that Θ_D was made from?" in weights
    assert swapped.startswith("- warning: ") and "are Θ_D and Θ_0 swapped" in swapped
    assert len(re.findall(r"Θ' \(α (?:= 1|tuned|= .4)\) is (?:not )?(?:significantly|identical)", text)) == 5
    weight = re.search(r"^mixed with BM25: α = \S+, weight = (\S+): ", text, re.MULTILINE).group(1)
    assert f'Mix(pt.Artifact.load("tuned").reranker(), weight={weight})' in text
    for start, systems in (("neural = compare", SYSTEMS[1:]), ("mixed = compare", SYSTEMS[:-1])):
        (shown,) = outputs(notebook, start)
        rows = re.findall(r"^(\S+(?: \(α .*?\))?) +\*?\.\d{3}", shown.data["text/plain"], re.MULTILINE)
        assert tuple(rows) == systems


@pytest.mark.slow
@pytest.mark.java
@pytest.mark.timeout(600)
@pytest.mark.long
def test_it_runs_on_a_few_modules(tmp_path):
    notebook = run(NAME, tmp_path, MODULES=["asyncio", "logging", "threading"], ALPHAS=[0, 0.5, 1])
    check(notebook)
    assert not list(tmp_path.iterdir())  # it leaves nothing behind


def test_the_committed_outputs_are_of_a_whole_run():
    assert_whole(NAME)
    check(committed(NAME))
    documents, queries = map(int, re.search(r"(\d+) documents, (\d+) queries", printed(committed(NAME))).groups())
    assert documents > 2000 and queries > 1000


def test_the_commands_are_commands():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    for add_to in COMMANDS:
        add_to(commands)
    text = "\n".join(cell.source for cell in committed(NAME).cells if cell.cell_type == "markdown")
    (block,) = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    lines = [*block.splitlines(), *re.findall(r"`(taskarith [^`\n]+)`", text)]
    given = [parser.parse_args(shlex.split(line.removeprefix("taskarith "))) for line in lines]
    assert {each.command for each in given} == {"inspect", "sweep", "merge", "compare", "demo"}
