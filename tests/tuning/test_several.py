"""Several development sets, several vectors, values for each query: each against brute force."""

import itertools

import pandas as pd
import pyterrier as pt
import pytest
from ir_measures import nDCG

from pyterrier_taskarith import TaskArithReranker, TaskVector, plot_alpha, sweep, tune
from testing import bert_triple
from tests.tuning.small import brute, small_qrels, small_run

ALPHAS, WEIGHTS = [0.0, 0.5, 1.0], [0.0, 0.3, 1.0]


@pytest.fixture(scope="module")
def triple(tmp_path_factory):
    return bert_triple(tmp_path_factory.mktemp("triple"))


@pytest.fixture(scope="module")
def reranker(triple):
    return TaskArithReranker(triple.ranker, triple.domain, triple.base, alpha=0.7, verbose=False)


@pytest.fixture(scope="module")
def sets():
    return {"one": (small_run(3), small_qrels()), "two": (small_run(9, queries=4), small_qrels((0, 3, 7), queries=4))}


@pytest.fixture(scope="module")
def by_hand(reranker, sets):
    """(name, alpha, weight) -> mean."""
    return {(name, alpha, weight): brute(reranker, run, qrels, nDCG @ 10, alpha, weight)
            for name, (run, qrels) in sets.items() for alpha in ALPHAS for weight in WEIGHTS}


def named(sets, place):
    return {name: parts[place] for name, parts in sets.items()}


def test_each_set_has_its_rows_and_their_average_counts_sets_alike(reranker, sets, by_hand):
    swept = sweep(reranker, named(sets, 0), named(sets, 1), alphas=ALPHAS, weights=WEIGHTS, verbose=False)
    assert list(swept.columns) == ["collection", "alpha", "weight", "measure", "value"]
    assert len(swept) == 3 * len(ALPHAS) * len(WEIGHTS)
    for row in swept.itertuples():
        expected = by_hand[row.collection, row.alpha, row.weight] if row.collection != "average" else (
            by_hand["one", row.alpha, row.weight] + by_hand["two", row.alpha, row.weight]) / 2
        assert row.value == pytest.approx(expected, abs=1e-12)


def test_tune_takes_the_best_average(reranker, sets, by_hand):
    tuned = tune(reranker, named(sets, 0), named(sets, 1), alphas=ALPHAS, weights=WEIGHTS, verbose=False)
    average = {(alpha, weight): (by_hand["one", alpha, weight] + by_hand["two", alpha, weight]) / 2
               for alpha, weight in itertools.product(ALPHAS, WEIGHTS)}
    best = max(average.values())
    assert (tuned.alpha, tuned.weight) == min(each for each, value in average.items() if value > best - 1e-12)
    assert tuned.value == pytest.approx(best) and tuned.reranker.alpha == tuned.alpha
    assert "on average over 2 development sets" in str(tuned)
    assert tuned.among(weights=[1.0]).value == pytest.approx(max(average[alpha, 1.0] for alpha in ALPHAS))


@pytest.mark.parametrize(("change", "message"), [
    (lambda run, qrels: (run, qrels["one"]), "each as a dict"),
    (lambda run, qrels: (run["one"], qrels), "each as a dict"),
    (lambda run, qrels: (run, {"one": qrels["one"], "three": qrels["two"]}), r"\['one', 'two'\].*\['one', 'three'\]"),
    (lambda run, qrels: ({"average": run["one"]}, {"average": qrels["one"]}), "none called 'average'"),
    (lambda run, qrels: ({}, {}), "at least one"),
    (lambda run, qrels: ({**run, "two": run["two"].drop(columns="text")}, qrels), "'two': the run lacks .*text"),
    (lambda run, qrels: (run, {**qrels, "two": qrels["two"].assign(qid="z")}), "'two': no query of the run .* has"),
])
def test_sets_that_do_not_fit_are_named(reranker, sets, change, message):
    run, qrels = change(named(sets, 0), named(sets, 1))
    with pytest.raises((TypeError, ValueError), match=message):
        sweep(reranker, run, qrels, alphas=[0.5], verbose=False)


@pytest.fixture(scope="module")
def two_vectors(triple):
    whole = TaskVector(triple.domain, triple.base)
    return TaskArithReranker(triple.ranker, vectors={"bio": whole, "top": whole.without("embeddings")},
                             alpha={"bio": 0.1, "top": 0.2}, verbose=False)


