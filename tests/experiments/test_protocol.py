"""α first, then λ: by hand on small runs."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from experiments import protocol
from experiments.datasets import DATASETS
from experiments.protocol import ALPHAS, LAMBDAS, Choice, best_alpha, choose_alpha, choose_lambda, mixed, values
from experiments.systems import SYSTEMS

SCIFACT, NFCORPUS, SCIDOCS = DATASETS[:3]
SYSTEM = SYSTEMS[-2]
#: BM25's ranking is a, b, c; the relevant document is b.
FIRST = pd.DataFrame({"qid": "q", "query": "words", "docno": ["a", "b", "c"], "text": "", "score": [9.0, 6.0, 5.0]})


def run_with(b: float) -> pd.DataFrame:
    """Returns a re-ranker's run in which b has a given score between c's 1 and a's 0."""
    return pd.DataFrame({"qid": "q", "docno": ["c", "b", "a"], "score": [1.0, b, 0.0]})


class Bench:
    """Gives runs made up from α, and keeps what was asked for."""

    def __init__(self, score_of_b) -> None:
        self.score_of_b, self.asked = score_of_b, []

    def data(self, dataset):
        topics, qrels = pd.DataFrame({"qid": ["q"], "query": ["words"]}), pd.DataFrame(
            {"qid": ["q"], "docno": ["b"], "label": [1]})
        return SimpleNamespace(topics={"dev": topics}, qrels={"dev": qrels})

    def first(self, dataset, split):
        return FIRST

    def neural(self, system, dataset, split, variant, alpha):
        self.asked.append((dataset.name, split, variant, alpha))
        return run_with(self.score_of_b(dataset.name, alpha))


def test_lambda_is_bm25_s_weight():
    found = mixed(FIRST, run_with(0.5), 0.8).set_index("docno")["score"]
    assert found["a"] == pytest.approx(0.8 * 1 + 0.2 * 0)
    assert found["b"] == pytest.approx(0.8 * 0.25 + 0.2 * 0.5)
    assert found["c"] == pytest.approx(0.8 * 0 + 0.2 * 1)
    assert mixed(FIRST, run_with(0.5), 1.0)["docno"].iloc[np.argmin(mixed(FIRST, run_with(0.5), 1.0)["rank"])] == "a"


def test_values_are_ndcg_at_each_lambda():
    bench = Bench(lambda name, alpha: 0.9)
    found = values(bench, SCIFACT, run_with(0.9), [0.0, 0.5, 1.0])
    # b is second behind c, first (.25/2 + .9/2 = .575 against .5 and .5), second behind a.
    assert found == pytest.approx([1 / np.log2(3), 1.0, 1 / np.log2(3)])


def test_a_run_of_other_rows_is_an_error():
    with pytest.raises(ValueError, match="a run of 2 rows is not of the 3 rows"):
        mixed(FIRST, run_with(0.5).head(2), 0.5)
    with pytest.raises(ValueError, match="not of the 3 rows"):
        mixed(FIRST, run_with(0.5).replace("a", "d"), 0.5)


def test_of_equal_alphas_the_largest_is_taken_rounding_aside():
    assert best_alpha(pd.Series({0.1: (0.723 + 0.334) / 2, 0.3: 0.5, 0.5: (0.724 + 0.333) / 2})) == 0.5
    assert best_alpha(pd.Series({0.1: 0.6, 0.5: 0.5})) == 0.1
    assert best_alpha(pd.Series({0.1: 0.6, 0.5: float("nan")})) == 0.1


def test_alpha_is_chosen_by_the_average_of_both_sets_and_both_readings_are_kept():
    # b comes first alone above 1; half with BM25 (b has .25, a has 1, c has 0) above .75.
    peaks = {"SciFact": (0.3, 0.7), "NFCorpus": (0.7,)}
    bench = Bench(lambda name, alpha: 1.5 if alpha in peaks[name] else 0.8 if alpha == 0.9 else 0.1)
    alone = choose_alpha(bench, SYSTEM, [SCIFACT, NFCORPUS], "alone")
    assert alone.alpha == 0.7 == alone.alpha_of("alone")
    assert alone.alpha_of("half") == 0.9
    assert choose_alpha(bench, SYSTEM, [SCIFACT, NFCORPUS], "half").alpha == 0.9
    assert bench.asked[:20] == [(name, "dev", "Θ' (α tuned)", alpha) for name in ("SciFact", "NFCorpus")
                                for alpha in ALPHAS]
    only = choose_alpha(bench, SYSTEM, [SCIFACT], "alone")
    assert (only.alpha, set(only.curves["dataset"])) == (0.7, {"SciFact"})


def test_the_distance_to_the_paper_is_a_mean_over_its_figures():
    theirs = protocol.printed_curves()
    theirs = theirs[theirs["system"] == SYSTEM.name]
    shifted = theirs.assign(value=theirs["value"] + np.where(theirs["dataset"] == "SciFact", 0.02, -0.04))
    curves = pd.concat([theirs.assign(reading="alone"), shifted.assign(reading="half")], ignore_index=True)
    choice = Choice(SYSTEM.name, "alone", 0.5, curves)
    assert choice.distance("alone") == 0
    assert choice.distance("half") == pytest.approx(0.03)
    assert np.isnan(Choice("Mine", "alone", 0.5, curves).distance("alone"))


def test_lambda_is_tuned_where_the_dataset_says_and_leans_on_bm25_where_it_does_not_matter():
    bench = Bench(lambda name, alpha: 0.9)
    weight, curve = choose_lambda(bench, SYSTEM, SCIFACT, "Θ_0", None)
    best = [each for each, value in zip(LAMBDAS, values(bench, SCIFACT, run_with(0.9), LAMBDAS),
                                        strict=True) if value == 1]
    assert weight == max(best)
    assert curve.index.tolist() == list(LAMBDAS)
    assert bench.asked == [("SciFact", "dev", "Θ_0", None)]
    # b is behind a with BM25 and behind a and c with the re-ranker: BM25 alone is best.
    assert choose_lambda(Bench(lambda name, alpha: -1.0), SYSTEM, SCIFACT, "Θ_0", None)[0] == 1.0
    weight, curve = choose_lambda(bench, SYSTEM, SCIDOCS, "Θ_0", None)
    assert (weight, len(curve)) == (0.5, 0)
    assert len(bench.asked) == 1
