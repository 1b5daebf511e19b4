"""Texts loaded by docno while they are scored: the same scores, in bounded portions, and what a loader may do wrong."""

import math
import pickle

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_taskarith import Mix, TaskArithReranker, tune
from pyterrier_taskarith.data import Texts, _frames, portions
from testing import bert_triple, llama_triple, passages, t5_triple
from tests.reranking import assert_scores_agree, frame, reranker

#: Scores agree to SCORE_TOLERANCE; minmax divides by a query's spread, which may be a tenth.
MIXED = 1e-5


@pytest.fixture(scope="module")
def triple(tmp_path_factory):
    return bert_triple(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def documents():
    return Texts(pd.DataFrame({"docno": [f"d{j}" for j in range(50)], "text": passages(50)}))


class Counting:
    """A loader that keeps what it was asked for."""

    def __init__(self, documents, change=lambda found: found):
        self.documents, self.change, self.asked = documents, change, []

    def __call__(self, asked):
        self.asked.append(asked["docno"].tolist())
        assert list(asked.columns) == ["docno"]
        return self.change(self.documents(asked))


def ids(run):
    return run.drop(columns="text")


@pytest.mark.parametrize("make", [bert_triple, t5_triple, llama_triple])
def test_scores_are_those_with_the_texts_in_the_frame(make, tmp_path, documents, monkeypatch):
    monkeypatch.setattr(_frames, "PORTION", 40)
    triple = make(tmp_path)
    run = frame(3, 50).sample(frac=1, random_state=1)
    run.index = [7] * len(run)
    plain = reranker(triple, alpha=0.7).transform(run)
    loader = Counting(documents)
    found = reranker(triple, alpha=0.7, text_loader=loader, batch_tokens=700).transform(ids(run))
    assert_scores_agree(found["score"], plain["score"])
    assert [*found.columns] == ["qid", "query", "docno", "score", "rank"] and found.index.tolist() == [7] * 150
    pd.testing.assert_frame_equal(found[["qid", "docno"]], plain[["qid", "docno"]])
    assert len(loader.asked) == 3 and max(map(len, loader.asked)) <= 20
    assert sorted(sum(loader.asked, [])) == sorted(f"d{j}" for j in range(50))  # each document once


def test_a_frame_is_scored_with_the_alpha_that_it_began_with(triple, documents, monkeypatch):
    monkeypatch.setattr(_frames, "PORTION", 40)
    run = frame(3, 50)
    expected = reranker(triple, alpha=0.7).transform(run)["score"]

    def turn(found):
        r.alpha = 0.1  # as another thread might
        return found

    r = reranker(triple, alpha=0.7, text_loader=Counting(documents, turn))
    assert_scores_agree(r.transform(ids(run))["score"], expected)
    assert len(r.text_loader.asked) == 3 and r.alpha == 0.1


def test_a_transformer_and_a_dataset_of_pyterrier_load_too(triple, documents):
    class Store:
        def text_loader(self, fields="*", *, verbose=False):
            return pt.apply.generic(lambda inp: documents(inp).rename(columns={"text": "body"})[["docno", "body"]])

    plain = reranker(triple).transform(frame())["score"]
    for options in ({"text_loader": documents},
                    {"text_loader": pt.text.get_text(Store(), "body"), "text_field": "body"}):
        assert_scores_agree(reranker(triple, **options).transform(ids(frame()))["score"], plain)


def test_the_frame_needs_docnos_and_no_texts_and_a_text_column_is_left_alone(triple, documents):
    r = reranker(triple, text_loader=documents)
    assert pt.inspect.transformer_inputs(r) == [["qid", "docno", "query"]]
    assert pt.inspect.transformer_outputs(r, ["qid", "query", "docno"])[-2:] == ["score", "rank"]
    for rows in (0, 3):
        with pytest.raises(pt.validate.InputValidationError, match="docno"):
            r.transform(ids(frame()).drop(columns="docno").head(rows))
    stale = r.transform(frame().assign(text="stale"))
    assert set(stale["text"]) == {"stale"}
    np.testing.assert_array_equal(stale["score"], r.transform(ids(frame()))["score"])
    assert pt.schematic.transformer_schematic(r)


def test_no_rows_load_no_model_and_no_texts():
    r = TaskArithReranker("a/b", "c/d", "e/f", text_loader=lambda asked: 1 / 0)
    out = r.transform(pd.DataFrame(columns=["qid", "query", "docno"]))
    assert len(out) == 0 and [*out.columns] == ["qid", "query", "docno", "score", "rank"] and not r._loaded


def test_scores_are_remembered_by_text(triple, documents):
    given = reranker(triple, batch_tokens=511, text_loader=documents)
    given.transform(ids(frame()))
    scorer = given.model.scorer
    scored = scorer.pairs_scored
    assert scored == 18
    given.transform(ids(frame()))
    reranker(triple, batch_tokens=511).transform(frame())
    assert scorer.pairs_scored == scored
    other = Texts(documents.documents.assign(text=[f"new {text}" for text in documents.documents["text"]]))
    changed = given.copy(text_loader=other)
    assert changed.model is given.model and not np.allclose(changed.transform(ids(frame()))["score"],
                                                            given.transform(ids(frame()))["score"])
    assert scorer.pairs_scored == 2 * scored


def test_it_is_an_argument_like_any_other(triple, documents):
    r = reranker(triple, text_loader=documents)
    assert r == reranker(triple, text_loader=Texts(documents.documents.copy())) and hash(r) == hash(r.copy(alpha=0.2))
    assert r != reranker(triple) and "text_loader=Texts(50 documents" in repr(r)
    assert [v.text_loader for v in r.variants().values()] == [documents] * 4
    elsewhere = pickle.loads(pickle.dumps(r).replace(r._token[1].encode(), b"0" * 32))
    assert elsewhere == r and elsewhere is not r
    np.testing.assert_array_equal(elsewhere.transform(ids(frame()))["score"], r.transform(ids(frame()))["score"])
    with pytest.raises(ValueError, match=r"text_loader='beir': give a transformer"):
        reranker(triple, text_loader="beir")


def test_mix_and_tune_need_no_texts_either(triple, documents):
    run = frame(3, 50)
    qrels = pd.DataFrame([(f"q{q}", f"d{q + 3 * step}", 1) for q in range(3) for step in range(4)],
                         columns=["qid", "docno", "label"])
    r, plain = reranker(triple, text_loader=documents), reranker(triple)
    np.testing.assert_allclose(Mix(r, 0.4)(ids(run))["score"], Mix(plain, 0.4)(run)["score"], atol=MIXED)
    for nodes in (None, (0, 0.3, 0.6, 0.9, 1.2)):
        options = {"alphas": [0, 0.3, 0.9], "weights": [0.4, 1], "verbose": False, "nodes": nodes}
        found, expected = tune(r, ids(run), qrels, **options), tune(plain, run, qrels, **options)
        pd.testing.assert_frame_equal(found.evidence, expected.evidence)
    with pytest.raises(ValueError, match=r"the run lacks the columns \['text'\]"):
        tune(plain, ids(run), qrels, verbose=False)


@pytest.mark.parametrize(("change", "error", "words"), [
    (lambda found: found["text"].tolist(), TypeError, "returned a list; it must return the frame with"),
    (lambda found: found.drop(columns="text"), ValueError, "returned no column 'text' .*text_field= names"),
    (lambda found: pd.concat([found, found[["text"]]], axis=1), ValueError,
     "the frame that text_loader .* returned has the column 'text' more than once"),
    (lambda found: found.drop(columns="docno"), ValueError, "returned no column 'docno'"),
    (lambda found: found[found["docno"] != "d3"], ValueError, "has no text for 1 documents, docno d3; were these"),
    (lambda found: pd.concat([found, found.head(1)]), ValueError, "returned 7 rows for 6 documents"),
    (lambda found: found.assign(text=[*found["text"][:-1], None]), ValueError, "'text' holds no text .* docno d5"),
    (lambda found: found.assign(text=math.nan), ValueError, "'text' holds no text .* for 6 rows, docno d0, d1"),
])
def test_a_loader_that_does_something_else_is_named(triple, documents, change, error, words):
    with pytest.raises(error, match=words):
        reranker(triple, text_loader=Counting(documents, change)).transform(ids(frame()))


def test_results_of_other_documents_are_named(triple, documents):
    with pytest.raises(ValueError, match=r"1 of 6 results have a docno .* such as \['elsewhere'\]"):
        reranker(triple, text_loader=documents).transform(ids(frame()).replace("d3", "elsewhere"))


@pytest.mark.parametrize("sizes", [[1], [3, 1, 4, 1, 5, 9, 2, 6], [50], [1] * 100, [7] * 30, [1, 100, 1, 1], [10] * 4])
def test_portions_are_all_rows_once_with_a_documents_rows_together(monkeypatch, sizes):
    monkeypatch.setattr(_frames, "PORTION", 10)
    docnos = pd.Series(np.random.default_rng(1).permutation(np.repeat([f"d{i}" for i in range(len(sizes))], sizes)))
    found = list(portions(docnos))
    assert sorted(np.concatenate(found).tolist()) == list(range(len(docnos)))
    parts = [set(docnos[rows]) for rows in found]
    assert sum(map(len, parts)) == len(set(docnos))
    assert all(len(rows) < 20 + max(sizes) for rows in found)
    assert all(len(rows) >= min(10, len(docnos)) - max(sizes) + 1 for rows in found)


def test_rows_of_no_portion_are_none():
    assert list(portions(pd.Series([], dtype=str))) == []
