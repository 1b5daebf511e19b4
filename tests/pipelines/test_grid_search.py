"""PyTerrier's own searches over α × weight: one scoring per α, the setting of brute force, and a tuned pipeline."""

import ir_measures
import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_taskarith import Mix, TaskArithReranker, TaskVector
from tests.pipelines.real_text import DEMO, candidates, qrels, topics
from tests.reranking import assert_scores_agree

ALPHAS = [round(0.1 * step, 1) for step in range(11)]
WEIGHTS = [round(0.1 * step, 1) for step in range(11)]
MEASURE = "ndcg_cut_10"


def unit(scores: pd.Series) -> pd.Series:
    return (scores - scores.min()) / (scores.max() - scores.min())


@pytest.fixture(scope="module")
def surface():
    """nDCG@10 for every (α, weight), fused and evaluated by hand."""
    frame, judged = candidates(12, 15).copy(), qrels(topics(12))
    judged = judged.rename(columns={"qid": "query_id", "docno": "doc_id", "label": "relevance"})
    frame["first"] = frame.groupby("qid")["score"].transform(unit)
    values = {}
    for alpha in ALPHAS:
        alone = TaskArithReranker(*DEMO, alpha=alpha, verbose=False).transform(frame)
        frame["neural"] = alone.groupby("qid")["score"].transform(unit)
        for weight in WEIGHTS:
            run = pd.DataFrame({"query_id": frame["qid"], "doc_id": frame["docno"],
                                "score": weight * frame["neural"] + (1 - weight) * frame["first"]})
            values[alpha, weight] = ir_measures.calc_aggregate([ir_measures.nDCG @ 10], judged, run)[
                ir_measures.nDCG @ 10]
    assert len({round(value, 6) for value in values.values()}) > 60  # there is something to choose
    return values


@pytest.fixture
def fresh():
    """A re-ranker with a model of its own, and so with counters of its own."""
    return TaskArithReranker(*DEMO, alpha=0.7, verbose=False, batch_tokens=1500)


def best_of(surface: dict[tuple[float, float], float]) -> tuple[float, float]:
    """Returns the first setting with the highest value, α outermost, as GridSearch goes through them."""
    return max(surface, key=lambda setting: surface[setting])


@pytest.mark.slow
def test_eleven_alphas_by_eleven_weights_score_the_collection_eleven_times(first, fresh, surface):
    mix = Mix(fresh)
    pipeline = first >> mix
    tuned, value, setting = pt.GridSearch(pipeline, {fresh: {"alpha": ALPHAS}, mix: {"weight": WEIGHTS}}, topics(12),
                                          qrels(topics(12)), MEASURE, return_type="both")
    pairs = len(candidates(12, 15)[["query", "text"]].drop_duplicates())
    assert fresh.model.scorer.pairs_scored == 11 * pairs
    assert fresh.model.weights.switches == 11
    best = best_of(surface)
    assert (fresh.alpha, mix.weight) == best and value == pytest.approx(surface[best], abs=1e-12)
    assert [(name, chosen) for _, name, chosen in setting] == [("alpha", best[0]), ("weight", best[1])]
    assert tuned is pipeline and setting[0][0] is fresh and setting[1][0] is mix
    again = pt.Experiment([tuned], topics(12), qrels(topics(12)), [MEASURE])[MEASURE][0]
    assert again == pytest.approx(surface[best], abs=1e-12)


def test_a_grid_scan_gives_every_value(first, fresh, surface):
    mix = Mix(fresh)
    scan = pt.GridScan(first >> mix, {fresh: {"alpha": [0.0, 0.5, 1.0]}, mix: {"weight": [0.2, 0.8]}}, topics(12),
                       qrels(topics(12)), [MEASURE])
    assert len(scan) == 6
    for row in scan.itertuples():
        assert getattr(row, MEASURE) == pytest.approx(surface[row.tran_0_alpha, row.tran_1_weight], abs=1e-12)


@pytest.mark.slow
def test_a_grid_scan_of_several_measures_scores_once_an_alpha_and_is_brute_force(first, fresh):
    mix, measures = Mix(fresh), [MEASURE, "map", ir_measures.P @ 3]
    alphas, weights = [0.0, 0.5, 1.0], [0.2, 0.6, 1.0]
    scan = pt.GridScan(first >> mix, {fresh: {"alpha": alphas}, mix: {"weight": weights}}, topics(12),
                       qrels(topics(12)), measures)
    assert fresh.model.scorer.pairs_scored == 3 * len(candidates(12, 15)[["query", "text"]].drop_duplicates())
    assert len(scan) == 9
    alone = TaskArithReranker(*DEMO, verbose=False)
    for row in scan.to_dict("records"):
        by_hand = Mix(alone.copy(alpha=row["tran_0_alpha"]), row["tran_1_weight"]).transform(candidates(12, 15))
        expected = pt.Evaluate(by_hand, qrels(topics(12)), metrics=measures)
        assert {name: pytest.approx(row[name], abs=1e-12) for name in (MEASURE, "map", "P@3")} == expected


def test_pyterriers_search_counts_every_judged_query_and_takes_trec_evals_names_alone(first, fresh):
    """What README says of it; where this fails, PyTerrier has changed, and README should."""
    mix = Mix(fresh)
    grid, judged = {fresh: {"alpha": [0.5]}, mix: {"weight": [0.5]}}, qrels(topics(12))
    not_asked = pd.DataFrame({"qid": [f"new{number}" for number in range(12)], "docno": "d", "label": 1})
    value, more = (pt.GridSearch(first >> mix, grid, topics(12), given, MEASURE, return_type="best_setting")[0]
                   for given in (judged, pd.concat([judged, not_asked])))
    assert more == pytest.approx(value / 2) and value > 0.1
    with pytest.raises(KeyError):
        pt.GridSearch(first >> mix, grid, topics(12), judged, ir_measures.nDCG @ 10)


