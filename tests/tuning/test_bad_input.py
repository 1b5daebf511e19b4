"""What does not fit is refused by sweep, tune and tune_each alike, in words that name it and say what to do."""

import numpy as np
import pandas as pd
import pytest
from ir_measures import nDCG

from pyterrier_taskarith import TaskArithReranker, sweep, tune
from pyterrier_taskarith.tuning import tune_each
from testing import bert_triple
from tests.tuning.small import brute, small_qrels, small_run

RUN, QRELS = small_run(3), small_qrels()
TOPICS = RUN[["qid", "query"]].drop_duplicates()
GRID = {"alphas": [0.5], "weights": [0.5, 1.0], "verbose": False}

everywhere = pytest.mark.parametrize("use", [sweep, tune, tune_each])


@pytest.fixture(scope="module")
def reranker(tmp_path_factory):
    triple = bert_triple(tmp_path_factory.mktemp("triple"))
    return TaskArithReranker(triple.ranker, triple.domain, triple.base, verbose=False)


def changed(column, value, row=9):
    values = RUN[column].tolist()
    values[row] = value
    return RUN.assign(**{column: values})


@everywhere
@pytest.mark.parametrize(("run", "message"), [
    (RUN.drop(columns="text"), r"lacks the columns \['text'\] and has \['qid', 'query', 'docno', 'score'\].*get_text"
                               r".*text_field="),
    (RUN.rename(columns={"text": "body"}), r"lacks the columns \['text'\] and has .*'body'"),
    (RUN.drop(columns=["score", "query"]), r"lacks the columns \['query', 'score'\]"),
    (pd.concat([RUN, RUN[["score"]]], axis=1), "the run has the column 'score' more than once"),
    (RUN.assign(query=" "), "the run: the topic '0' has an empty query, as . more of . have"),
    (RUN[:0], "the run has no rows: the first stage found nothing"),
    (pd.concat([RUN, RUN[3:4]]), r"document 'd3' twice for query '0' \(1 such rows\); drop duplicates"),
    (changed("score", None), r"the run has 1 missing values .* in column 'score' \(first in query '1'\)"),
    (changed("score", np.inf), "query '1' has a score that is NaN or infinite"),
    (changed("score", "high"), "the run has 'high' in column 'score': a number is needed"),
    (changed("docno", None), "1 missing values .* in column 'docno'"),
    (changed("qid", None), "1 missing values .* in column 'qid'"),
    (changed("text", None), r"column 'text' holds no text .* for 1 rows, docno d2; fill it \(pt.text.get_text\)"),
    (RUN.assign(qid="q" + RUN["qid"]), r"no query of the run \('q0', 'q1', 'q2', …\) has judgements in qrels, which is "
                                       r"about '0', '1', '2', …; do their qids agree\?"),
])
def test_runs(reranker, use, run, message):
    with pytest.raises(ValueError, match=message):
        use(reranker, run, QRELS, **GRID)


@everywhere
@pytest.mark.parametrize(("qrels", "message"), [
    (QRELS[:0], "qrels has no rows: there is nothing to evaluate against"),
    (QRELS.rename(columns={"label": "rel"}), r"qrels lacks column 'label': it has \['qid', 'docno', 'rel'\]"),
    (QRELS.assign(label=0.5), "label 0.5: relevance labels are whole numbers"),
    (pd.concat([QRELS, QRELS[:1].assign(label=0)]), "the first for qid '0', docno 'd2': the labels differ"),
])
def test_judgements(reranker, use, qrels, message):
    with pytest.raises(ValueError, match=message):
        use(reranker, RUN, qrels, **GRID)


