"""sweep and tune against brute force over pipelines and pt.Experiment."""

import pandas as pd
import pyterrier as pt
import pytest
from ir_measures import AP, nDCG

from pyterrier_taskarith import Mix, TaskArithReranker, plot_alpha, sweep, tune
from pyterrier_taskarith.tuning import best_setting, sweep_runs
from testing import bert_triple, passages, questions

ALPHAS, WEIGHTS = [0.0, 0.5, 1.0], [0.0, 0.3, 1.0]


@pytest.fixture(scope="module")
def reranker(tmp_path_factory):
    triple = bert_triple(tmp_path_factory.mktemp("triple"))
    return TaskArithReranker(triple.ranker, triple.domain, triple.base, alpha=0.7, verbose=False)


@pytest.fixture(scope="module")
def run():
    texts, asked = passages(12, seed=3, longest=40), questions(5, seed=4)
    rows = [(str(q), query, f"d{(q + place) % 12}", texts[(q + place) % 12], 10.0 - place * (1 + q / 10))
            for q, query in enumerate(asked) for place in range(8)]
    return pd.DataFrame(rows, columns=["qid", "query", "docno", "text", "score"])


@pytest.fixture(scope="module")
def qrels():
    return pd.DataFrame([(str(q), f"d{(q + place) % 12}", 1) for q in range(5) for place in (2, 5)],
                        columns=["qid", "docno", "label"])


@pytest.fixture(scope="module")
def brute(reranker, run, qrels):
    """alpha, weight -> {measure: mean}, by pt.Experiment around Mix."""
    topics = run[["qid", "query"]].drop_duplicates()
    found = {}
    for alpha in ALPHAS:
        for weight in WEIGHTS:
            ranked = Mix(reranker.copy(alpha=alpha), weight=weight)(run)
            found[alpha, weight] = pt.Experiment([ranked], topics, qrels, [nDCG @ 10, AP @ 3]).iloc[0]
    return found


def test_sweep_is_pt_experiment_at_every_setting(reranker, run, qrels, brute):
    swept = sweep(reranker, run, qrels, alphas=ALPHAS, weights=WEIGHTS, measures=[nDCG @ 10, AP @ 3], verbose=False)
    assert list(swept.columns) == ["alpha", "weight", "measure", "value"]
    assert len(swept) == 18
    for row in swept.itertuples():
        assert row.value == pytest.approx(brute[row.alpha, row.weight][row.measure], abs=1e-12)


def test_sweep_scores_once_an_alpha_and_leaves_alpha_alone(tmp_path, run, qrels):
    triple = bert_triple(tmp_path, seed=5)
    reranker = TaskArithReranker(triple.ranker, triple.domain, triple.base, alpha=0.7, verbose=False)
    sweep(reranker, run, qrels, alphas=ALPHAS, weights=WEIGHTS, verbose=False)
    assert reranker.model.scorer.pairs_scored == len(ALPHAS) * len(run)
    assert reranker.alpha == 0.7


def test_sweep_does_not_depend_on_row_order(reranker, run, qrels):
    ordered = sweep(reranker, run, qrels, alphas=ALPHAS, weights=WEIGHTS, verbose=False)
    shuffled = sweep(reranker, run.sample(frac=1, random_state=1), qrels, alphas=ALPHAS, weights=WEIGHTS, verbose=False)
    assert shuffled["value"].tolist() == pytest.approx(ordered["value"].tolist(), abs=1e-12)


def test_a_query_of_topics_without_results_counts_as_zero(reranker, run, qrels):
    topics = pd.DataFrame({"qid": ["0", "1", "2", "3", "4", "lost"], "query": "x"})
    judged = pd.concat([qrels, pd.DataFrame({"qid": ["lost"], "docno": ["d1"], "label": [1]})])
    without = sweep(reranker, run, judged, alphas=[0.5], weights=[0.3], verbose=False)["value"][0]
    within = sweep(reranker, run, judged, alphas=[0.5], weights=[0.3], topics=topics, verbose=False)["value"][0]
    assert within == pytest.approx(without * 5 / 6)


def test_tune_is_the_best_of_brute_force(reranker, run, qrels, brute):
    tuned = tune(reranker, run, qrels, alphas=ALPHAS, weights=WEIGHTS, verbose=False)
    values = {setting: means["nDCG@10"] for setting, means in brute.items()}
    best = max(values.values())
    ties = [setting for setting, value in values.items() if value > best - 1e-12]
    assert (tuned.alpha, tuned.weight) == min(ties)
    assert tuned.value == pytest.approx(best)
    assert tuned.reranker == reranker.copy(alpha=tuned.alpha)
    assert tuned.reranker.model is reranker.model
    assert tuned.mix == Mix(tuned.reranker, weight=tuned.weight)


def test_alpha_first_takes_the_best_alpha_alone_then_its_weight(reranker, run, qrels, brute):
    tuned = tune(reranker, run, qrels, alphas=ALPHAS, weights=[0.0, 0.3], order="alpha-first", verbose=False)
    alpha = max(ALPHAS, key=lambda alpha: brute[alpha, 1.0]["nDCG@10"])
    weight = max([0.0, 0.3], key=lambda weight: brute[alpha, weight]["nDCG@10"])
    assert (tuned.alpha, tuned.weight) == (alpha, weight)


def test_among_reads_a_part_of_the_grid_without_scoring(reranker, run, qrels, brute):
    tuned = tune(reranker, run, qrels, alphas=ALPHAS, weights=WEIGHTS, verbose=False)
    scored = reranker.model.scorer.pairs_scored
    alone = tuned.among(weights=[1.0])
    assert alone.value == pytest.approx(max(brute[alpha, 1.0]["nDCG@10"] for alpha in ALPHAS))
    assert alone.weight == 1.0
    assert reranker.model.scorer.pairs_scored == scored
    with pytest.raises(ValueError, match="no setting"):
        tuned.among(weights=[0.77])


