"""The same queries, means, p values and corrections as pt.Experiment, and its per-query output as input."""

import warnings

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from ir_measures import AP, RR, P, nDCG

from pyterrier_taskarith.evaluation import compare, from_experiment

MEASURES = ["P_5", "map", nDCG @ 10, AP(rel=2) @ 100, RR @ 10]
LABELS = ["P_5", "map", "nDCG@10", "AP(rel=2)@100", "RR@10"]


def topics_of(queries) -> pd.DataFrame:
    return pd.DataFrame({"qid": list(queries), "query": "words"})


def experiment(systems, topics, qrels, measures=MEASURES, **options) -> pd.DataFrame:
    return pt.Experiment(dict(systems), topics, qrels, measures, validate="ignore", **options)


def test_means_are_pt_experiments(runs, qrels, baselines):
    expected = experiment(runs, topics_of(qrels["qid"].unique()), qrels).set_index("name")
    means = compare(runs, qrels, MEASURES, baselines=baselines).means
    assert means.columns.tolist() == LABELS
    np.testing.assert_allclose(means.to_numpy(), expected.loc[list(runs), LABELS].to_numpy(float), rtol=1e-12)


def test_queries_that_count_are_pt_experiments(runs, qrels, baselines):
    # Topics: q0 … q39 and two without judgements. Judged: q5 … q59. The runs lack q10 … q14, and Θ_T q15 … q19 as well.
    topics = topics_of([*(f"q{number}" for number in range(40)), "new1", "new2"])
    judged = qrels[~qrels["qid"].isin([f"q{number}" for number in range(5)])]
    holes = [f"q{number}" for number in range(10, 15)]
    systems = {name: run[~run["qid"].isin(holes)] for name, run in runs.items()}
    systems["Θ_T"] = systems["Θ_T"][~systems["Θ_T"]["qid"].isin([f"q{number}" for number in range(15, 20)])]

    result = compare(systems, judged, MEASURES, topics=topics, baselines=baselines)
    expected = experiment(systems, topics, judged).set_index("name")
    np.testing.assert_allclose(result.means.to_numpy(), expected.loc[list(runs), LABELS].to_numpy(float), rtol=1e-12)
    assert result.n_queries == 35
    assert result.n_unjudged == 7
    assert "7 queries without judgements left out" in result.to_text()
    values = result.per_query.set_index(["system", "qid"])["value"]
    assert (values.loc["BM25"].loc[holes] == 0).all()
    assert (values.loc["Θ_T"].loc["q17"] == 0).all()
    assert "q3" not in values.loc["BM25"].index and "q45" not in values.loc["BM25"].index


def test_without_topics_every_judged_query_counts_and_absent_ones_are_warned_of(runs, qrels):
    systems = {name: runs[name][runs[name]["qid"] != "q7"] for name in ("Θ_T", "Θ' (α=1)")}
    judged = qrels[qrels["qid"] != "q8"]
    with pytest.warns(UserWarning, match=r"1 of the 59 judged queries .*'q7'.*topics="):
        result = compare(systems, judged, MEASURES)
    expected = pt.Evaluate(systems["Θ_T"].copy(), judged, MEASURES)
    assert result.means.loc["Θ_T"].to_dict() == pytest.approx(expected)
    assert (result.n_queries, result.n_unjudged) == (59, 1)


@pytest.mark.parametrize("test", ["t", "wilcoxon"])
@pytest.mark.parametrize("correction", ["bonferroni", "holm"])
def test_p_values_and_corrections_are_pt_experiments(runs, qrels, test, correction):
    systems = {name: runs[name] for name in ("BM25", "Θ_0", "Θ_T", "Θ' (α=1)")}
    expected = experiment(systems, topics_of(qrels["qid"].unique()), qrels, baseline=0, test=test,
                          correction=correction, correction_alpha=.05).set_index("name")
    result = compare(systems, qrels, MEASURES, baselines=["BM25"], test=test, correction=correction, confidence=.95)
    for row in result.tests.itertuples():
        there = expected.loc[row.system]
        assert row.p == pytest.approx(there[f"{row.measure} p-value"], rel=1e-9)
        assert row.p_corrected == pytest.approx(there[f"{row.measure} p-value corrected"], rel=1e-9)
        assert row.significant == there[f"{row.measure} reject"]
        assert (row.wins, row.losses) == (there[f"{row.measure} +"], there[f"{row.measure} -"])


@pytest.mark.parametrize("options", [{}, {"plan": "tree", "verbose": False}, {"batch_size": 11}])
def test_per_query_output_of_pt_experiment_gives_the_same_comparison(runs, qrels, baselines, options):
    topics = topics_of([*qrels["qid"].unique(), "unjudged"])
    systems = {name: pt.apply.generic(lambda queries, run=run: run[run["qid"].isin(queries["qid"])])
               for name, run in runs.items()}
    if "batch_size" in options:
        topics = topics[:-1]  # a batch of one unjudged query has no results, which pt.Experiment refuses
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pt.Experiment warns of the query without judgements
        frame = experiment(systems, topics, qrels, perquery=True, **options)
    result = from_experiment(frame, baselines=baselines)
    expected = compare(runs, qrels, MEASURES, topics=topics, baselines=baselines)
    assert result.n_unjudged == expected.n_unjudged == len(topics) - 60
    pd.testing.assert_frame_equal(result.means.loc[list(runs), LABELS], expected.means, rtol=1e-12)
    key = ["system", "measure"]
    pd.testing.assert_frame_equal(result.tests.sort_values(key, ignore_index=True),
                                  expected.tests.sort_values(key, ignore_index=True), rtol=1e-9)


def test_baselines_come_first_in_the_table_of_an_experiment(runs, qrels, baselines):
    frame = experiment(runs, topics_of(qrels["qid"].unique()), qrels, perquery=True)
    assert from_experiment(frame, baselines=baselines).means.index[:4].tolist() == baselines
    shuffled = frame.sample(frac=1, random_state=3)
    one, other = from_experiment(frame, baselines=baselines), from_experiment(shuffled, baselines=baselines)
    pd.testing.assert_frame_equal(one.means.sort_index(axis=0)[LABELS], other.means.sort_index(axis=0)[LABELS],
                                  check_exact=True)


def test_a_run_needs_no_rank_column(runs, qrels):
    two = {name: runs[name] for name in ("BM25", "Θ_T")}
    without = {name: run.drop(columns="rank") for name, run in two.items()}
    pd.testing.assert_frame_equal(compare(two, qrels, P @ 5).means, compare(without, qrels, P @ 5).means)
