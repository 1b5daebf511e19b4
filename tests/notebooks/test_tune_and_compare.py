"""experiments/tune_and_compare.ipynb."""

import re

import pytest

from .running import assert_shown, assert_whole, committed, outputs, printed, run

NAME = "tune_and_compare"
PLOTS = ("plot_alpha(best", "plot_alpha(band", "plot_grid(", "plot_differences(")
TABLES = ('topics["dev"]', "pd.DataFrame({name", "comparison = compare", "neural = compare", "changed = neural.queries",
          "pipeline.search(")


def check(notebook) -> None:
    """Asserts what holds whatever the figures."""
    assert_shown(notebook, PLOTS, TABLES)
    text = printed(notebook)
    assert "parameters merged" in text and re.search(r"α = \S+, weight = \S+: nDCG@10 0\.\d{4}", text)
    assert len(re.findall(r"Θ' \(α tuned\) is (not )?(significantly|identical)", text)) == 2
    assert "Wilcoxon" in text and "bootstrap" in text


@pytest.mark.slow
@pytest.mark.java
@pytest.mark.timeout(600)
def test_it_runs_on_a_few_queries(tmp_path):
    notebook = run(NAME, tmp_path, QUERIES=10, ALPHAS=[0, 0.5, 1])
    check(notebook)
    assert "10 queries" in str(outputs(notebook, "comparison = compare"))
    assert not list(tmp_path.iterdir())  # it leaves nothing behind


def test_the_committed_outputs_are_of_a_whole_run():
    assert_whole(NAME)
    check(committed(NAME))
    assert "775 queries" in str(outputs(committed(NAME), "comparison = compare"))