@pytest.mark.parametrize("ties, expected", [("smallest", (0.0, 0.0)), ("largest", (-1.0, 0.3))])
def test_ties_follow_the_stated_rule(reranker, run, ties, expected):
    # The one relevant document is first or last for every system: all settings are equal.
    everything = run[["qid", "docno"]].assign(label=1)
    tuned = tune(reranker, run, everything, alphas=[0.0, -1.0, 0.5], weights=[0.0, 0.3], prefer=ties, verbose=False)
    assert (tuned.alpha, tuned.weight) == expected


def test_stored_runs_are_evaluated_as_a_sweep_without_scoring(reranker, run, qrels):
    swept = sweep(reranker, run, qrels, alphas=ALPHAS, weights=WEIGHTS, measures=["nDCG@10", "AP"], verbose=False)
    stored = {alpha: reranker.copy(alpha=alpha)(run)[["qid", "docno", "score"]].sample(frac=1, random_state=2)
              for alpha in ALPHAS}
    bare, options = run.drop(columns=["query", "text"]), {"weights": WEIGHTS, "measures": ["nDCG@10", "AP"]}
    scored = reranker.model.scorer.pairs_scored
    pd.testing.assert_frame_equal(sweep_runs(stored, bare, qrels, **options), swept, check_exact=True)
    two = sweep_runs({alpha: {"a": each, "b": each} for alpha, each in stored.items()}, {"a": bare, "b": bare},
                     {"a": qrels, "b": qrels}, **options)
    assert two[two["collection"] == "average"]["value"].tolist() == swept["value"].tolist()
    assert reranker.model.scorer.pairs_scored == scored
    with pytest.raises(ValueError, match="a run of 39 rows is not of the 40 rows"):
        sweep_runs({0.5: stored[0.5].head(39)}, bare, qrels)


#: The mean of three queries' values, and the same values in another order: apart in the last bit.
NEARLY = sum([0.3, 0.2, 0.1]) / 3, sum([0.1, 0.2, 0.3]) / 3


@pytest.mark.parametrize("values", [NEARLY, NEARLY[::-1]])
@pytest.mark.parametrize("prefer, expected", [("smallest", (0.1, 0.4)), ("largest", (-0.9, 0.6))])
def test_means_that_differ_in_the_last_bit_tie(values, prefer, expected):
    assert values[0] != values[1]
    rows = pd.DataFrame({"alpha": [0.1, -0.9, 0.1, -0.9, 0.5], "weight": [0.4, 0.6, 0.6, 0.4, 0.5], "measure": "AP",
                         "value": [*values, *values[::-1], 0.1]})
    for order in (slice(None), slice(None, None, -1)):
        best = best_setting(rows[order], prefer=prefer)
        assert (best["alpha"], best["weight"]) == expected
    # .1 + .2 and .3 are equally far from 0.
    rows = pd.DataFrame({"alpha.a": [0.1, 0.3], "alpha.b": [0.2, 0.0], "weight": [0.5, 0.4], "measure": "AP",
                         "value": values})
    assert best_setting(rows, prefer="smallest")["weight"] == 0.4


def test_the_old_name_of_prefer_still_works(reranker, run, qrels):
    everything = run[["qid", "docno"]].assign(label=1)
    with pytest.warns(DeprecationWarning, match="prefer="):
        tuned = tune(reranker, run, everything, alphas=[0.0, 1.0], weights=[0.3], ties="largest", verbose=False)
    assert tuned.alpha == 1
    with pytest.raises(ValueError, match="prefer='nearest': choose"):
        tune(reranker, run, qrels, prefer="nearest", verbose=False)


@pytest.mark.parametrize("change, message", [
    ({"alphas": []}, "alphas is empty"),
    ({"alphas": [0.1, 0.1]}, "distinct"),
    ({"alphas": [float("nan")]}, "finite"),
    ({"weights": [1.5]}, "from 0 to 1"),
    ({"measures": "nDCQ@10"}, "nDCQ@10"),
])
def test_bad_grids_are_refused(reranker, run, qrels, change, message):
    with pytest.raises(ValueError, match=message):
        sweep(reranker, run, qrels, verbose=False, **change)


def test_bad_runs_are_refused(reranker, run, qrels):
    with pytest.raises(ValueError, match="lacks the columns.*text"):
        sweep(reranker, run.drop(columns="text"), qrels, verbose=False)
    with pytest.raises(ValueError, match="'d0' twice for query '0'"):
        sweep(reranker, pd.concat([run, run.head(1)]), qrels, verbose=False)
    with pytest.raises(ValueError, match="no query of the run .* has judgements"):
        sweep(reranker, run, qrels.assign(qid="z"), verbose=False)
    with pytest.raises(ValueError, match="order"):
        tune(reranker, run, qrels, order="both", verbose=False)


def test_the_curve_is_drawn_and_written(reranker, run, qrels, tmp_path):
    swept = sweep(reranker, run, qrels, alphas=ALPHAS, weights=[0.3, 1.0], verbose=False)
    figure = plot_alpha(swept, weights=(1.0, 0.3), levels={"BM25": 0.5}, chosen=(0.5, 0.3), path=tmp_path / "curve.png")
    alone, mixed = figure.axes
    assert list(alone.lines[0].get_ydata()) == swept[swept["weight"] == 1.0]["value"].tolist()
    assert list(mixed.lines[0].get_ydata()) == swept[swept["weight"] == 0.3]["value"].tolist()
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="no 'AP'"):
        plot_alpha(swept, measure="AP")
