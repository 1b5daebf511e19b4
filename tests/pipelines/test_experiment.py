"""pt.Experiment over the variants of one re-ranker: the weights are switched, and each system gets its own."""

import pandas as pd
import pyterrier as pt
import pytest
from ir_measures import AP, P, nDCG

from pyterrier_taskarith import Mix, TaskArithReranker
from tests.pipelines.real_text import DEMO, candidates, qrels, topics

MEASURES = [nDCG @ 10, P @ 10, AP @ 100]


@pytest.fixture
def variants():
    # a model of its own, whose switches are counted from 0
    fresh = TaskArithReranker(*DEMO, alpha=0.7, verbose=False, batch_tokens=1024)
    return fresh.variants()


@pytest.fixture(scope="module")
def apart():
    """Each variant's results, by a re-ranker and a model that nothing else uses."""
    results = {}
    for number, (symbol, variant) in enumerate({"Θ_0": "base", "Θ_D": "domain", "Θ_T": "ranker",
                                                "Θ'": "merged"}.items()):
        alone = TaskArithReranker(*DEMO, alpha=0.7, verbose=False, variant=variant, batch_tokens=2000 + number)
        system = pt.Transformer.from_df(Mix(alone, 0.8).transform(candidates(12, 15)))
        results[symbol] = pt.Experiment([system], topics(12), qrels(topics(12)), MEASURES).iloc[0].drop("name")
    frame = pd.DataFrame(results).T.astype(float)
    assert len(frame.drop_duplicates()) == 4
    return frame


def check(results: pd.DataFrame, apart: pd.DataFrame) -> None:
    ours = results.set_index("name")[list(apart.columns)].astype(float)
    pd.testing.assert_frame_equal(ours, apart, check_names=False, atol=1e-9, rtol=0)


def test_every_system_scores_with_its_own_weights(first, variants, apart):
    results = pt.Experiment([first >> Mix(variant, 0.8) for variant in variants.values()], topics(12),
                            qrels(topics(12)), MEASURES, names=list(variants))
    check(results, apart)
    assert variants["Θ_T"].model.weights.switches == 4


@pytest.mark.parametrize("plan", ["linear", "tree"])
def test_weights_are_switched_in_each_batch_of_queries(first, variants, apart, plan):
    results = pt.Experiment([first >> Mix(variant, 0.8) for variant in variants.values()], topics(12),
                            qrels(topics(12)), MEASURES, names=list(variants), plan=plan, batch_size=5)
    check(results, apart)
    model = variants["Θ_T"].model
    assert model.scorer.pairs_scored == 4 * len(candidates(12, 15)[["query", "text"]].drop_duplicates())
    # 3 batches of queries; the tree goes through all systems in each, the linear plan through all batches of a system
    assert model.weights.switches == (3 * 4 if plan == "tree" else 4)


def test_systems_that_differ_in_alpha_alone_are_told_apart(first, bi_encoder):
    systems = [first >> bi_encoder.copy(alpha=alpha) for alpha in (0.0, 0.4, 1.5)]
    tree = pt.Experiment(systems, topics(12), qrels(topics(12)), MEASURES, plan="tree")
    linear = pt.Experiment(systems, topics(12), qrels(topics(12)), MEASURES)
    pd.testing.assert_frame_equal(tree, linear)
    assert tree["name"].nunique() == 3


def test_validation_loads_nothing(first):
    nowhere = TaskArithReranker("no/ranker", "no/domain", "no/base")
    with pytest.raises(ValueError, match="failed validation"):
        pt.Experiment([pt.Transformer.from_df(candidates(12, 15).drop(columns="text")) >> nowhere], topics(12),
                      qrels(topics(12)), MEASURES, validate="error")


@pytest.mark.slow
def test_significance_against_a_baseline(first, variants):
    results = pt.Experiment([first, *(first >> Mix(variant) for variant in variants.values())], topics(12),
                            qrels(topics(12)), MEASURES, names=["BM25", *variants], baseline=0, correction="bonferroni")
    assert {"nDCG@10 p-value", "nDCG@10 p-value corrected"} <= set(results.columns)
