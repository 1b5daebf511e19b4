"""On a real collection, tuning chooses what brute force chooses, and what PyTerrier's own search chooses."""

import os
from pathlib import Path

import pyterrier as pt
import pytest
from ir_measures import nDCG

from pyterrier_taskarith import Mix, TaskArithReranker, tune
from pyterrier_taskarith.collection import read_collection
from pyterrier_taskarith.demo import demo_models
from pyterrier_taskarith.first_stage import first_stage
from pyterrier_taskarith.tuning import NODES
from tests.tuning._small import brute

ALPHAS, WEIGHTS = [0.0, 0.3, 0.7, 1.0], [0.0, 0.2, 0.5, 1.0]

pytestmark = [pytest.mark.java, pytest.mark.skipif("TASKARITH_SHARED" not in os.environ,
                                                   reason="needs real collections in TASKARITH_SHARED")]


@pytest.fixture(scope="module")
def scifact(tmp_path_factory):
    folder = Path(os.environ["TASKARITH_SHARED"]) / "data" / "collections"
    collection = read_collection(folder / "scifact", development=folder / "scifact_train")
    topics = collection.topics["dev"].head(30)
    run = first_stage(collection.documents, tmp_path_factory.mktemp("index") / "bm25")(topics)
    qrels = collection.qrels["dev"]
    return topics, run[run["rank"] < 30].reset_index(drop=True), qrels[qrels["qid"].isin(topics["qid"])]


@pytest.fixture(scope="module")
def reranker():
    return TaskArithReranker(**demo_models(), alpha=0.5, verbose=False)


@pytest.fixture(scope="module")
def values(reranker, scifact):
    _, run, qrels = scifact
    return {(alpha, weight): brute(reranker, run, qrels, nDCG @ 10, alpha, weight)
            for alpha in ALPHAS for weight in WEIGHTS}


def test_tune_and_grid_search_choose_brute_force_s_setting(reranker, scifact, values):
    topics, run, qrels = scifact
    best = max(values.values())
    winners = [setting for setting, value in values.items() if value > best - 1e-12]
    tuned = tune(reranker, run, qrels, alphas=ALPHAS, weights=WEIGHTS, topics=topics, verbose=False)
    assert (tuned.alpha, tuned.weight) == min(winners) and tuned.value == pytest.approx(best)
    searched = reranker.copy(alpha=0.5)
    mix = Mix(searched, weight=0.5)
    pt.GridSearch(pt.Transformer.from_df(run) >> mix, {searched: {"alpha": ALPHAS}, mix: {"weight": WEIGHTS}}, topics,
                  qrels, "ndcg_cut_10")
    assert (searched.alpha, mix.weight) in winners


def test_five_nodes_choose_a_setting_as_good(reranker, scifact, values):
    topics, run, qrels = scifact
    tuned = tune(reranker, run, qrels, alphas=ALPHAS, weights=WEIGHTS, topics=topics, nodes=NODES, verbose=False)
    assert tuned.value == pytest.approx(values[tuned.alpha, tuned.weight])
    assert tuned.value > max(values.values()) - 0.005  # what five nodes cost at worst, measured on 14 collections
