"""On real text, tuning chooses what brute force chooses, by every rule, and what PyTerrier's own search chooses."""

import itertools
import os
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyterrier as pt
import pytest
from ir_measures import Success, nDCG

from pyterrier_taskarith import Mix, TaskArithReranker, sweep, tune
from pyterrier_taskarith.data import read_collection
from pyterrier_taskarith.demo import demo_models
from pyterrier_taskarith.terrier import first_stage
from pyterrier_taskarith.tuning import NODES
from tests.pipelines import real_text
from tests.tuning.small import brute

ALPHAS, WEIGHTS = [0.0, 0.3, 0.7, 1.0], [0.0, 0.2, 0.5, 1.0]
SETTINGS = list(itertools.product(ALPHAS, WEIGHTS))
#: Few values, so that settings tie.
COARSE = Success @ 3

SHARED = [pytest.mark.java, pytest.mark.skipif("TASKARITH_SHARED" not in os.environ,
                                               reason="needs real collections in TASKARITH_SHARED")]


class Data(NamedTuple):
    topics: pd.DataFrame
    run: pd.DataFrame
    qrels: pd.DataFrame

    def of(self, topics: pd.DataFrame) -> "Data":
        return Data(topics, *(frame[frame["qid"].isin(topics["qid"])].reset_index(drop=True)
                              for frame in (self.run, self.qrels)))


@pytest.fixture(scope="module", params=["docstrings", pytest.param("scifact", marks=SHARED)])
def data(request, tmp_path_factory):
    """Thirty judged queries with a first stage's best documents."""
    if request.param == "docstrings":
        topics = real_text.topics(30)
        return Data(topics, real_text.candidates(30, 15), real_text.qrels(topics))
    folder = Path(os.environ["TASKARITH_SHARED"]) / "data" / "collections"
    collection = read_collection(folder / "scifact", development=folder / "scifact_train")
    topics = collection.topics["dev"].head(30)
    run = first_stage(collection.documents, tmp_path_factory.mktemp("index") / "bm25")(topics)
    return Data(topics, run[run["rank"] < 30], collection.qrels["dev"]).of(topics)


@pytest.fixture(scope="module")
def sets(data):
    """Two development sets of unequal size: their mean is not the mean over all queries."""
    return {"ten": data.of(data.topics.head(10)), "twenty": data.of(data.topics.tail(20))}


@pytest.fixture(scope="module")
def reranker():
    return TaskArithReranker(**demo_models(), alpha=0.5, verbose=False)


def by_brute_force(reranker, data, measure):
    return {setting: brute(reranker, data.run, data.qrels, measure, *setting) for setting in SETTINGS}


def winners(values):
    """The settings that are best but for the last bits."""
    best = max(values.values())
    return [setting for setting, value in values.items() if value > best - 1e-12]


@pytest.fixture(scope="module")
def values(reranker, data):
    found = by_brute_force(reranker, data, nDCG @ 10)
    assert len({round(value, 6) for value in found.values()}) > 8, "there is something to choose"
    return found


def tuned_on(reranker, data, **options):
    return tune(reranker, data.run, data.qrels, alphas=ALPHAS, weights=WEIGHTS, topics=data.topics, verbose=False,
                **options)


def test_tune_and_grid_search_choose_brute_force_s_setting(reranker, data, values):
    tuned = tuned_on(reranker, data)
    assert (tuned.alpha, tuned.weight) == min(winners(values)) and tuned.value == pytest.approx(max(values.values()))
    assert {(row.alpha, row.weight): pytest.approx(row.value, abs=1e-12)
            for row in tuned.evidence.itertuples()} == values
    searched = reranker.copy(alpha=0.5)
    mix = Mix(searched, weight=0.5)
    pt.GridSearch(pt.Transformer.from_df(data.run) >> mix, {searched: {"alpha": ALPHAS}, mix: {"weight": WEIGHTS}},
                  data.topics, data.qrels, "ndcg_cut_10")
    assert (searched.alpha, mix.weight) in winners(values)


def test_alpha_first_is_brute_force_in_two_steps(reranker, data, values):
    tuned = tuned_on(reranker, data, order="alpha-first")
    alpha, _ = min(winners({setting: value for setting, value in values.items() if setting[1] == 1}))
    expected = min(winners({setting: value for setting, value in values.items() if setting[0] == alpha}))
    assert (tuned.alpha, tuned.weight) == expected and tuned.value == pytest.approx(values[expected])


@pytest.mark.parametrize(("ties", "choose"), [("smallest", min), ("largest", max)])
@pytest.mark.parametrize("order", ["joint", "alpha-first"])
def test_settings_that_tie_are_chosen_by_the_rule(reranker, data, ties, choose, order):
    coarse = by_brute_force(reranker, data, COARSE)
    if order == "joint":
        best = winners(coarse)
    else:
        alpha, _ = choose(winners({setting: value for setting, value in coarse.items() if setting[1] == 1}))
        best = winners({setting: value for setting, value in coarse.items() if setting[0] == alpha})
    tuned = tuned_on(reranker, data, measure=COARSE, order=order, prefer=ties)
    assert (tuned.alpha, tuned.weight) == choose(best)
    assert len(winners(coarse)) > 1, "nothing ties"


@pytest.mark.parametrize("order", ["joint", "alpha-first"])
def test_several_sets_are_tuned_on_the_mean_of_brute_force_s_means(reranker, data, sets, values, order):
    each = {name: by_brute_force(reranker, one, nDCG @ 10) for name, one in sets.items()}
    mean = {setting: (each["ten"][setting] + each["twenty"][setting]) / 2 for setting in SETTINGS}
    assert any(abs(mean[setting] - values[setting]) > 1e-3 for setting in SETTINGS), "the mean over queries would do"
    given = [{name: getattr(one, field) for name, one in sets.items()} for field in ("run", "qrels", "topics")]
    tuned = tune(reranker, given[0], given[1], topics=given[2], alphas=ALPHAS, weights=WEIGHTS, order=order,
                 verbose=False)
    chosen = mean
    if order == "alpha-first":
        alpha, _ = min(winners({setting: value for setting, value in mean.items() if setting[1] == 1}))
        chosen = {setting: value for setting, value in mean.items() if setting[0] == alpha}
    assert (tuned.alpha, tuned.weight) == min(winners(chosen))
    assert tuned.value == pytest.approx(max(chosen.values()), abs=1e-12)
    swept = sweep(reranker, given[0], given[1], topics=given[2], alphas=ALPHAS, weights=WEIGHTS, verbose=False)
    for name, expected in {**each, "average": mean}.items():
        rows = swept[swept["collection"] == name]
        assert {(row.alpha, row.weight): pytest.approx(row.value, abs=1e-12) for row in rows.itertuples()} == expected


def test_five_nodes_choose_a_setting_as_good(reranker, data, values):
    tuned = tuned_on(reranker, data, nodes=NODES)
    assert tuned.value == pytest.approx(values[tuned.alpha, tuned.weight])
    assert tuned.value > max(values.values()) - 0.005  # what five nodes cost at worst, measured on 14 collections
