"""`taskarith compare` prints what `compare` finds in the runs' files."""

import html
import re

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_taskarith import compare
from pyterrier_taskarith.cli import _compare
from pyterrier_taskarith.evaluation._significance import CORRECTIONS, INTERVALS, TESTS

BASELINES = ["BM25", "Θ_T"]
PAPER = ["P@10", "nDCG@3", "nDCG@10", "AP@100"]


@pytest.fixture(scope="module")
def runs():
    """Name → run: relevant documents (two of 30 a query) score higher, and the higher the later the name."""
    random = np.random.default_rng(3)
    made = {}
    for name, boost in (("BM25", 0.0), ("Θ_T", 0.4), ("Θ' (α = 1)", 1.4)):
        rows = [(f"q{q}", f"d{d}", round(float(random.normal() + boost * (d < 2)), 6)) for q in range(40)
                for d in range(30)]
        made[name] = pt.model.add_ranks(pd.DataFrame(rows, columns=["qid", "docno", "score"]))
    return made


@pytest.fixture(scope="module")
def qrels():
    return pd.DataFrame([(f"q{q}", f"d{d}", 1) for q in range(40) for d in range(2)], columns=["qid", "docno", "label"])


@pytest.fixture
def folder(tmp_path, runs, qrels, monkeypatch):
    """The files, in the folder where the command is given."""
    for name, path in zip(runs, ("bm25.run", "alpha=0.run.gz", "alpha=1.run"), strict=True):
        pt.io.write_results(runs[name], str(tmp_path / path))
    (tmp_path / "qrels.txt").write_text("".join(f"{row.qid} 0 {row.docno} {row.label}\n" for row in qrels.itertuples()))
    monkeypatch.chdir(tmp_path)
    return tmp_path


GIVEN = ["--qrels", "qrels.txt", "BM25=bm25.run", "Θ_T=alpha=0.run.gz", "Θ' (α = 1)=alpha=1.run"]


def test_the_default_is_the_papers_table_tests_and_conclusion(printed, folder, runs, qrels):
    expected = compare(runs, qrels, PAPER, baselines=BASELINES)
    status, out, err = printed("compare", *GIVEN, "--baselines", "BM25,Θ_T")
    assert (status, err) == (0, "")
    assert out == f"{expected.to_text(details=True)}\n\n{expected.in_words(['P@10'])}\n"
    assert "*" in out.splitlines()[3] and "Bonferroni over 1 comparison" in out


@pytest.mark.parametrize("options, arguments", [
    (["--test", "wilcoxon"], {"test": "wilcoxon"}),
    (["--test", "fisher", "--correction", "holm"], {"test": "fisher", "correction": "holm"}),
    (["--correction", "none", "--confidence", "0.95"], {"correction": None, "confidence": 0.95}),
    (["--interval", "bootstrap"], {"interval": "bootstrap"}),
    (["--comparisons", "7", "--baselines", "Θ' (α = 1)"], {"n_comparisons": 7, "baselines": "Θ' (α = 1)"}),
])
def test_the_procedure_is_passed_on(printed, folder, runs, qrels, options, arguments):
    expected = compare(runs, qrels, ["AP", "nDCG@5"], **{"baselines": BASELINES, **arguments})
    _, out, _ = printed("compare", *GIVEN, "--measures", "AP, nDCG@5", "--baselines", "BM25, Θ_T", *options)
    assert out == f"{expected.to_text(details=True)}\n\n{expected.in_words(['AP'])}\n"


@pytest.mark.parametrize("form", _compare.FORMATS)
def test_every_format_is_the_comparison_s_own(printed, folder, runs, qrels, form):
    expected = compare(runs, qrels, PAPER, baselines=BASELINES)
    _, out, _ = printed("compare", *GIVEN, "--baselines", "BM25,Θ_T", "--format", form, "--table-only")
    assert out == getattr(expected, f"to_{form}")() + "\n"
    _, out, _ = printed("compare", *GIVEN, "--baselines", "BM25,Θ_T", "--format", form)
    assert out.startswith(getattr(expected, f"to_{form}")(details=True))
    conclusion = out.strip().splitlines()[-1]
    assert {"latex": r"$\Theta'$ ($\alpha$ = 1) is significantly better in P@10",
            "html": html.escape("Θ' (α = 1) is significantly better in P@10")}.get(
                form, "Θ' (α = 1) is significantly better in P@10") in conclusion
    assert r"99 \%" in conclusion or form != "latex"


def test_a_measure_may_have_commas_of_its_own(printed, folder):
    _, out, _ = printed("compare", *GIVEN[:4], "--measures", "AP(rel=2,judged_only=True),P@5", "--table-only")
    assert out.split()[:2] == ["AP(rel=2,judged_only=True)", "P@5"]


def test_runs_without_a_name_have_their_file_s(printed, folder):
    _, out, _ = printed("compare", "--qrels", "qrels.txt", "bm25.run", "alpha=0.run.gz", "--table-only")
    assert [line.split("  ")[0] for line in out.splitlines()[1:3]] == ["bm25", "alpha=0"]