@everywhere
@pytest.mark.parametrize(("topics", "message"), [
    (TOPICS[:0], "topics has no rows"),
    (TOPICS.assign(query=""), "topics: the topic '0' has an empty query"),
    (TOPICS.rename(columns={"qid": "id"}), r"topics lacks column 'qid': it has \['id', 'query'\]"),
    (pd.concat([TOPICS, TOPICS[:1]]), "topics has 1 repeated rows, the first for qid '0'"),
    (TOPICS.assign(qid="q" + TOPICS["qid"]), r"no query of the topics \('q0', 'q1', 'q2', …\) has judgements"),
])
def test_topics(reranker, use, topics, message):
    with pytest.raises(ValueError, match=message):
        use(reranker, RUN, QRELS, topics=topics, **GRID)


@everywhere
@pytest.mark.parametrize("alphas", [[], [0.5, 0.5], [np.nan]])
def test_grids(reranker, use, alphas):
    with pytest.raises(ValueError, match="alphas"):
        use(reranker, RUN, QRELS, **{**GRID, "alphas": alphas})


@pytest.mark.parametrize("use", [tune, tune_each])
@pytest.mark.parametrize(("measure", "message"), [
    ("nDGC@10", "unknown measure 'nDGC@10'"),
    ("P", r"measure='P' stands for 9 measures \('P@5', 'P@10', 'P@15', …\): give the one to maximise"),
    (["nDCG@10", "AP"], r"stands for 2 measures \('nDCG@10', 'AP'\)"),
])
def test_what_is_maximised_is_one_measure(reranker, use, measure, message):
    with pytest.raises(ValueError, match=message):
        use(reranker, RUN, QRELS, measure=measure, **GRID)


def test_alphas_by_vector_are_not_tune_each_s(reranker):
    with pytest.raises(TypeError, match="tune_each tunes one α for all vectors; give a list of numbers"):
        tune_each(reranker, RUN, QRELS, **{**GRID, "alphas": {"domain": [0.5]}})


def test_a_run_stays_as_it_was(reranker):
    run, topics, qrels = RUN.assign(score=RUN["score"].round().astype(int)), TOPICS.copy(), QRELS.copy()
    before = run.copy(), topics.copy(), qrels.copy()
    sweep(reranker, run, qrels, topics=topics, **GRID)
    for frame, old in zip((run, topics, qrels), before, strict=True):
        pd.testing.assert_frame_equal(frame, old)


# ---- what is no error: the stated rules

def test_one_alpha_is_chosen_and_queries_count_that_were_asked_and_judged(reranker):
    """Query 0 has no judgements, "late" has some but no results, "not asked" is in no topics."""
    further = pd.DataFrame({"qid": ["late", "not asked"], "docno": "d1", "label": 1})
    judged = pd.concat([QRELS[QRELS["qid"] != "0"], further])
    topics = pd.concat([TOPICS, pd.DataFrame({"qid": ["late"], "query": ["x"]})])
    kept = RUN[RUN["qid"] != "0"]
    by_hand = {weight: brute(reranker, kept, QRELS[QRELS["qid"] != "0"], nDCG @ 10, 0.5, weight) * 4 / 5
               for weight in GRID["weights"]}
    tuned = tune(reranker, RUN, judged, topics=topics, **GRID)
    assert tuned.alpha == 0.5 and tuned.value == pytest.approx(max(by_hand.values()))
    assert {row.weight: pytest.approx(row.value) for row in tuned.evidence.itertuples()} == by_hand


@pytest.mark.parametrize("use", [tune, tune_each])
def test_of_equal_first_stage_scores_the_reranker_alone_decides(reranker, use):
    chosen = use(reranker, RUN.assign(score=7.5), QRELS, alphas=[0.0, 0.5], weights=[0.3, 1.0], verbose=False)
    chosen = chosen["Θ' (α tuned)"] if use is tune_each else chosen
    values = {alpha: brute(reranker, RUN, QRELS, nDCG @ 10, alpha, 1.0) for alpha in (0.0, 0.5)}
    assert chosen.value == pytest.approx(max(values.values())) and chosen.weight == 0.3  # of equal values the smallest
