"""α curves against exact scores, and against scipy's interpolation of scores and of embeddings."""

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from scipy.interpolate import BarycentricInterpolator
from scipy.stats import kendalltau

from pyterrier_taskarith import TaskArithReranker, TaskVector
from pyterrier_taskarith.tuning import _nodes
from pyterrier_taskarith.tuning._nodes import NODES, AlphaCurve, kendall, lagrange
from testing import bert_triple, cross_encoder_triple, llama_triple, t5_triple
from tests.reranking import frame, reranker

BI_ENCODERS = {"cosine": {}, "dot": {"similarity": "dot"}, "dot, normalised": {"similarity": "dot", "normalize": True},
               "cosine, normalised": {"normalize": True}}
OTHERS = {"cross-encoder": cross_encoder_triple, "seq2seq": t5_triple, "causal": llama_triple}


@pytest.fixture(scope="module")
def run():
    """Three queries with six texts each, as a first stage gives them: not sorted by text, an index of its own."""
    return frame(3, 6).sample(frac=1, random_state=2).set_index(np.arange(40, 58))


@pytest.fixture(scope="module")
def triple_of(tmp_path_factory):
    made = {}

    def make(name):
        if name not in made:
            folder = tmp_path_factory.mktemp("triple")
            made[name] = OTHERS[name](folder) if name in OTHERS else bert_triple(folder, **BI_ENCODERS[name])
        return made[name]

    return make


@pytest.fixture(scope="module")
def curve_of(triple_of, run):
    made = {}

    def make(name):
        if name not in made:
            system = reranker(triple_of(name), alpha=0.45)
            made[name] = system, AlphaCurve(system, run, verbose=False)
        return made[name]

    return make


def exact(system, run, alpha):
    return system.copy(alpha=alpha).transform(run)["score"].to_numpy()


@pytest.mark.parametrize("name", [*BI_ENCODERS, *OTHERS])
def test_at_a_node_the_scores_are_the_rerankers_own(curve_of, run, name):
    system, curve = curve_of(name)
    for node in NODES:
        scores = curve.scores(node)
        assert scores.dtype == np.float32
        np.testing.assert_array_equal(scores, exact(system, run, node))
    assert system.alpha == 0.45


