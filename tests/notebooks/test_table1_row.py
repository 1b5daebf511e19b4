"""experiments/table1_row.ipynb."""

import re

import pytest

from experiments.layout import LABELS, number
from experiments.paper import BASE, BM25, DOMAIN, FIXED, RANKER, TUNED
from experiments.paper import printed as of_the_paper
from experiments.protocol import ALPHAS

from .running import assert_shown, assert_whole, committed, outputs, printed, run

NAME = "table1_row"
ROWS = (BM25, BASE, DOMAIN, RANKER, FIXED, TUNED)
REPORTED = ("Section(", 'sections["Table 1', 'sections[f"{DATASET}', 'sections["α"]', 'sections["Agreement',
            'sections["The paper')
PLOTS = ("lines.plot(",)
TABLES = ("pd.Series({", "pd.DataFrame({key", "bench.neural(system, dataset, TEST, RANKER)",
          'pd.DataFrame({"re-ranker alone"', "by_lambda.assign(",
          "comparison = compared", *REPORTED[:4])
FIGURE = r"[+-]?\d?\.\d{3}"


def check(notebook) -> None:
    """Asserts what holds whatever the figures."""
    assert_shown(notebook, PLOTS, TABLES)
    assert "A rehearsal: the figures are not of the paper's models" in shown(notebook, "rehearsed(")
    assert all(shown(notebook, start).startswith("Rehearsal, not the paper's models: ") for start in REPORTED)
    text = printed(notebook)
    # Three of BM25, two curves over α, three published models for λ, five systems on the test queries.
    assert f"{3 + 2 * len(ALPHAS) + 3 + 5} runs, none made again; the same row." in text
    assert re.search(r"audit: 15 scores, and \d+ figures made anew, agree", text)

    alpha = re.search(r"\(α = (0\.\d|1)\)\s+\d?\.\d{3}\*?[^\n]*\n\*", shown(notebook, 'sections["Table 1'))[1]
    assert re.search(r"^DistilBERT +(\S+)", shown(notebook, 'sections["α"]'), re.MULTILINE)[1] == alpha
    (averages,) = re.findall(r"<th>re-ranker alone</th>(.*?)</tr>", html(notebook, 'pd.DataFrame({"re-ranker alone"'),
                             re.DOTALL)
    means = [float(value) for value in re.findall(r"<td>(.*?)</td>", averages)]
    assert len(means) == len(ALPHAS) and means[ALPHAS.index(float(alpha))] == max(means)

    own = rows(shown(notebook, "comparison = compared"))
    assert rows(shown(notebook, 'sections["Table 1')) == own
    theirs = of_the_paper("table1")
    for variant, here, beside in zip(ROWS, own, rows(shown(notebook, 'sections[f"{DATASET}')), strict=True):
        assert beside[::3] == here
        assert beside[1::3] == [number(theirs.value("DistilBERT", variant, "SciFact", label)) for label in LABELS]


def shown(notebook, start: str) -> str:
    """What a cell shows as text."""
    return "".join(output.get("data", {}).get("text/plain", "") for output in outputs(notebook, start))


def html(notebook, start: str) -> str:
    """What a cell shows as HTML."""
    return "".join(output.get("data", {}).get("text/html", "") for output in outputs(notebook, start))


def rows(text: str) -> list[list[str]]:
    """The figures of the six rows that have some."""
    found = [re.findall(FIGURE, line) for line in text.splitlines() if "*" != line[:1]]
    return [row for row in found if row]


@pytest.mark.slow
@pytest.mark.java
@pytest.mark.timeout(600)
@pytest.mark.long
def test_it_runs_on_a_few_queries(tmp_path):
    notebook = run(NAME, tmp_path, REHEARSE=True, SYSTEM="DistilBERT", DATASET="SciFact", QUERIES=2, FOLDER=None)
    check(notebook)
    assert "2 queries" in shown(notebook, "comparison = compared")
    assert not list(tmp_path.iterdir())  # it leaves nothing behind


def test_the_committed_outputs_are_of_a_whole_rehearsal():
    assert_whole(NAME)
    check(committed(NAME))
    assert int(re.search(r"(\d+) queries\.", shown(committed(NAME), "comparison = compared"))[1]) > 100
