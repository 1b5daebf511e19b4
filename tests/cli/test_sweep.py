"""`taskarith sweep` prints what `tune` finds, and code that makes the tuned pipeline."""

import gzip
import inspect
import json
import re
from collections import Counter

import pandas as pd
import pyterrier as pt
import pytest
from ir_measures import nDCG

from pyterrier_taskarith import Mix, TaskArithReranker, TaskVector, tune
from pyterrier_taskarith.cli import _main, _sweep
from pyterrier_taskarith.cli._reranker import SCORING
from pyterrier_taskarith.scorers import SCORERS, TRUNCATIONS
from pyterrier_taskarith.tuning import NODES, ORDERS, PREFERRED
from testing import passages, questions

GRID = ["--alphas", "0,0.5,1", "--weights", "0,0.4,1"]
FILES = ["--run", "first.run.gz", "--qrels", "qrels.txt", "--topics", "topics.tsv", "--docs", "docs.jsonl"]


@pytest.fixture(scope="module")
def stored():
    """A first stage by shared words, as a re-ranker takes it, with topics and judgements."""
    texts, asked = passages(24, seed=11, longest=20), questions(9, seed=11)
    rows = [(f"q{q}", f"d{d}", float(sum((Counter(query.split()) & Counter(text.split())).values()) + d / 100), query,
             text) for q, query in enumerate(asked) for d, text in enumerate(texts)]
    run = pd.DataFrame(rows, columns=["qid", "docno", "score", "query", "text"])
    topics = pd.DataFrame({"qid": [f"q{q}" for q in range(9)], "query": asked})
    # The last query is not judged.
    qrels = pd.DataFrame([(f"q{q}", f"d{(5 * q + step) % 24}", 1) for q in range(8) for step in (0, 7, 11)],
                         columns=["qid", "docno", "label"])
    return run, topics, qrels


@pytest.fixture
def folder(tmp_path, stored, monkeypatch):
    """The files, in the folder where the command is given."""
    run, topics, qrels = stored
    lines = [f"{row.qid} Q0 {row.docno} 0 {row.score} words\n" for row in run.itertuples()]
    (tmp_path / "first.run.gz").write_bytes(gzip.compress("".join(lines).encode()))
    (tmp_path / "topics.tsv").write_text("".join(f"{row.qid}\t{row.query}\n" for row in topics.itertuples()))
    (tmp_path / "qrels.txt").write_text("".join(f"{row.qid} 0 {row.docno} {row.label}\n" for row in qrels.itertuples()))
    documents = run.drop_duplicates("docno")
    (tmp_path / "docs.jsonl").write_text("".join(
        json.dumps({"docno": row.docno, "title": "", "text": row.text}) + "\n" for row in documents.itertuples()))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def reranker(triple):
    return TaskArithReranker(triple.ranker, triple.domain, triple.base, verbose=False)


def grid_printed(out: str) -> dict[tuple[float, float], str]:
    """(α, weight) → the cell, of the printed grid."""
    lines = out.splitlines()
    weights = [float(weight) for weight in lines[2].removeprefix("α \\ weight").split()]
    rows = [line.split() for line in lines[3:lines.index("", 3)]]
    return {(float(row[0]), weight): cell for row in rows for weight, cell in zip(weights, row[1:], strict=True)}


def pasted(out: str) -> dict[str, object]:
    """Runs the code that was printed."""
    code = out.split("In your own pipeline:")[1]
    made: dict[str, object] = {"first": pt.Transformer.identity()}
    exec("\n".join(line.strip() for line in code.splitlines()), made)
    return made


