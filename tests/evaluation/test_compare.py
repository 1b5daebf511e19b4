"""compare: which queries count, which baseline is best, what is starred."""

import math

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from ir_measures import AP, RR, Accuracy, P, nDCG
from scipy import stats

from pyterrier_taskarith.evaluation import Comparison, compare

MEASURES = ["P_5", "ndcg_cut_10", AP @ 100]


def frames_equal(one: Comparison, other: Comparison) -> None:
    for table in ("means", "per_query", "tests"):
        pd.testing.assert_frame_equal(getattr(one, table), getattr(other, table), check_exact=True)


def test_a_comparison_small_enough_to_check_by_hand(hits):
    qrels, weak = hits([1, 0, 0, 0, 0, 0, 0, 0])
    _, strong = hits([1, 1, 1, 1, 1, 1, 1, 0])
    result = compare({"weak": weak, "strong": strong}, qrels, P @ 1, confidence=.95)
    assert result.means.loc["weak", "P@1"] == 1 / 8
    assert result.means.loc["strong", "P@1"] == 7 / 8
    test = result.tests.iloc[0]
    # Six differences of 1 and two of 0: mean .75, variance (6·.0625 + 2·.5625) / 7.
    deviation = math.sqrt(1.5 / 7)
    assert test.difference == .75
    assert test.effect_size == pytest.approx(.75 / deviation)
    assert test.statistic == pytest.approx(.75 / (deviation / math.sqrt(8)))
    assert test.p == pytest.approx(2 * stats.t.sf(test.statistic, 7)) == test.p_corrected
    assert (test.wins, test.ties, test.losses) == (6, 2, 0)
    assert (test.system, test.measure, test.baseline) == ("strong", "P@1", "weak")
    assert test.significant
    assert result.per_query["value"].tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0]


def test_the_tables_have_the_columns_they_say(runs, qrels, baselines):
    result = compare(runs, qrels, MEASURES, baselines=baselines)
    assert result.means.index.tolist() == list(runs)
    assert result.means.columns.tolist() == ["P_5", "ndcg_cut_10", "AP@100"]
    assert result.per_query.columns.tolist() == ["system", "qid", "measure", "value"]
    assert len(result.per_query) == 6 * 60 * 3
    assert result.tests.columns.tolist() == [
        "system", "measure", "baseline", "difference", "ci_low", "ci_high", "statistic", "p", "p_corrected",
        "significant", "wins", "ties", "losses", "effect_size"]
    assert result.tests["system"].unique().tolist() == ["Θ' (α=1)", "Θ' (α=.7)"]
    assert (result.n_queries, result.procedure.n_comparisons, result.baselines) == (60, 2, tuple(baselines))


