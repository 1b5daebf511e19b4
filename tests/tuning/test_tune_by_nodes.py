"""Tuning by five nodes: interpolated where it says so, exact where it decides."""

import pytest
from ir_measures import nDCG

from pyterrier_taskarith import TaskArithReranker, sweep, tune
from pyterrier_taskarith.tuning import ALPHAS, NODES, AlphaCurve
from testing import bert_triple
from tests.tuning.small import brute, small_qrels, small_run

WEIGHTS = [0.0, 0.3, 1.0]


@pytest.fixture
def reranker(tmp_path):
    triple = bert_triple(tmp_path)
    return TaskArithReranker(triple.ranker, triple.domain, triple.base, verbose=False)


def test_rows_say_whether_they_are_interpolated(reranker):
    run, qrels = small_run(3), small_qrels()
    swept = sweep(reranker, run, qrels, weights=WEIGHTS, nodes=NODES, verbose=False)
    assert set(swept.loc[~swept["interpolated"], "alpha"]) == {0.0, 0.3, 0.6, 0.9}
    assert len(swept) == len(ALPHAS) * len(WEIGHTS)
    exact = swept[~swept["interpolated"]]
    for row in exact.itertuples():
        assert row.value == pytest.approx(brute(reranker, run, qrels, nDCG @ 10, row.alpha, row.weight), abs=1e-12)


@pytest.mark.parametrize("order", ["joint", "alpha-first"])
def test_the_chosen_alpha_is_scored_exactly(reranker, order):
    run, qrels = small_run(7), small_qrels((1, 6))
    tuned = tune(reranker, run, qrels, alphas=[0.1, 0.45, 0.8, 1.1], weights=WEIGHTS, nodes=NODES, order=order,
                 verbose=False)
    assert tuned.value == pytest.approx(brute(reranker, run, qrels, nDCG @ 10, tuned.alpha, tuned.weight), abs=1e-12)
    at = tuned.evidence[tuned.evidence["alpha"] == tuned.alpha]
    assert not at["interpolated"].any() and tuned.evidence["interpolated"].any()
    for row in at.itertuples():
        assert row.value == pytest.approx(brute(reranker, run, qrels, nDCG @ 10, row.alpha, row.weight), abs=1e-12)
    curve = AlphaCurve(reranker, run, verbose=False)
    assert tuned.error["kendall"].min() == pytest.approx(curve.error["kendall"].min())
    assert "other α interpolated: with one node left out, Kendall τ" in str(tuned)


def test_several_sets_are_averaged(reranker):
    run = {"one": small_run(3), "two": small_run(9, queries=4)}
    qrels = {"one": small_qrels(), "two": small_qrels((0, 3, 7), queries=4)}
    tuned = tune(reranker, run, qrels, alphas=[0.2, 0.7], weights=[1.0], nodes=NODES, verbose=False)
    assert tuned.value == pytest.approx(sum(
        brute(reranker, run[name], qrels[name], nDCG @ 10, tuned.alpha, 1.0) for name in run) / 2, abs=1e-12)
    assert set(tuned.error["collection"]) == {"one", "two"}


@pytest.mark.parametrize(("change", "message"), [
    ({"nodes": (0, 0.5, 1)}, "at least 5"), ({"alphas": [2.0]}, "outside the nodes"),
    ({"resume": "file"}, "leave one out"), ({"alphas": {"domain": [0.5]}}, "nodes lie along one α"),
])
@pytest.mark.parametrize("use", [sweep, tune])
def test_what_nodes_cannot_do_is_refused(reranker, use, change, message):
    with pytest.raises(ValueError, match=message):
        use(reranker, small_run(3), small_qrels(), **{"nodes": NODES, "verbose": False, **change})