def test_every_combination_of_the_vectors_values_is_tried(two_vectors):
    run, qrels = small_run(3), small_qrels()
    grid = {"bio": [0.0, 0.5], "top": [-0.5, 0.0, 1.0]}
    swept = sweep(two_vectors, run, qrels, alphas=grid, weights=[1.0], verbose=False)
    assert list(swept.columns) == ["alpha.bio", "alpha.top", "weight", "measure", "value"]
    assert list(zip(swept["alpha.bio"], swept["alpha.top"], strict=True)) == list(itertools.product(*grid.values()))
    for row in swept.to_dict("records"):
        alpha = {"bio": row["alpha.bio"], "top": row["alpha.top"]}
        assert row["value"] == pytest.approx(brute(two_vectors, run, qrels, nDCG @ 10, alpha, 1.0), abs=1e-12)
    tuned = tune(two_vectors, run, qrels, alphas=grid, weights=[1.0], verbose=False)
    best = swept[swept["value"] == swept["value"].max()]
    assert set(tuned.alpha) == {"bio", "top"} and tuned.reranker.alpha == tuned.alpha
    assert tuple(tuned.alpha.values()) in set(zip(best["alpha.bio"], best["alpha.top"], strict=True))
    assert sum(map(abs, tuned.alpha.values())) == (best["alpha.bio"].abs() + best["alpha.top"].abs()).min()
    assert "bio" in str(tuned) and two_vectors.alpha == {"bio": 0.1, "top": 0.2}
    assert tuned.among(alphas={"top": [1.0]}).alpha["top"] == 1.0


def test_one_list_holds_for_all_vectors(two_vectors):
    swept = sweep(two_vectors, small_run(3), small_qrels(), alphas=[0.5], weights=[1.0], verbose=False)
    both = brute(two_vectors, small_run(3), small_qrels(), nDCG @ 10, {"bio": 0.5, "top": 0.5}, 1.0)
    assert swept["value"].tolist() == [pytest.approx(both, abs=1e-12)] and swept["alpha"].tolist() == [0.5]


@pytest.mark.parametrize(("alphas", "message"), [
    ({"bio": [0.1]}, r"absent \['top'\]"), ({"bio": [0.1], "top": [0.1], "x": [1]}, r"unknown \['x'\]"),
    ({"bio": [0.1], "top": []}, r"alphas\['top'\] is empty"),
    ([{"default": 0.5}], "one α for all layers is swept, and tune_layers"),
    ("0.5", "list of numbers"), (0.5, "list of numbers"),
    ({"bio": 0.5, "top": [1]}, r"alphas\['bio'\].*list of numbers"),
])
def test_grids_that_name_no_vector_are_refused(two_vectors, alphas, message):
    with pytest.raises((TypeError, ValueError), match=message):
        sweep(two_vectors, small_run(3), small_qrels(), alphas=alphas, verbose=False)


def test_values_for_each_query_are_pyterrier_s(reranker):
    run, qrels = small_run(3), small_qrels()
    swept = sweep(reranker, run, qrels, alphas=ALPHAS, weights=[0.3], measures=nDCG @ 10, perquery=True, verbose=False)
    assert list(swept.columns) == ["alpha", "weight", "measure", "qid", "value"]
    from pyterrier_taskarith import Mix
    for alpha, rows in swept.groupby("alpha"):
        each = pt.Evaluate(Mix(reranker.copy(alpha=alpha), weight=0.3)(run), qrels, metrics=[nDCG @ 10], perquery=True)
        assert dict(zip(rows["qid"], rows["value"], strict=True)) == {
            qid: pytest.approx(values["nDCG@10"]) for qid, values in each.items()}
    assert any("interval of the mean" in text.get_text() for axes in plot_alpha(swept, weights=(0.3,)).axes
               for text in axes.get_legend().get_texts())


def test_equal_first_stage_scores_leave_the_order_to_the_reranker(reranker):
    run, qrels = small_run(3).assign(score=1.0), small_qrels()
    swept = sweep(reranker, run, qrels, alphas=[0.5], weights=[0.0, 0.3, 1.0], verbose=False)
    _, mixed, alone = swept["value"]
    assert mixed == alone == pytest.approx(brute(reranker, run, qrels, nDCG @ 10, 0.5, 1.0), abs=1e-12)


def test_a_grid_of_one_alpha_and_queries_without_judgements(reranker):
    run, qrels = small_run(3), small_qrels()
    not_asked = pd.DataFrame({"qid": ["not asked"], "docno": ["d1"], "label": [1]})
    judged = pd.concat([qrels[qrels["qid"] != "0"], not_asked])
    tuned = tune(reranker, run, judged, alphas=[0.5], weights=[1.0], verbose=False)
    kept = run[run["qid"] != "0"]
    assert tuned.alpha == 0.5 and "edge" not in str(tuned)
    assert tuned.value == pytest.approx(brute(reranker, kept, qrels[qrels["qid"] != "0"], nDCG @ 10, 0.5, 1.0))
