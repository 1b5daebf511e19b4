"""experiments/quick_start.ipynb."""

import re

import pytest

from .running import assert_shown, assert_whole, committed, outputs, printed, run

NAME = "quick_start"
TABLES = ("first.search(", "rankings = {", "pipeline.search(", "pt.Experiment(", "values = {")


def check(notebook, queries: int, alphas: int) -> None:
    """Asserts what holds whatever the figures."""
    assert_shown(notebook, (), TABLES)
    text = printed(notebook)
    assert "37 of 37 parameters merged" in text and "unused: absent from Θ_T" in text
    assert f"{queries} queries\n" in text
    assert "r has α = 1, its copy α = 0.5\nα = 0 is Θ_T: True\n" in text
    assert "model.safetensors modules.json" in text
    assert float(re.search(r"largest difference of a score: (\S+)", text).group(1)) <= 1e-5

    (side_by_side,) = outputs(notebook, "rankings = {")
    head, *rows = re.findall(r"<tr.*?</tr>", side_by_side.data["text/html"], re.DOTALL)
    assert re.findall(r"<th>([^<]+)</th>", head) == ["BM25", "Θ_T", "Θ'"] and len(rows) == 5
    assert all(len(re.findall(r"<td>\S+: .*…</td>", row)) == 3 for row in rows)

    experiment = "".join(output.get("data", {}).get("text/html", "") for output in outputs(notebook, "pt.Experiment("))
    names = re.findall(r"<th>\d+</th>\s*<td>(.*?)</td>", experiment)
    assert names == ["BM25", "Θ_0", "Θ_D", "Θ_T", "Θ'", "BM25 and Θ_T", "BM25 and Θ'"]
    by_alpha = "".join(output.get("data", {}).get("text/html", "") for output in outputs(notebook, "values = {"))
    assert len(re.findall(r"<td>0\.\d+</td>", by_alpha)) == alphas


@pytest.mark.slow
@pytest.mark.java
@pytest.mark.timeout(600)
def test_it_runs_on_a_few_queries(tmp_path):
    check(run(NAME, tmp_path, QUERIES=5, ALPHAS=[0, 1]), 5, 2)
    assert not list(tmp_path.iterdir())  # it leaves nothing behind


def test_the_committed_outputs_are_of_a_whole_run():
    assert_whole(NAME)
    check(committed(NAME), 200, 3)