def test_the_csv_has_a_value_for_each_run_query_and_measure(printed, folder, runs, qrels):
    assert printed("compare", *GIVEN, "--baselines", "BM25,Θ_T", "--csv", "out.csv")[0] == 0
    pd.testing.assert_frame_equal(pd.read_csv("out.csv"), compare(runs, qrels, PAPER, baselines=BASELINES).per_query)


def test_the_plot_is_an_image(printed, folder):
    pytest.importorskip("matplotlib")
    assert printed("compare", *GIVEN, "--baselines", "BM25,Θ_T", "--plot", "out.png")[0] == 0
    assert (folder / "out.png").read_bytes().startswith(b"\x89PNG")


def test_topics_restrict_the_queries_and_count_the_missing_as_zero(printed, folder, runs, qrels):
    (folder / "topics.tsv").write_text("q0\ta\nq1\tb\nq39\tc\n")
    short = {name: run[run["qid"] != "q39"] if name == "BM25" else run for name, run in runs.items()}
    pt.io.write_results(short["BM25"], "bm25.run")
    expected = compare(short, qrels, PAPER, baselines=BASELINES, topics=pd.DataFrame({"qid": ["q0", "q1", "q39"]}))
    _, out, _ = printed("compare", *GIVEN, "--baselines", "BM25,Θ_T", "--topics", "topics.tsv", "--table-only")
    assert out == expected.to_text() + "\n"


def test_equal_scores_are_broken_by_docno_and_queries_without_judgements_are_counted(printed, folder, runs, qrels):
    flat = runs["BM25"].assign(score=1.0)
    pt.io.write_results(flat, "bm25.run")
    (folder / "qrels.txt").write_text("".join(f"{row.qid} 0 {row.docno} {row.label}\n" for row in qrels.itertuples()
                                              if row.qid != "q0"))
    by_docno = flat.assign(score=flat["docno"].rank())  # trec_eval's rule: falling docno
    expected = pt.Evaluate(by_docno, qrels[qrels["qid"] != "q0"], metrics=["P_10"])["P_10"]
    status, out, _ = printed("compare", *GIVEN[:4], "--measures", "P_10")
    assert status == 0 and "1 query without judgements left out" in out
    assert re.search(r"^BM25 +(\S+)", out, re.MULTILINE)[1] == f"{expected:.3f}".removeprefix("0")


def test_a_warning_is_one_line_without_code(printed, folder):
    with (folder / "qrels.txt").open("a") as file:
        file.write("q77 0 d1 1\n")
    status, _, err = printed("compare", *GIVEN[:4])
    assert status == 0
    (line,) = err.splitlines()
    assert line.startswith("taskarith: warning: 1 of the 41 judged queries have no documents in any run")


@pytest.mark.parametrize("arguments, message", [
    (GIVEN, "which of the 3 systems are baselines?"),
    ([*GIVEN, "--baselines", "BM25,Θ"], "unknown baseline 'Θ'"),
    ([*GIVEN[:3], "--baselines", "BM25"], "there is nothing to compare"),
    ([*GIVEN[:3], "BM25=alpha=1.run"], "two systems are called 'BM25'"),
    ([*GIVEN[:3], "x=nowhere.run"], "x=nowhere.run: there is no file nowhere.run; give NAME=FILE"),
    ([*GIVEN[:3], "nowhere"], "nowhere: there is no file nowhere; give NAME=FILE"),
    ([*GIVEN[:4], "--measures", "nDGC@10"], "unknown measure 'nDGC@10'"),
    ([*GIVEN[:4], "--measures", "P_5x"], "unknown measure 'P_5x'"),
    ([*GIVEN[:4], "--confidence", "99"], "confidence"),
    ([*GIVEN[:3], "x=twice.run"], "twice.run, line 2: document 'd0' occurs a second time for query 'q0'; the first is "
                                  "in line 1"),
    (["--qrels", "unasked.txt", *GIVEN[2:4]], "the run of system 'BM25' has none of the 1 judged queries: it is about "
                                              "'q0', 'q1', 'q10', …, the judgements about 'z'"),
    (["--qrels", "nowhere", *GIVEN[2:4]], "There is no file nowhere"),
    (["--qrels", "bm25.run", *GIVEN[2:4]], "bm25.run, line 1: not the four fields"),
    ([*GIVEN[:3], "x=qrels.txt"], "qrels.txt, line 1: not the six fields"),
])
def test_what_the_user_can_mend_is_one_line(printed, folder, arguments, message):
    (folder / "twice.run").write_text("q0 Q0 d0 1 2 r\n" * 2)
    (folder / "unasked.txt").write_text("z 0 d0 1\n")
    status, out, err = printed("compare", *arguments)
    assert (status, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith("taskarith: ") and message in line


def test_the_names_on_the_command_line_are_those_of_compare():
    assert set(_compare.TESTS) == set(TESTS) and set(_compare.CORRECTIONS) == set(CORRECTIONS)
    assert set(_compare.INTERVALS) == set(INTERVALS)
