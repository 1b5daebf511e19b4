"""The demo's invariants on a small collection; figures are asserted nowhere, as packages move them."""

import json

import pandas as pd
import pyterrier as pt
import pytest
from ir_measures import nDCG

from pyterrier_taskarith import Mix, TaskArithReranker
from pyterrier_taskarith.cli import main
from pyterrier_taskarith.demo import demo_models, open_demo, run_demo
from pyterrier_taskarith.demo._run import BASELINES, FIXED, TUNED, report
from pyterrier_taskarith.tuning import ALPHAS, WEIGHTS
from testing import bert_triple, passages, questions
from tests.reranking import assert_scores_agree

pytestmark = pytest.mark.java


def write_collection(folder, queries, seed):
    folder.mkdir()
    texts = passages(40, seed=seed, longest=30)
    with (folder / "docs.jsonl").open("w") as file:
        for number, text in enumerate(texts):
            file.write(json.dumps({"docno": f"d{number}", "title": "", "text": text}) + "\n")
    asked = questions(queries, seed=seed)
    (folder / "queries.tsv").write_text("".join(f"q{n}\t{text} x{n}\n" for n, text in enumerate(asked)))
    # One document in three is relevant to each query, so that both lists have something to find.
    (folder / "qrels.txt").write_text("".join(f"q{n} 0 d{(7 * n + step) % 40} 1\n" for n in range(queries)
                                              for step in range(0, 40, 3)))
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    triple = bert_triple(folder / "models")
    models = {"ranker": str(triple.ranker), "domain": str(triple.domain), "base": str(triple.base)}
    return write_collection(folder / "small", 30, seed=11), models, folder


@pytest.fixture(scope="module")
def result(small):
    collection, models, folder = small
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TASKARITH_HOME", str(folder / "home"))
        yield run_demo(collection, models=models, out=folder / "out", verbose=False)


def test_the_tuned_setting_is_brute_force_s(result, small):
    split = result.collection
    topics, qrels = split.topics["dev"], split.qrels["dev"]
    evidence = result.tuned[TUNED].evidence
    reranker = result.tuned[TUNED].reranker  # the same model, so that the brute force is quick
    _, first = open_demo(small[0])
    retrieved = first(topics)
    values = {}
    for alpha in ALPHAS:
        for weight in WEIGHTS:
            ranked = Mix(reranker.copy(alpha=alpha), weight=weight)(retrieved)
            values[alpha, weight] = pt.Evaluate(ranked, qrels, metrics=[nDCG @ 10], perquery=False)["nDCG@10"]
    best = max(values.values())
    assert result.tuned[TUNED].value == pytest.approx(best)
    assert values[result.tuned[TUNED].alpha, result.tuned[TUNED].weight] == pytest.approx(best)
    assert len(evidence) == len(values)


def test_theta_t_is_theta_prime_at_zero(result, small):
    _, models, _ = small
    ranker = TaskArithReranker(**models, variant="ranker", verbose=False)
    frame = pd.DataFrame({"qid": "1", "docno": ["a", "b"], "query": "the text", "text": ["one text", "another"]})
    assert result.tuned["Θ_T"].alpha == 0
    assert_scores_agree(result.tuned["Θ_T"].reranker(frame)["score"], ranker(frame)["score"])


def test_tables_hold_every_system_and_the_plot_is_there(result):
    assert list(result.fused.means.index) == ["BM25", "Θ_0", "Θ_D", "Θ_T", FIXED, TUNED]
    assert list(result.neural.means.index) == ["Θ_0", "Θ_D", "Θ_T", FIXED, TUNED]
    assert set(result.fused.baselines) == set(BASELINES)
    assert result.plot.read_bytes().startswith(b"\x89PNG")


def test_the_lines_to_paste_are_the_tuned_pipeline(result):
    text = report(result)
    code = "\n".join(line.strip() for line in text.split("In your own pipeline:")[1].splitlines() if line[:4] == "    ")
    namespace = {}
    exec(code, namespace)
    assert len(namespace["pipeline"].search(result.collection.topics["test"]["query"].iloc[0]))
    assert namespace["r"].copy(verbose=False) == result.tuned[TUNED].reranker
    assert f"weight={result.tuned[TUNED].weight:g})" in code


def test_the_packaged_triple_is_found():
    assert TaskArithReranker(**demo_models()).plan.summary().startswith("37 of 37 parameters merged")


def test_the_command_prints_the_report(small, monkeypatch, capsys):
    collection, models, folder = small
    monkeypatch.setenv("TASKARITH_HOME", str(folder / "home"))
    given = [part for name, value in models.items() for part in (f"--{name}", value)]
    assert main(["demo", "--collection", str(collection), *given]) == 0
    printed = capsys.readouterr().out
    assert "Θ' (α tuned)" in printed and "Bonferroni" in printed and "pipeline = first >> Mix(r" in printed


@pytest.mark.parametrize("arguments, message", [
    (["--collection", "nowhere"], "nowhere"),
    (["--ranker", "a", "--domain", "nowhere/at/all", "--base", "c"], "no such folder"),
])
def test_what_the_user_can_mend_is_one_line(small, monkeypatch, capsys, arguments, message):
    collection, _, folder = small
    monkeypatch.setenv("TASKARITH_HOME", str(folder / "home"))
    if "--collection" not in arguments:
        arguments = [*arguments, "--collection", str(collection)]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["demo", *arguments]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("taskarith: ") and message in error


def test_models_are_given_together(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["demo", "--ranker", "a"])
    assert "--ranker, --domain and --base together" in capsys.readouterr().err
