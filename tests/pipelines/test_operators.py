"""The re-ranker in PyTerrier's operators, by either kind of model, on real text."""

import logging

import numpy as np
import pandas as pd
import pyterrier as pt

from pyterrier_taskarith import MinMax, Mix
from tests.pipelines.real_text import candidates, topics


def by_pair(frame: pd.DataFrame) -> pd.Series:
    return frame.set_index(["qid", "docno"])["score"].sort_index()


def same(ours: pd.DataFrame, expected: pd.Series) -> None:
    """Checks that a frame has these pairs and scores."""
    assert len(ours) == len(expected)
    np.testing.assert_allclose(by_pair(ours), expected.sort_index(), atol=1e-9)


def test_then_and_times_and_plus(first, r):
    queries = topics(12)
    incoming, ours = by_pair(candidates(12, 15)), by_pair(r.transform(candidates(12, 15)))
    same((first >> r).transform(queries), ours)
    same((first >> (0.5 * r)).transform(queries), 0.5 * ours)
    same((first >> (-2 * r)).transform(queries), -2 * ours)
    same((first >> (0.5 * pt.Transformer.identity() + 0.5 * r)).transform(queries), 0.5 * incoming + 0.5 * ours)
    same((first >> (r + r)).transform(queries), 2 * ours)


def test_the_papers_fusion_is_mix(first, r):
    queries = topics(12)
    summed = (first >> (0.25 * MinMax() + 0.75 * (r >> MinMax()))).transform(queries)
    same((first >> Mix(r, weight=0.75)).transform(queries), by_pair(summed))


def test_cut_off_after_and_before(first, r):
    queries = topics(12)
    ours = r.transform(candidates(12, 15))
    best = ours[ours["rank"] < 4]
    same((first >> r % 4).transform(queries), by_pair(best))
    few = candidates(12, 15)
    same((first % 4 >> r).transform(queries), by_pair(ours[few["rank"].to_numpy() < 4]))


def test_a_cut_off_after_the_reranker_is_not_moved_before_it(first, r):
    pipeline = first >> r % 4
    same(pipeline.compile().transform(topics(12)), by_pair(pipeline.transform(topics(12))))
    assert not hasattr(r, "fuse_rank_cutoff")


def test_features_of_two_variants(first, r):
    variants = r.variants()
    rows = (first >> (variants["Θ_T"] ** variants["Θ'"])).transform(topics(12))
    for place, symbol in enumerate(("Θ_T", "Θ'")):
        expected = by_pair(variants[symbol].transform(candidates(12, 15)))
        same(rows.assign(score=[features[place] for features in rows["features"]]), expected)


def test_a_single_query_may_be_searched(first, r):
    topic = topics(12).iloc[3]
    found = (first >> r).search(topic["query"], qid=topic["qid"])
    assert len(found) == 15 and found["score"].is_monotonic_decreasing


def test_no_queries_pass_through(first, r):
    out = (first >> Mix(r) >> MinMax()).transform(topics(12).iloc[:0])
    assert len(out) == 0 and {"qid", "docno", "text", "score", "rank"} <= set(out.columns)


def test_pipelines_are_inspected_from_end_to_end(r):
    asked = ["qid", "docno", "query", "text"]
    assert pt.inspect.transformer_inputs(r >> MinMax()) == [asked]
    assert set(pt.inspect.transformer_inputs(Mix(r))[0]) == {*asked, "score"}
    assert set(pt.inspect.transformer_outputs(r >> MinMax(), asked)) == {*asked, "score", "rank"}
    assert pt.inspect.subtransformers(Mix(r)) == {"reranker": r}


def test_scoring_says_nothing_on_its_own(bi_encoder, caplog, capsys):
    with caplog.at_level(logging.WARNING):
        bi_encoder.copy(alpha=0.123, batch_tokens=777).transform(candidates(12, 15))
    captured = capsys.readouterr()
    assert not caplog.records and not captured.out and not captured.err