def test_the_grid_the_choice_and_the_code_are_brute_force_s(printed, models, folder, stored, reranker):
    status, out, _ = printed("sweep", *models, *FILES, *GRID, "--csv", "out.csv")
    run, topics, qrels = stored
    judged = topics[topics["qid"].isin(qrels["qid"])]
    values = {}
    for alpha in (0.0, 0.5, 1.0):
        for weight in (0.0, 0.4, 1.0):
            mixed = Mix(reranker.copy(alpha=alpha), weight)(run)
            values[alpha, weight] = pt.Evaluate(mixed[mixed["qid"].isin(judged["qid"])], qrels, metrics=[nDCG @ 10],
                                                perquery=False)["nDCG@10"]
    best = max(values.values())
    assert status == 0
    assert out.startswith("nDCG@10 on 8 queries of topics.tsv with judgements in qrels.txt;")
    assert {cell: text.rstrip("*") for cell, text in grid_printed(out).items()} == {
        cell: f"{value:.4f}" for cell, value in values.items()}
    assert {cell for cell, text in grid_printed(out).items() if text.endswith("*")} == {
        cell for cell, value in values.items() if value == pytest.approx(best)}
    written = pd.read_csv("out.csv")
    assert written[["alpha", "weight"]].to_records(index=False).tolist() == list(values)
    assert written["value"].tolist() == pytest.approx(list(values.values()))
    made = pasted(out)
    assert values[made["r"].alpha, made["pipeline"][-1].weight] == pytest.approx(best)
    assert made["r"] == TaskArithReranker(*(made["r"].ranker, made["r"].domain, made["r"].base), made["r"].alpha)


@pytest.mark.parametrize("options, arguments", [
    (["--order", "alpha-first"], {"order": "alpha-first"}),
    (["--measure", "recip_rank", "--prefer", "largest"], {"measure": "recip_rank", "prefer": "largest"}),
    (["--alphas=-0.25,0.30000000000000004", "--weights", "1"],
     {"alphas": [-0.25, 0.30000000000000004], "weights": [1]}),
])
def test_how_to_choose_is_passed_on(printed, models, folder, stored, reranker, options, arguments):
    run, topics, qrels = stored
    expected = tune(reranker, run, qrels, topics=topics, verbose=False,
                    **{"alphas": [0, 0.5, 1], "weights": [0, 0.4, 1], **arguments})
    grid = [] if "--weights" in options else GRID
    _, out, _ = printed("sweep", *models, *FILES, *grid, *options)
    assert f"Chosen: {expected}." in out
    assert {cell: float(text.rstrip("*")) for cell, text in grid_printed(out).items()} == {
        (float(f"{row.alpha:g}"), row.weight): pytest.approx(row.value, abs=5.1e-5)
        for row in expected.evidence.itertuples()}
    made = pasted(out)
    assert (made["r"].alpha, made["pipeline"][-1].weight) == (expected.alpha, expected.weight)


@pytest.mark.parametrize("options, vectors", [
    (["--domain", "{d}", "--base", "{b}", "--trim", "0.5"], lambda d, b: {"domain": TaskVector(d, b).trim(0.5)}),
    (["--domain", "{d}", "--base", "{b}", "--dare", "0.5", "--seed", "3", "--layers", "0-1"],
     lambda d, b: {"domain": TaskVector(d, b).layers("0-1").dare(0.5, seed=3)}),
    (["--vector", "a={d},{b}", "--breadcrumbs", "0.5", "--outliers", "0.02"],
     lambda d, b: {"a": TaskVector(d, b).breadcrumbs(0.5, outliers=0.02)}),
    (["--vector", "a={d},{b}", "--vector", "b={s}", "--ties", "0.5"],
     lambda d, b: {"ties": TaskVector.ties(TaskVector(d, b), TaskVector.load("saved.safetensors"), density=0.5)}),
    (["--domain", "{d}", "--interpolate", "linear"], lambda d, b: {"domain": TaskVector(d, "ranker")}),
    (["--domain", "{d}", "--interpolate", "slerp"], lambda d, b: {"domain": TaskVector(d, "ranker").slerp()}),
])
def test_the_code_makes_the_vectors_that_were_swept(printed, triple, folder, stored, options, vectors):
    for role in ("ranker", "domain", "base"):
        (folder / role).symlink_to(getattr(triple, role))
    TaskVector("domain", "base").save("saved.safetensors")
    given = [option.format(d="domain", b="base", s="saved.safetensors") for option in options]
    status, out, err = printed("sweep", "--ranker", "ranker", *given, *FILES, "--alphas", "0.5", "--weights", "1")
    assert status == 0, err
    r = pasted(out)["r"]
    assert r == TaskArithReranker("ranker", vectors=vectors("domain", "base"), alpha=0.5)
    run, topics, qrels = stored
    value = pt.Evaluate(r.copy(verbose=False)(run[run["qid"] != "q8"]), qrels, metrics=[nDCG @ 10], perquery=False)
    assert float(grid_printed(out)[0.5, 1].rstrip("*")) == pytest.approx(value["nDCG@10"], abs=5.1e-5)


