"""experiments/alpha_and_layers.ipynb."""

import re

import pytest

from .running import assert_shown, assert_whole, committed, outputs, printed, run

NAME = "alpha_and_layers"
PLOTS = ("inspection.plot(", "plot_alpha(band", "ranks = ", "plot_ablation(only", "plot_ablation(without",
         "best_so_far[")
TABLES = ("layers[list(", "names.pivot(", "only = ablate", "without = ablate", "comparison = compare", "gains = pd",
          'pd.DataFrame({"nDCG@10"')
NUMBER = r"[+-]?\d+\.\d+"


def check(notebook, *, queries: int, few: int, held_out: int, alphas: int) -> None:
    """Asserts what holds whatever the figures."""
    assert_shown(notebook, PLOTS, TABLES)
    text = printed(notebook)
    assert f"{queries} development and {held_out} test queries" in text
    assert sum(map(float, re.findall(rf"({NUMBER})% of ‖τ‖²", text))) == pytest.approx(100, abs=0.2)
    gain, lose, stay, every = map(int, re.search(r"(\d+) queries gain, (\d+) lose, (\d+) stay.*Of all (\d+)", text)
                                  .groups())
    assert gain + lose + stay == every == queries
    *parts, total, _ = map(float, re.findall(NUMBER, re.search(r"Group by group: .*", text)[0]))
    assert sum(parts) == pytest.approx(total, abs=3e-4)
    assert len(re.findall(r"is (?:not significantly|significantly|identical)", text)) == 6
    assert float(re.search(r"difference between the two in score: (\S+)", text)[1]) < 1e-5

    gains = {name: list(map(float, figures.split())) for name, figures in re.findall(
        r"^(one α, from \d+|by layers, from \d+)  +(.*)$", outputs(notebook, "gains = pd")[-1]["data"]["text/plain"],
        re.MULTILINE)}
    tried = list(map(int, re.findall(r"Chosen among (\d+) settings", text)))
    assert [gains[f"by layers, from {size}"][0] for size in (queries, few)] == tried
    for size in (queries, few):
        one, layers = gains[f"one α, from {size}"], gains[f"by layers, from {size}"]
        assert one[0] == alphas < layers[0]
        assert layers[1] >= one[1] >= 0  # on the queries that they were tuned on; on others it may be anything
    smaller = sum(test < development for _, development, test in gains.values())
    assert f"{smaller} of 4 gains are smaller on the test queries." in text


@pytest.mark.slow
@pytest.mark.java
@pytest.mark.timeout(600)
@pytest.mark.long
def test_it_runs_on_a_few_queries(tmp_path):
    notebook = run(NAME, tmp_path, QUERIES=12, FEW=6, HELD_OUT=8, DEPTH=10, ALPHAS=[0, 0.5, 1])
    check(notebook, queries=12, few=6, held_out=8, alphas=3)
    assert not list(tmp_path.iterdir())  # it leaves nothing behind


def test_the_committed_outputs_are_of_a_whole_run():
    assert_whole(NAME)
    check(committed(NAME), queries=150, few=20, held_out=775, alphas=5)