@pytest.mark.parametrize("name", OTHERS)
def test_scores_of_pairs_are_interpolated_as_scipy_does(curve_of, run, name):
    system, curve = curve_of(name)
    through = BarycentricInterpolator(NODES, [exact(system, run, node) for node in NODES])
    for alpha in (0.1, 0.45, 1.15):
        np.testing.assert_allclose(curve.scores(alpha), through(alpha), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", BI_ENCODERS)
def test_embeddings_are_interpolated_and_compared_as_the_model_does(curve_of, run, name):
    system, curve = curve_of(name)

    def embeddings(kind, texts, alpha):
        nodes = []
        for node in NODES:
            system.model.weights.set(system.copy(alpha=node).setting)
            nodes.append(system.model.scorer.embed(kind, texts, f"test {node}").astype(np.float64))
        return BarycentricInterpolator(NODES, nodes)(alpha)

    for alpha in (0.1, 0.45, 1.15):
        queries = embeddings("query", run["query"].tolist(), alpha)
        texts = embeddings("document", run["text"].tolist(), alpha)
        if name != "dot":
            queries, texts = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (queries, texts))
        np.testing.assert_allclose(curve.scores(alpha), (queries * texts).sum(axis=1), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", [*BI_ENCODERS, *OTHERS])
def test_between_nodes_the_curve_is_near_the_exact_scores(curve_of, run, name):
    system, curve = curve_of(name)
    moved = np.abs(exact(system, run, 1.2) - exact(system, run, 0.0)).mean()
    for alpha in (0.15, 0.5, 0.7, 1.05):
        off = np.abs(curve.scores(alpha) - exact(system, run, alpha))
        assert off.mean() < 0.05 * moved
        # No better than the nearest node would mean that nothing was interpolated.
        nearest = min(NODES, key=lambda node: abs(node - alpha))
        assert off.mean() < 0.25 * np.abs(exact(system, run, nearest) - exact(system, run, alpha)).mean()


def test_each_distinct_text_is_embedded_once_a_node(tmp_path, run):
    system = reranker(bert_triple(tmp_path, seed=7))
    curve = AlphaCurve(system, run, verbose=False)
    scorer = system.model.scorer
    assert scorer.texts_embedded == len(NODES) * (run["query"].nunique() + run["text"].nunique())
    assert system.model.weights.switches == len(NODES)
    for alpha in np.linspace(0, 1.2, 13):
        curve.scores(alpha)
    assert len(curve.error) == 3
    assert scorer.texts_embedded == len(NODES) * (run["query"].nunique() + run["text"].nunique())
    assert system.model.weights.switches == len(NODES)


def test_each_pair_is_scored_once_a_node(tmp_path, run):
    system = reranker(cross_encoder_triple(tmp_path, seed=7))
    curve = AlphaCurve(system, run, verbose=False)
    for alpha in np.linspace(0, 1.2, 13):
        curve.scores(alpha)
    assert len(curve.error) == 3
    assert system.model.scorer.pairs_scored == len(NODES) * len(run)
    assert system.model.weights.switches == len(NODES)


@pytest.mark.parametrize("name", OTHERS)
def test_the_error_is_that_of_a_curve_without_the_node(curve_of, run, name):
    system, curve = curve_of(name)
    assert curve.error["node"].tolist() == [0.3, 0.6, 0.9]
    for row in curve.error.itertuples():
        others = [node for node in NODES if node != row.node]
        guessed = BarycentricInterpolator(others, [exact(system, run, node) for node in others])(row.node)
        true = exact(system, run, row.node)
        assert row.mean == pytest.approx(np.abs(guessed - true).mean(), rel=1e-3, abs=1e-7)
        assert row.max == pytest.approx(np.abs(guessed - true).max(), rel=1e-3, abs=1e-6)
        taus = [kendalltau(true[places], guessed[places]).statistic for places in
                (np.flatnonzero(run["qid"] == qid) for qid in run["qid"].unique())]
        assert row.kendall == pytest.approx(np.mean(taus), abs=0.05)  # float32 may swap two near-equal scores


def test_the_error_of_a_bi_encoder_is_that_of_its_interpolated_embeddings(curve_of, run):
    system, curve = curve_of("cosine")
    guessed = AlphaCurve(system, run, nodes=[0.0, 0.3, 0.9, 1.2, 5.0], verbose=False)
    # A sixth node is left out by hand: its weight, and every other's, by scipy.
    weights = np.insert(BarycentricInterpolator([0.0, 0.3, 0.9, 1.2], np.eye(4))(0.6), 4, 0.0)
    off = np.abs(guessed._curve.at(weights) - exact(system, run, 0.6))
    row = curve.error.set_index("node").loc[0.6]
    assert (row["mean"], row["max"]) == (pytest.approx(off.mean(), rel=1e-3), pytest.approx(off.max(), rel=1e-3))
    assert str(curve).startswith("α curve through 5 nodes (0, 0.3, 0.6, 0.9, 1.2); one node left out: scores off by")


@pytest.mark.parametrize("name", ["cosine", "dot, normalised"])
def test_texts_in_blocks_give_the_same_curve(curve_of, run, monkeypatch, name):
    system, curve = curve_of(name)
    whole = [curve.scores(alpha) for alpha in (0.3, 0.7)]
    monkeypatch.setattr(_nodes, "BLOCK", 4)
    blocks = AlphaCurve(system, run, verbose=False)
    np.testing.assert_allclose([blocks.scores(alpha) for alpha in (0.3, 0.7)], whole, rtol=1e-6)


def test_weights_of_nodes_are_scipys():
    for nodes in (NODES, (-1.0, 0.0, 0.25, 0.5, 1.0, 3.0)):
        through = BarycentricInterpolator(nodes, np.eye(len(nodes)))
        for alpha in np.linspace(nodes[0], nodes[-1], 23):
            np.testing.assert_allclose(lagrange(nodes, alpha), through(alpha), atol=1e-12)
        for place, node in enumerate(nodes):
            assert lagrange(nodes, node).tolist() == np.eye(len(nodes))[place].tolist()


def test_kendall_is_within_queries():
    qids = np.array(["b", "a", "b", "a", "b", "c", "c"])
    left, right = np.array([1, 1, 2, 2, 3, 5, 6]), np.array([1, 2, 3, 1, 2, 4, 4])
    # b: (1,2,3) and (1,3,2): two of three pairs agree. a: the one pair is swapped. c: all equal.
    np.testing.assert_allclose(kendall(qids, left, right), [1 / 3, -1, np.nan])


def test_nodes_may_come_in_any_order(curve_of, run):
    system, curve = curve_of("cosine")
    shuffled = AlphaCurve(system, run, nodes=(0.9, 0.0, 1.2, 0.3, 0.6), verbose=False)
    assert shuffled.nodes == NODES
    np.testing.assert_array_equal(shuffled.scores(0.5), curve.scores(0.5))


def test_vectors_and_layers_share_the_one_alpha(triple_of, tmp_path, run):
    triple, other = triple_of("cosine"), bert_triple(tmp_path, seed=3)
    several = TaskArithReranker(triple.ranker, vectors={
        "a": TaskVector(triple.domain, triple.base), "b": TaskVector(other.domain, other.base)},
        alpha={"a": 0.2, "b": {"default": 0.1, "layers 1": 0.4}}, verbose=False)
    curve = AlphaCurve(several, run, verbose=False)
    np.testing.assert_array_equal(curve.scores(0.6), exact(several, run, {"a": 0.6, "b": 0.6}))
    assert several.alpha == {"a": 0.2, "b": {"default": 0.1, "layers 1": 0.4}}


@pytest.mark.parametrize("nodes, message", [
    ((0.0, 0.6, 1.2), r"at least 5.*three nodes.*\.013"),
    ((), "at least 5"),
    ((0.0, 0.3, 0.3, 0.6, 0.9), "distinct"),
    ((0.0, 0.3, 0.6, 0.9, float("nan")), "finite"),
    ((0.0, 0.3, 0.6, 0.9, float("inf")), "finite"),
])
def test_unsound_nodes_are_refused_before_anything_is_loaded(triple_of, run, nodes, message):
    system = reranker(triple_of("cosine"))
    with pytest.raises(ValueError, match=message):
        AlphaCurve(system, run, nodes=nodes, verbose=False)
    assert not system._loaded


def test_nothing_is_extrapolated(curve_of):
    _, curve = curve_of("cosine")
    for alpha in (-0.01, 1.21, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="outside the nodes 0 to 1.2"):
            curve.scores(alpha)


def test_bad_systems_and_runs_are_refused(triple_of, run):
    system = reranker(triple_of("cosine"))
    with pytest.raises(ValueError, match="α does nothing to variant='ranker'"):
        AlphaCurve(system.copy(variant="ranker"), run, verbose=False)
    with pytest.raises(ValueError, match="without a vector α does nothing"):
        AlphaCurve(TaskArithReranker(triple_of("cosine").ranker, vectors={}, verbose=False), run, verbose=False)
    with pytest.raises(pt.validate.InputValidationError, match="text"):
        AlphaCurve(system, run.drop(columns="text"), verbose=False)
    with pytest.raises(ValueError, match="no rows"):
        AlphaCurve(system, run.head(0), verbose=False)
    with pytest.raises(ValueError, match="holds no text.*d2"):
        AlphaCurve(system, run.assign(text=run["text"].mask(run["docno"] == "d2", None)), verbose=False)


def test_only_a_bi_encoder_has_embeddings(curve_of):
    system, _ = curve_of("cross-encoder")
    with pytest.raises(TypeError, match="CrossEncoder scores pairs and has no embeddings"):
        system.model.embed(system.setting, ["a"], ["b"])


def test_embeddings_that_are_not_finite_are_refused(curve_of, run, monkeypatch):
    system, _ = curve_of("cosine")
    scorer = system.model.scorer
    monkeypatch.setattr(scorer, "embed", lambda kind, texts, weights: np.full((len(texts), 4), np.nan, np.float32))
    with pytest.raises(ValueError, match="3 of 3 embeddings are NaN or infinite"):
        AlphaCurve(system, run, verbose=False)


def test_the_run_is_left_as_it_is(curve_of, run):
    system, _ = curve_of("cosine")
    before = run.copy(deep=True)
    AlphaCurve(system, run, verbose=False).scores(0.5)
    pd.testing.assert_frame_equal(run, before)