def test_several_vectors_have_values_of_their_own_or_one_for_all(printed, triple, further, folder, stored):
    vectors = ["--vector", f"a={triple.domain},{triple.base}", "--vector", f"b={further.domain},{further.base}"]
    run, topics, qrels = stored
    reranker = TaskArithReranker(triple.ranker, verbose=False, vectors={
        "a": TaskVector(triple.domain, triple.base), "b": TaskVector(further.domain, further.base)})
    for options, alphas in ((["--alphas", "a=0,0.5", "--alphas", "b=0.25,1"], {"a": [0, 0.5], "b": [0.25, 1]}),
                            (["--alphas", "0,0.5"], [0, 0.5])):
        expected = tune(reranker, run, qrels, alphas=alphas, weights=[0, 0.4, 1], topics=topics, verbose=False)
        status, out, _ = printed("sweep", "--ranker", triple.ranker, *vectors, *FILES, "--weights", "0,0.4,1", *options)
        assert status == 0 and f"Chosen: {expected}." in out
        made = pasted(out)
        assert made["r"].copy(verbose=False) == expected.reranker and made["pipeline"][-1].weight == expected.weight
        rows = [re.split("  +", line) for line in out.splitlines()[3:out.splitlines().index("", 3)]]
        labels = ["0, 0.25", "0, 1", "0.5, 0.25", "0.5, 1"] if isinstance(alphas, dict) else ["0", "0.5"]
        assert [row[0].strip() for row in rows] == labels
        assert [float(cell.rstrip("*")) for row in rows for cell in row[1:]] == pytest.approx(
            expected.evidence["value"].tolist(), abs=5.1e-5)


def test_nodes_are_passed_on_and_what_is_interpolated_is_marked(printed, models, folder, stored, reranker):
    run, topics, qrels = stored
    for options, nodes in ((["--nodes"], NODES), (["--nodes", "0,0.25,0.5,0.75,1"], (0, 0.25, 0.5, 0.75, 1))):
        expected = tune(reranker, run, qrels, alphas=[0, 0.1, 0.9], weights=[0.4, 1], topics=topics, nodes=nodes,
                        verbose=False)
        status, out, _ = printed("sweep", *models, *FILES, "--alphas", "0,0.1,0.9", "--weights", "0.4,1", *options)
        assert status == 0 and f"Chosen: {expected}." in out and "* the best; ~ interpolated:" in out
        marked = {(row.alpha, row.weight) for row in expected.evidence.itertuples() if row.interpolated}
        assert {cell for cell, text in grid_printed(out).items() if text.startswith("~")} == marked != set()


def test_a_sweep_that_is_resumed_scores_only_what_is_missing(printed, models, folder):
    part = [*GRID[:GRID.index("--alphas")], "--alphas", "0", *GRID[GRID.index("--alphas") + 2:]]
    assert printed("sweep", *models, *FILES, *part, "--resume", "kept/scores.sqlite3")[0] == 0
    assert printed("cache", "kept")[1].startswith("kept/scores.sqlite3: 216 scores")
    _, out, _ = printed("sweep", *models, *FILES, *GRID)
    assert printed("sweep", *models, *FILES, *GRID, "--resume", "kept/scores.sqlite3")[:2] == (0, out)
    assert printed("cache", "kept")[1].startswith("kept/scores.sqlite3: 648 scores")


def test_how_to_score_is_in_the_code_too(printed, models, folder):
    status, out, _ = printed("sweep", *models, *FILES, "--alphas", "1", "--weights", "1", "--scorer", "bi-encoder",
                             "--dtype", "bfloat16", "--max-length", "12", "--batch-tokens", "500", "--device", "cpu",
                             "--resident", "disk", "--layers", "0", "--cache", "kept")
    r = pasted(out)["r"]
    assert status == 0
    assert (r.scorer, r.dtype, r.max_length, r.batch_tokens, r.device, r.weights, r.layers, r.cache) == (
        "bi-encoder", "bfloat16", 12, 500, "cpu", "disk", "0", "kept")
    assert printed("cache", "kept")[1].startswith("kept/scores.sqlite3: 216 scores")


