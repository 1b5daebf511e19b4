"""The paper's line-up against the same systems made by hand, and the three calls from run and qrels to a conclusion."""

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from ir_measures import nDCG

from pyterrier_taskarith import MinMax, Mix, TaskArithReranker, TaskVector, compare, tune
from pyterrier_taskarith.tuning import Tuned
from pyterrier_taskarith.tuning._line_up import BASELINES, FIXED, TUNED, line_up, tune_each
from testing import bert_triple, passages, questions

ALPHAS, WEIGHTS = [0.0, 0.6, 1.0], [0.0, 0.3, 1.0]
NAMES = [*BASELINES, FIXED, TUNED]


@pytest.fixture(scope="module")
def triple(tmp_path_factory):
    return bert_triple(tmp_path_factory.mktemp("triple"))


@pytest.fixture(scope="module")
def reranker(triple):
    return TaskArithReranker(triple.ranker, triple.domain, triple.base, alpha=0.7, verbose=False)


@pytest.fixture(scope="module")
def run():
    texts, asked = passages(12, seed=3, longest=40), questions(6, seed=4)
    rows = [(str(q), query, f"d{(q + place) % 12}", texts[(q + place) % 12], 10.0 - place * (1 + q / 10))
            for q, query in enumerate(asked) for place in range(8)]
    return pd.DataFrame(rows, columns=["qid", "query", "docno", "text", "score"])


@pytest.fixture(scope="module")
def qrels():
    return pd.DataFrame([(str(q), f"d{(q + place) % 12}", 1) for q in range(6) for place in (2, 5)],
                        columns=["qid", "docno", "label"])


def chosen(reranker, alpha: float, weight: float) -> Tuned:
    return Tuned(alpha, weight, "nDCG@10", 0.5, reranker.copy(alpha=alpha),
                 pd.DataFrame([(alpha, weight, "nDCG@10", 0.5)], columns=["alpha", "weight", "measure", "value"]))


def systems_by_hand(triple, alpha: float) -> dict[str, TaskArithReranker]:
    """Every system of the line-up, made by name."""
    def made(**options) -> TaskArithReranker:
        return TaskArithReranker(triple.ranker, triple.domain, triple.base, **options, verbose=False)

    return {"Θ_0": made(variant="base"), "Θ_D": made(variant="domain"), "Θ_T": made(variant="ranker"),
            FIXED: made(alpha=1.0), TUNED: made(alpha=alpha)}


def test_every_system_is_what_it_is_called(triple, reranker, run):
    systems = line_up(chosen(reranker, 0.6, 0.3), run)
    assert list(systems) == NAMES
    pd.testing.assert_frame_equal(systems["BM25"], run)
    scores = set()
    for name, system in systems_by_hand(triple, 0.6).items():
        expected = 0.3 * MinMax()(system(run))["score"] + 0.7 * MinMax()(run)["score"]
        assert systems[name]["score"].tolist() == pytest.approx(expected.tolist(), abs=1e-6)
        scores.add(tuple(systems[name]["score"]))
    assert len(scores) == 5, "no two systems are the same"


def test_each_system_scores_the_run_once_and_alpha_stays(triple, tmp_path, run):
    other = bert_triple(tmp_path, seed=5)
    reranker = TaskArithReranker(other.ranker, other.domain, other.base, alpha=0.7, verbose=False)
    line_up(chosen(reranker, 0.6, 0.3), run)
    assert reranker.model.scorer.pairs_scored == 5 * len(run)
    assert reranker.alpha == 0.7


@pytest.mark.parametrize(("weight", "expected"), [(None, 0.3), (1.0, 1.0), (0, 0.0)])
def test_one_weight_is_every_systems(reranker, run, weight, expected):
    tuned = chosen(reranker, 0.6, 0.3)
    systems = line_up(tuned, run, weight=weight, first_stage=None)
    assert list(systems) == NAMES[1:]
    for name, system in {**tuned.reranker.variants(), TUNED: tuned.reranker}.items():
        if name in systems:
            pd.testing.assert_frame_equal(systems[name], Mix(system, expected)(run))


def test_systems_that_were_tuned_each_have_their_own_weight(reranker, run):
    tuned = {"Θ_T": chosen(reranker, 0.0, 0.3), TUNED: chosen(reranker, 0.6, 1.0)}
    systems = line_up(tuned, run, first_stage="first")
    assert list(systems) == ["first", "Θ_T", TUNED]
    pd.testing.assert_frame_equal(systems["Θ_T"], Mix(reranker.copy(alpha=0.0), 0.3)(run))
    pd.testing.assert_frame_equal(systems[TUNED], Mix(reranker.copy(alpha=0.6), 1.0)(run))
    pd.testing.assert_frame_equal(line_up(tuned, run, weight=0.5)["Θ_T"], Mix(reranker.copy(alpha=0.0), 0.5)(run))


def test_each_system_is_tuned_to_the_best_of_brute_force(triple, reranker, run, qrels):
    found = tune_each(reranker, run, qrels, alphas=ALPHAS, weights=WEIGHTS, verbose=False)
    assert list(found) == NAMES[1:]
    made = systems_by_hand(triple, 0.6)

    def value(system, weight: float) -> float:
        return pt.Evaluate(Mix(system, weight)(run), qrels, metrics=[nDCG @ 10])["nDCG@10"]

    for name in NAMES[1:5]:
        values = {weight: value(made[name], weight) for weight in WEIGHTS}
        assert found[name].value == pytest.approx(max(values.values()))
        assert values[found[name].weight] == pytest.approx(max(values.values()))
    assert (found["Θ_T"].alpha, found[FIXED].alpha) == (0, 1)
    best = max(value(reranker.copy(alpha=alpha), weight) for alpha in ALPHAS for weight in WEIGHTS)
    assert found[TUNED].value == pytest.approx(best)
    assert reranker.alpha == 0.7