def test_the_setting_alone_leaves_the_pipeline_as_it_was(first, fresh, surface):
    mix = Mix(fresh, weight=0.3)
    value, setting = pt.GridSearch(first >> mix, {fresh: {"alpha": [0.0, 0.5]}, mix: {"weight": [0.5, 1.0]}},
                                   topics(12), qrels(topics(12)), MEASURE, return_type="best_setting")
    few = {key: surface[key] for key in surface if key[0] in (0.0, 0.5) and key[1] in (0.5, 1.0)}
    assert tuple(chosen for _, _, chosen in setting) == best_of(few) and value == pytest.approx(max(few.values()))
    assert (fresh.alpha, mix.weight) == (0.7, 0.3)


def test_numpy_grids_are_welcome(first, fresh):
    mix = Mix(fresh)
    pt.GridSearch(first >> mix, {fresh: {"alpha": np.linspace(0, 1, 3, dtype=np.float32)},
                                 mix: {"weight": np.array([0.5, 1.0])}}, topics(12), qrels(topics(12)), MEASURE)
    assert type(fresh.alpha) is float and type(mix.weight) is float


def test_alphas_of_several_vectors_are_searched(first):
    vector = TaskVector(DEMO[1], DEMO[2])
    r = TaskArithReranker(DEMO[0], vectors={"a": vector, "b": vector.layers("0")}, alpha=0.5, verbose=False)
    value, setting = pt.GridSearch(first >> r, {r: {"alpha.a": [0.0, 0.6], "alpha.b": [-0.4, 0.0, 0.4]}}, topics(12),
                                   qrels(topics(12)), MEASURE, return_type="best_setting")
    brute = {}
    for a in (0.0, 0.6):
        for b in (-0.4, 0.0, 0.4):
            run = pt.Transformer.from_df(r.copy(alpha={"a": a, "b": b}).transform(candidates(12, 15)))
            brute[a, b] = pt.Experiment([run], topics(12), qrels(topics(12)), [MEASURE])[MEASURE][0]
    assert tuple(chosen for _, _, chosen in setting) == max(brute, key=brute.get)
    assert value == pytest.approx(max(brute.values())) and r.alpha == {"a": 0.5, "b": 0.5}


def test_folds_are_tuned_on_the_others_and_settings_restored(first, fresh):
    mix = Mix(fresh, weight=0.3)
    queries, judged = topics(12), qrels(topics(12))
    folds = [queries.iloc[:6], queries.iloc[6:]]
    grid = {fresh: {"alpha": [0.0, 0.5, 1.0]}, mix: {"weight": [0.5, 1.0]}}
    results, settings = pt.KFoldGridSearch(first >> mix, grid, folds, judged, MEASURE)
    assert (fresh.alpha, mix.weight) == (0.7, 0.3) and set(results["qid"]) == set(queries["qid"])
    for fold, other, setting in zip(folds, reversed(folds), settings, strict=True):
        alone = TaskArithReranker(*DEMO, verbose=False)
        by_hand = Mix(alone)
        _, expected = pt.GridSearch(first >> by_hand, {alone: {"alpha": [0.0, 0.5, 1.0]}, by_hand: {
            "weight": [0.5, 1.0]}}, other, judged, MEASURE, return_type="best_setting")
        assert [chosen for _, _, chosen in setting] == [chosen for _, _, chosen in expected]
        alone.alpha, by_hand.weight = (chosen for _, _, chosen in expected)
        ours = results[results["qid"].isin(fold["qid"])].set_index(["qid", "docno"])["score"].sort_index()
        wanted = (first >> by_hand).transform(fold).set_index(["qid", "docno"])["score"].sort_index()
        np.testing.assert_allclose(ours, wanted, atol=1e-6)


@pytest.mark.slow
@pytest.mark.long
def test_two_jobs_give_the_same_setting_and_a_tuned_pipeline(first, fresh, surface):
    pytest.importorskip("joblib")
    mix = Mix(fresh)
    pipeline = first >> mix
    few = {(alpha, weight): surface[alpha, weight] for alpha in (0.0, 0.5, 1.0) for weight in (0.5, 1.0)}
    tuned, value, setting = pt.GridSearch(pipeline, {fresh: {"alpha": [0.0, 0.5, 1.0]}, mix: {"weight": [0.5, 1.0]}},
                                          topics(12), qrels(topics(12)), MEASURE, jobs=2, return_type="both")
    assert tuned is pipeline and setting[0][0] is fresh and setting[1][0] is mix
    assert (fresh.alpha, mix.weight) == best_of(few) and value == pytest.approx(max(few.values()), abs=1e-9)


@pytest.mark.slow
def test_two_processes_score_as_one(first, fresh):
    pytest.importorskip("joblib")
    with pytest.warns(UserWarning, match="parallel.* is experimental"):
        parallel = fresh.parallel(2)
    ours = parallel.transform(candidates(12, 15)).set_index(["qid", "docno"])["score"].sort_index()
    alone = fresh.transform(candidates(12, 15)).set_index(["qid", "docno"])["score"].sort_index()
    assert_scores_agree(ours, alone)