def test_scores_are_kept_in_the_packages_cache_where_no_folder_is_named(printed, models, folder):
    assert printed("sweep", *models, *FILES, *GRID, "--cache")[0] == 0
    assert ": 648 scores" in printed("cache")[1]


def test_the_plots_are_images(printed, models, folder):
    pytest.importorskip("matplotlib")
    assert printed("sweep", *models, *FILES, *GRID, "--plot", "out.png", "--heat-map", "heat.png")[0] == 0
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in ("out.png", "heat.png"))


def test_a_stored_run_goes_over_a_collection(printed, models, folder, stored):
    (folder / "topics.tsv").rename("queries.tsv")
    status, out, err = printed("sweep", *models, "--collection", ".", "--run", "first.run.gz", *GRID)
    assert status == 0 and "taskarith: warning: qrels.txt: 1 query (q8) without a judgement left out." in err
    assert re.match(rf"nDCG@10 on \d development queries of '{folder.name}';", out)


@pytest.mark.parametrize("command", ["sweep", "demo"])
def test_a_collection_with_judgements_of_other_documents_is_one_line(printed, folder, command):
    (folder / "topics.tsv").rename("queries.tsv")
    (folder / "qrels.txt").write_text("".join(f"q{q} 0 other{q} 1\n" for q in range(9)))
    status, out, err = printed(command, "--collection", ".")
    assert (status, out) == (1, "")
    assert err == ("taskarith: qrels.txt and docs.jsonl have no document in common: judged are 9 documents (other0, "
                   "other1, other2, …), and docs.jsonl holds 24 documents (d0, d1, d2, …). Do they belong together, "
                   "and are their docnos written alike?\n")


@pytest.mark.java
@pytest.mark.slow
def test_a_collection_has_bm25_before_the_reranker(printed, models, folder):
    (folder / "topics.tsv").rename("queries.tsv")
    status, out, err = printed("sweep", *models, "--collection", ".", *GRID)
    assert status == 0, err
    made = pasted(out)
    assert len(made["pipeline"].search(made["data"].topics["dev"]["query"].iloc[0]))


@pytest.mark.parametrize("arguments, message", [
    (["--run", "a", "--qrels", "b", "--topics", "c"], "--run needs --qrels, --topics and --docs, or --collection"),
    (["--qrels", "b"], "--qrels goes with --run, and without --collection"),
    (["--collection", ".", "--run", "a", "--docs", "b"], "--docs goes with --run, and without --collection"),
    (["--topic-field", "title"], "--topic-field goes with --topics or --collection"),
    (["--development", "x"], "--development goes with --collection"),
    (["--domain", "a", "--base", "b"], "give --ranker too, or no models at all"),
    (["--trim", "0.5"], "give --ranker too, or no models at all"),
    (["--ranker", "a"], "give --domain and --base, or --vector"),
    (["--ranker", "a", "--domain", "b", "--base", "c", "--alpha", "1"], "unrecognized arguments: --alpha 1"),
    (["--alphas", "a=0", "--alphas", "a=1"], "--alphas is given twice: give one LIST, or a NAME=LIST for each vector"),
    (["--alphas", "0", "--alphas", "1"], "--alphas is given twice"),
    (["--alphas", "a=0", "--alphas", "b=1", "--plot", "x.png"], "--plot and --heat-map draw one α"),
    (["--alphas", "0,much"], "'0,much': give numbers between commas, such as 0,0.3,0.6"),
])
def test_a_wrong_command_line_is_explained_with_its_usage(printed, arguments, message):
    status, out, err = printed("sweep", *arguments)
    assert (status, out) == (2, "") and err.startswith("usage: taskarith") and message in err