@pytest.mark.parametrize("test", ["t", "wilcoxon", "fisher"])
@pytest.mark.parametrize("correction", ["bonferroni", "holm", None])
def test_nothing_depends_on_the_order_of_rows(runs, qrels, baselines, test, correction):
    def shuffled(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.sample(frac=1, random_state=len(frame))

    options = {"baselines": baselines, "test": test, "correction": correction, "resamples": 2000}
    measures = [*MEASURES, RR @ 10]
    result = compare(runs, qrels, measures, **options)
    again = compare({name: shuffled(run) for name, run in runs.items()}, shuffled(qrels), measures, **options)
    frames_equal(result, again)


def test_ties_are_broken_without_regard_to_the_order_of_rows():
    # trec_eval computes P@1: z before a. ir_measures' Accuracy follows the order of the rows it is given. RR@10's
    # provider has a rule of its own: a before z.
    qrels = pd.DataFrame({"qid": ["1", "2"], "docno": ["a", "z"], "label": 1})
    tied = pd.DataFrame({"qid": ["1", "1", "2", "2"], "docno": ["a", "z", "a", "z"], "score": 1.0})
    for run in (tied, tied[::-1]):
        values = compare({"one": run, "other": run}, qrels, [P @ 1, Accuracy, RR @ 10]).per_query[:6]
        assert values["value"].tolist() == [0, 1, 0, 1, 1, .5]


def test_the_input_is_left_as_it_was(runs, qrels, baselines):
    numbered = {name: run.assign(qid=run["qid"].str[1:].astype(int)) for name, run in runs.items()}
    copies = {name: run.copy() for name, run in numbered.items()}
    judged = qrels.assign(qid=qrels["qid"].str[1:].astype(int))
    before = judged.copy()
    result = compare(numbered, judged, MEASURES, baselines=baselines)
    for name in runs:
        pd.testing.assert_frame_equal(numbered[name], copies[name])
    pd.testing.assert_frame_equal(judged, before)
    # Numbers as query ids are the same queries.
    pd.testing.assert_frame_equal(result.means.reset_index(drop=True),
                                  compare(runs, qrels, MEASURES, baselines=baselines).means.reset_index(drop=True))


def test_the_best_baseline_is_chosen_in_each_measure(hits):
    # "early" has the relevant document first in few queries, "deep" has it second in all.
    qrels, _ = hits([1] * 6)
    queries = qrels["qid"].tolist()

    def ranked(positions: list[int]) -> pd.DataFrame:
        rows = [(query, "relevant" if rank == position else f"other{rank}", -float(rank))
                for query, position in zip(queries, positions, strict=True) for rank in range(1, 6)]
        return pd.DataFrame(rows, columns=["qid", "docno", "score"])

    systems = {"deep": ranked([2] * 6), "early": ranked([1, 1, 9, 9, 9, 9]), "new": ranked([1, 2, 2, 2, 2, 2])}
    tests = compare(systems, qrels, [P @ 1, P @ 5], baselines=["deep", "early"]).tests
    assert dict(zip(tests["measure"], tests["baseline"], strict=True)) == {"P@1": "early", "P@5": "deep"}


@pytest.mark.parametrize("order", [["one", "two"], ["two", "one"]])
def test_of_equal_baselines_the_first_named_is_taken(hits, order):
    qrels, one = hits([1, 0, 1, 0])
    _, two = hits([0, 1, 0, 1])
    _, new = hits([1, 1, 1, 0])
    assert compare({"one": one, "two": two, "new": new}, qrels, "P_5", baselines=order).tests["baseline"][0] == order[0]


def test_equal_means_summed_in_another_order_are_equal():
    # .1 + .2 + .3 and .3 + .2 + .1 differ in the last bit.
    from pyterrier_taskarith.evaluation import from_experiment

    values = {"up": [.1, .2, .3], "down": [.3, .2, .1], "new": [.5, .5, .6]}
    frame = pd.DataFrame([(name, str(query), "m", value) for name, row in values.items()
                          for query, value in enumerate(row)], columns=["name", "qid", "measure", "value"])
    assert np.mean(values["up"]) != np.mean(values["down"])
    for order in (["up", "down"], ["down", "up"]):
        assert from_experiment(frame, baselines=order).tests["baseline"][0] == order[0]


def test_two_systems_need_no_baselines_argument(runs, qrels):
    two = {name: runs[name] for name in ("Θ_T", "Θ' (α=.7)")}
    result = compare(two, qrels, MEASURES)
    assert result.baselines == ("Θ_T",)
    frames_equal(result, compare(list(two.items()), qrels, MEASURES, baselines="Θ_T"))


def test_a_star_needs_a_small_corrected_p_and_a_higher_mean(runs, qrels, baselines):
    result = compare(runs, qrels, MEASURES, baselines=baselines)
    tests = result.tests.set_index(["system", "measure"])
    assert tests.loc["Θ' (α=.7)", "significant"].all()
    assert not tests.loc["Θ' (α=1)", "significant"].any()
    assert (result.tests["p_corrected"] < .01).tolist() == result.tests["significant"].tolist()
    # The other way round it is significant too, but worse: no star.
    worse = compare({"Θ'": runs["Θ' (α=.7)"], "BM25": runs["BM25"]}, qrels, MEASURES)
    assert worse.tests["significant"].all() and (worse.tests["difference"] < 0).all()
    assert "*" not in worse.to_text().split("* significantly")[0]


@pytest.mark.parametrize("seed", range(10))
def test_with_bonferroni_the_interval_agrees_with_the_star(seed):
    from pyterrier_taskarith.evaluation import from_experiment

    random = np.random.default_rng(seed)
    frame = pd.DataFrame([(f"s{system}", str(query), "m", random.normal() + system * .12)
                          for system in range(6) for query in range(40)], columns=["name", "qid", "measure", "value"])
    tests = from_experiment(frame, baselines=["s0"], confidence=.9).tests
    outside = (tests["ci_low"] > 0) | (tests["ci_high"] < 0)
    assert outside.tolist() == tests["significant"].tolist()


def test_number_of_comparisons_is_counted_in_one_measure_or_given(runs, qrels, baselines):
    counted = compare(runs, qrels, MEASURES, baselines=baselines)
    given = compare(runs, qrels, MEASURES, baselines=baselines, n_comparisons=8)
    uncorrected = compare(runs, qrels, MEASURES, baselines=baselines, correction=None)
    assert counted.tests["p_corrected"].tolist() == pytest.approx(np.minimum(counted.tests["p"] * 2, 1))
    assert given.tests["p_corrected"].tolist() == pytest.approx(np.minimum(counted.tests["p"] * 8, 1))
    assert uncorrected.tests["p_corrected"].tolist() == counted.tests["p"].tolist()
    assert "Bonferroni over 2 comparisons in each measure" in str(counted)
    assert "Bonferroni over 8 comparisons in each measure" in str(given)


@pytest.mark.parametrize("correction", ["bonferroni", "holm"])
@pytest.mark.parametrize("test", ["t", "wilcoxon", "fisher"])
def test_a_system_equal_to_the_baseline_has_no_p_value_and_no_star(runs, qrels, correction, test):
    systems = {"Θ_T": runs["Θ_T"], "same": runs["Θ_T"], "Θ'": runs["Θ' (α=.7)"]}
    result = compare(systems, qrels, "ndcg_cut_10", baselines=["Θ_T"], correction=correction, test=test)
    same, new = result.tests.iloc[0], result.tests.iloc[1]
    assert math.isnan(same.p) and math.isnan(same.p_corrected) and not same.significant
    assert (same.difference, same.wins, same.ties, same.losses) == (0, 0, 60, 0)
    assert new.p_corrected == pytest.approx(2 * new.p) and new.significant


def test_a_transformer_is_run_exactly_once_and_gives_what_its_run_gives(runs, qrels, baselines):
    topics = pd.DataFrame({"qid": runs["BM25"]["qid"].unique(), "query": "words"})
    calls = []

    def transformer(name: str) -> pt.Transformer:
        def retrieve(queries: pd.DataFrame) -> pd.DataFrame:
            calls.append(name)
            assert queries["query"].eq("words").all()
            queries["query"] = "spoiled"  # for itself alone, not for the next one
            return runs[name]
        return pt.apply.generic(retrieve)

    mixed = {name: runs[name] if name == "BM25" else transformer(name) for name in runs}
    result = compare(mixed, qrels, [*MEASURES, nDCG @ 3, "map"], topics=topics, baselines=baselines)
    assert calls == [name for name in runs if name != "BM25"]
    assert topics["query"].eq("words").all()
    frames_equal(result, compare(runs, qrels, [*MEASURES, nDCG @ 3, "map"], baselines=baselines))


def test_nothing_runs_if_an_argument_is_wrong(runs, qrels):
    def fail(queries: pd.DataFrame) -> pd.DataFrame:
        raise AssertionError("ran")

    topics = pd.DataFrame({"qid": ["q1"], "query": "words"})
    systems = {"BM25": runs["BM25"], "Θ'": pt.apply.generic(fail)}
    for wrong in ({"confidence": 99}, {"baselines": ["BM52"]}, {"test": "z"}, {"measures": "nope"},
                  {"measures": "alpha_nDCG@10"}):
        with pytest.raises(ValueError):
            compare(**({"systems": systems, "qrels": qrels, "measures": "map", "topics": topics} | wrong))


def test_the_progress_bar_counts_systems(runs, qrels, baselines, capsys):
    compare(runs, qrels, "map", baselines=baselines)
    assert capsys.readouterr().err == ""
    compare(runs, qrels, "map", baselines=baselines, verbose=True)
    assert "6/6" in capsys.readouterr().err
