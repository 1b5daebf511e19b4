"""Texts that come from elsewhere, and long ones cut into passages."""

import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_taskarith import MinMax, Mix
from tests.pipelines.real_text import DEMO, candidates, documents, topics
from tests.scorers.reference import sentence_transformers_scores


class Store:
    """A document store, as PyTerrier's view of ir_datasets is: it gives a transformer that loads texts."""

    def text_loader(self, fields="*", *, verbose: bool = False) -> pt.Transformer:
        texts = documents().set_index("docno")["text"]
        return pt.apply.generic(lambda frame: frame.assign(text=texts.loc[frame["docno"]].to_numpy()))


def without_text(first: pt.Transformer) -> pt.Transformer:
    return first >> pt.apply.generic(lambda frame: frame.drop(columns="text"))


def test_texts_are_loaded_by_get_text(first, r):
    bare = without_text(first)
    with pytest.raises(pt.validate.InputValidationError, match="text"):
        (bare >> r).transform(topics(12))
    loaded = (bare >> pt.text.get_text(Store(), "text") >> Mix(r, 0.5)).transform(topics(12))
    pd.testing.assert_series_equal(loaded["score"], (first >> Mix(r, 0.5)).transform(topics(12))["score"])


def test_the_papers_fusion_reads(first, r):
    pipeline = without_text(first) % 10 >> pt.text.get_text(Store(), "text") >> (0.5 * MinMax() + 0.5 * (r >> MinMax()))
    out = pipeline.transform(topics(12))
    assert len(out) == 120 and out["score"].between(0, 1).all()


def test_a_document_has_the_score_of_its_best_passage(first, bi_encoder):
    bi_encoder.alpha = 0
    pipeline = (first % 3 >> pt.text.sliding(text_attr="text", length=20, stride=10, prepend_attr=None) >> bi_encoder
                >> pt.text.max_passage())
    out = pipeline.transform(topics(12)).set_index(["qid", "docno"])["score"]
    frame = candidates(12, 15)
    frame = frame[frame["rank"] < 3]
    assert len(out) == len(frame)
    for row in frame.iloc[::5].itertuples():
        words = row.text.split()
        passages = [words[start:start + 20] for start in range(0, len(words) - 19, 10)] or [words]
        scores = sentence_transformers_scores(DEMO[0], [row.query] * len(passages), [" ".join(p) for p in passages])
        assert out[row.qid, row.docno] == pytest.approx(scores.max(), abs=1e-5)