@pytest.mark.parametrize("changed, message", [
    ({"--run": "qrels.txt"}, "qrels.txt, line 1: not the six fields"),
    ({"--qrels": "topics.tsv"}, "topics.tsv, line 1: not the four fields"),
    ({"--topics": "qrels.txt"}, "qrels.txt, line 1: not a qid, a TAB and a query"),
    ({"--docs": "nowhere"}, "nowhere"),
    ({"--docs": "short.jsonl"}, "first.run.gz, line 2: document 'd1' is not among the 1 documents and so has no "
                                "text; the run has 23 such documents (d1, d2, d3, d4, d5 …) in 207 rows"),
    ({"--docs": "bodies.jsonl"}, "bodies.jsonl, line 1: 'text' must be a text, and is None; the line has the fields "
                                 "'docno', 'body'"),
    ({"--qrels": "others.txt"}, "others.txt and docs.jsonl have no document in common: judged are 1 document (x), and "
                                "docs.jsonl holds 24 documents (d0, d1, d2, …)"),
    ({"--qrels": "unasked.txt"}, "no query of the topics ('q0', 'q1', 'q2', …) has judgements in qrels, which is about "
                                 "'z'; do their qids agree?"),
    ({"--run": "twice.run"}, "twice.run, line 2: document 'd0' occurs a second time for query 'q0'"),
    ({"--measure": "P"}, "measure='P' stands for 9 measures ('P@5', 'P@10', 'P@15', …): give the one to maximise"),
    ({"--topics": "other.tsv"}, "first.run.gz: none of its queries ('q0' …) is among the 1 topics ('x' …)"),
    ({"--alphas": "0,0"}, "alphas=[0.0, 0.0]: values must be finite and distinct"),
    ({"--alphas": "bio=0,1"}, "alphas must name each of the re-ranker's vectors ['domain']: unknown ['bio']"),
    ({"--nodes": "0,0.5,1"}, "nodes=[0.0, 0.5, 1.0]: give at least 5"),
    ({"--resume": "docs.jsonl"}, "docs.jsonl: the file is not an SQLite database"),
    ({"--resume": "kept.jsonl", "--nodes": "0,0.2,0.4,0.6,1"}, "leave one out"),
    ({"--weights": "2"}, "weights=[2.0]: each must be from 0 to 1"),
    ({"--measure": "nDGC@10"}, "unknown measure 'nDGC@10'"),
    ({"--scorer": "seq2seq"}, "transformers has no AutoModelForSeq2SeqLM for the model type 'bert'"),
    ({"--cache": "docs.jsonl"}, "docs.jsonl: the folder cannot be made"),
])
def test_what_the_user_can_mend_is_one_line(printed, models, folder, changed, message):
    (folder / "short.jsonl").write_text((folder / "docs.jsonl").read_text().splitlines()[0])
    (folder / "other.tsv").write_text("x\tother\n")
    (folder / "bodies.jsonl").write_text('{"docno": "d0", "body": "x"}\n')
    (folder / "others.txt").write_text("q0 0 x 1\n")
    (folder / "unasked.txt").write_text("z 0 d0 1\n")
    (folder / "twice.run").write_text("q0 Q0 d0 1 2 r\n" * 2)
    given = {**dict(zip(FILES[::2], FILES[1::2], strict=True)), **changed}
    status, out, err = printed("sweep", *models, *(part for pair in given.items() for part in pair))
    assert (status, out) == (1, "")
    assert err.splitlines()[-1].startswith("taskarith: ") and message in err.splitlines()[-1]


def test_one_alpha_over_equal_first_stage_scores_is_the_reranker_alone(printed, models, folder, stored, reranker):
    run, topics, qrels = stored
    flat = [f"{row.qid} Q0 {row.docno} 0 1.0 words\n" for row in run.itertuples()]
    (folder / "first.run.gz").write_bytes(gzip.compress("".join(flat).encode()))
    (folder / "qrels.txt").write_text((folder / "qrels.txt").read_text() + "late 0 d1 1\n")  # a query nobody asked
    status, out, _ = printed("sweep", *models, *FILES, "--alphas", "0.5", "--weights", "0.4,1")
    alone = pt.Evaluate(reranker.copy(alpha=0.5)(run[run["qid"] != "q8"]), qrels, metrics=[nDCG @ 10])["nDCG@10"]
    assert status == 0 and "on 8 queries" in out
    assert set(grid_printed(out).values()) == {f"{alone:.4f}*"}


def test_the_names_on_the_command_line_are_those_of_the_package():
    assert (_sweep.ORDERS, _sweep.PREFERRED) == (ORDERS, PREFERRED)
    assert set(SCORING["scorer"]["choices"]) == set(SCORERS)
    assert set(SCORING["truncation"]["choices"]) == set(TRUNCATIONS)
    assert set(SCORING) - {"resident"} < set(inspect.signature(TaskArithReranker).parameters)
    assert len(_main.COMMANDS) == 6