@pytest.mark.parametrize("alphas", [[0.6], [0.0, 0.6], [0.6, 1.0]])
def test_a_grid_without_0_or_1_gives_the_other_systems_all_the_same(reranker, run, qrels, alphas):
    options = {"weights": WEIGHTS, "verbose": False}
    found, whole = (tune_each(reranker, run, qrels, alphas=grid, **options) for grid in (alphas, ALPHAS))
    for name in ("Θ_0", "Θ_D", "Θ_T", FIXED):
        assert (found[name].alpha, found[name].weight) == (whole[name].alpha, whole[name].weight)
        assert found[name].value == pytest.approx(whole[name].value, abs=1e-12)


def test_alpha_first_gives_no_system_a_weight_that_may_not_be_chosen(reranker, run, qrels):
    # The re-ranker alone (weight 1) is swept to choose α; it may not be chosen.
    found = tune_each(reranker, run, qrels, alphas=ALPHAS, weights=[0.0, 0.3], order="alpha-first", verbose=False)
    assert {each.weight for each in found.values()} <= {0.0, 0.3}


def test_from_run_and_qrels_to_the_conclusion_in_three_calls(reranker, run, qrels):
    tuned = tune(reranker, run, qrels, alphas=ALPHAS, weights=WEIGHTS, verbose=False)
    systems = line_up(tuned, run)
    comparison = compare(systems, qrels, ["nDCG@10", "AP"], baselines=BASELINES)
    assert comparison.means.index.tolist() == NAMES
    assert "Bonferroni over 2 comparisons in each measure" in str(comparison)
    assert comparison.means.loc[TUNED, "nDCG@10"] == pytest.approx(tuned.value)
    assert "Θ' (α tuned) is " in comparison.in_words()


def test_a_first_stage_whose_scores_are_all_equal_leaves_it_to_the_rerankers(reranker, run, qrels):
    flat = run.assign(score=3.0)
    mixed, alone = (line_up(chosen(reranker, 0.6, 0.3), flat, weight=weight) for weight in (0.5, 1.0))
    judged = compare(mixed, qrels, "nDCG@10", baselines=BASELINES).means
    assert judged.drop("BM25").equals(compare(alone, qrels, "nDCG@10", baselines=BASELINES).means.drop("BM25"))
    # trec_eval breaks the first stage's ties by falling docno.
    by_docno = flat.assign(score=flat["docno"].rank())
    assert judged.loc["BM25"].tolist() == [pt.Evaluate(by_docno, qrels, metrics=[nDCG @ 10])["nDCG@10"]]


def test_queries_without_judgements_are_re_ranked_and_left_to_compare_to_leave_out(reranker, run, qrels):
    systems = line_up(chosen(reranker, 0.6, 0.3), run)
    assert all(set(system["qid"]) == set(run["qid"]) for system in systems.values())
    result = compare(systems, qrels[qrels["qid"] != "0"], "nDCG@10", baselines=BASELINES)
    assert (result.n_queries, result.n_unjudged) == (5, 1)


def test_several_vectors_have_a_theta_0_and_a_theta_d_each(triple, run):
    vector = TaskVector(triple.domain, triple.base)
    several = TaskArithReranker(triple.ranker, vectors={"a": vector, "b": vector.trim(0.5)}, alpha=0.5, verbose=False)
    names = list(line_up(chosen(several, 0.5, 0.3), run))
    assert names == ["BM25", *[name for name in several.variants() if name != "Θ'"], FIXED, TUNED]
    assert "Θ_0.a" in names and "Θ_D.a" in names


@pytest.mark.parametrize("tuned", [{}, {"Θ_T": 1}, "tuned"])
def test_what_was_not_tuned_is_refused(run, tuned):
    with pytest.raises(TypeError, match="line_up takes what tune, tune_layers or tune_each returned first, not"):
        line_up(tuned, run)


@pytest.mark.parametrize(("change", "options", "error", "message"), [
    (lambda run: run.to_dict(), {}, TypeError, "run is a dict: give a first stage's results"),
    (lambda run: pd.concat([run, run.head(1)]), {}, ValueError, "document 'd0' twice for query '0'"),
    (lambda run: run.drop(columns="text"), {}, pt.validate.InputValidationError, "text"),
    (lambda run: run.drop(columns="score"), {}, pt.validate.InputValidationError, "score"),
    (lambda run: run.assign(score=np.nan), {}, ValueError, "query '0' has a score that is NaN or infinite"),
    (lambda run: run.assign(text=None), {}, ValueError, "column 'text' holds no text .* docno d0, d1"),
    (lambda run: run, {"weight": 1.5}, ValueError, "weight=1.5: the re-ranker's weight must be a number from 0 to 1"),
    (lambda run: run, {"first_stage": "Θ_T"}, ValueError, "first_stage='Θ_T': another system of the line-up is called"),
])
def test_bad_input_is_refused(reranker, run, change, options, error, message):
    with pytest.raises(error, match=message):
        line_up(chosen(reranker, 0.6, 0.3), change(run), **options)
