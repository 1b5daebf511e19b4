"""The literal pipelines on a Terrier index with texts, and what Terrier's query language makes of each form."""

import warnings

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_taskarith import MinMax, Mix
from pyterrier_taskarith.terrier import ensure_java
from tests.pipelines.real_text import documents, topics

pytestmark = pytest.mark.java

OPERATORS = "IL-6/JAK (p<0.05): x"
LONGEST = "the role of il 6 and jak " + "größer als üblich " * 3000 + "the end"
EXTRA = [("longest", LONGEST), ("jak", "il 6 activates jak with p below 0 05"), ("six", "six il and x and no more"),
         ("cell", "cell growth in cancer")]


@pytest.fixture(scope="module")
def collection() -> pd.DataFrame:
    return pd.concat([documents(), pd.DataFrame(EXTRA, columns=["docno", "text"])], ignore_index=True)


@pytest.fixture(scope="module")
def bm25(collection, tmp_path_factory):
    ensure_java()
    bytes_of = {column: int(collection[column].str.encode("utf-8").str.len().max()) for column in ("docno", "text")}
    indexer = pt.IterDictIndexer(str(tmp_path_factory.mktemp("index")), meta=bytes_of, text_attrs=["text"])
    index = indexer.index(collection.to_dict(orient="records"))
    return pt.terrier.Retriever(index, wmodel="BM25", metadata=["docno", "text"], num_results=20)


@pytest.fixture
def first(bm25):
    return pt.rewrite.tokenise() >> bm25 >> pt.rewrite.reset()


@pytest.fixture
def plain() -> pd.DataFrame:
    """Queries without a character of Terrier's query language."""
    queries = topics(12)
    queries["query"] = queries["query"].str.replace(r"[^A-Za-z0-9]+", " ", regex=True).str.strip()
    return queries


def asked(query: str = OPERATORS) -> pd.DataFrame:
    return pd.DataFrame([{"qid": "1", "query": query}])


def by_pair(frame: pd.DataFrame) -> pd.Series:
    return frame.set_index(["qid", "docno"])["score"].sort_index()


def test_the_longest_text_arrives_whole(bm25, collection):
    found = bm25.search("jak il").set_index("docno")["text"]
    assert found["longest"] == LONGEST and len(LONGEST.encode()) > 54_000
    texts = collection.set_index("docno")["text"]
    every = bm25.transform(topics(12).assign(query="the a of and in to is list"))
    assert (every["text"].to_numpy() == texts.loc[every["docno"]].to_numpy()).all()


def test_a_text_field_that_is_too_small_would_cut_it(collection, tmp_path):
    ensure_java()
    index = pt.IterDictIndexer(str(tmp_path / "index"), meta={"docno": 60, "text": 4096}, text_attrs=["text"]).index(
        collection.to_dict(orient="records"))
    cut = pt.terrier.Retriever(index, wmodel="BM25", metadata=["docno", "text"]).search("jak il").set_index("docno")
    assert LONGEST.startswith(cut["text"]["longest"][:1000]) and len(cut["text"]["longest"]) < len(LONGEST)


def test_the_literal_pipeline_sums_terriers_scores_and_the_rerankers(bm25, r, plain):
    summed = (bm25 >> (0.5 * bm25 + 0.5 * r)).transform(plain)
    candidates = bm25.transform(plain)
    assert len(summed) == len(candidates) > 150 and summed["text"].notna().all()
    expected = 0.5 * by_pair(candidates) + 0.5 * by_pair(r.transform(candidates))
    np.testing.assert_allclose(by_pair(summed), expected, atol=1e-6)


def test_mix_after_the_first_stage_sees_the_query_as_written(first, r):
    out = (first >> Mix(r, 0.4)).transform(asked())
    assert set(out["query"]) == {OPERATORS} and {"jak", "six"} <= set(out["docno"])
    candidates = first.transform(asked())
    assert set(candidates["query"]) == {OPERATORS} and "query_0" not in candidates.columns
    neural = by_pair(MinMax().transform(r.transform(candidates)))
    np.testing.assert_allclose(by_pair(out), 0.6 * by_pair(MinMax().transform(candidates)) + 0.4 * neural, atol=1e-9)


def test_the_literal_line_for_any_query(bm25, r):
    line = pt.rewrite.tokenise() >> bm25 >> (0.5 * bm25 + 0.5 * (pt.rewrite.reset() >> r))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*query_0")
        out = line.transform(asked())
    candidates = (pt.rewrite.tokenise() >> bm25 >> pt.rewrite.reset()).transform(asked())
    expected = 0.5 * by_pair(candidates) + 0.5 * by_pair(r.transform(candidates))
    assert len(out) == len(candidates) and {"jak", "six"} <= set(out["docno"])
    np.testing.assert_allclose(by_pair(out), expected, atol=1e-6)


def test_without_the_reset_the_reranker_would_see_a_stripped_query_and_warns(bm25, r):
    unreset = pt.rewrite.tokenise() >> bm25
    assert set(unreset.transform(asked())["query"]) == {"il 6 jak p 0 05 x"}
    with pytest.warns(UserWarning, match=r"rewritten query \(query_0\).*pt.rewrite.reset\(\)"):
        (unreset >> Mix(r)).transform(asked())


def test_pyterrier_tokenises_most_operators_itself(bm25, first, r):
    candidates = first.transform(asked())
    expected = 0.5 * by_pair(candidates) + 0.5 * by_pair(r.transform(candidates))
    for line in (bm25 >> (0.5 * bm25 + 0.5 * r), first >> (0.5 * bm25 + 0.5 * r)):
        np.testing.assert_allclose(by_pair(line.transform(asked())), expected, atol=1e-6)


def test_a_first_stage_with_the_reset_inside_cannot_come_twice(first, r):
    with pytest.raises(KeyError, match="query_0"):
        (first >> (0.5 * first + 0.5 * r)).transform(asked())


def test_a_colon_alone_is_terriers_and_throws_in_the_literal_forms_only(bm25, first, r):
    from jnius import JavaException

    colon = asked("cell growth: cancer")
    for line in (bm25 >> (0.5 * bm25 + 0.5 * r), first >> (0.5 * bm25 + 0.5 * r)):
        with pytest.raises(JavaException, match="fields"):
            line.transform(colon)
    reset = pt.rewrite.reset()
    for line in (first >> Mix(r), pt.rewrite.tokenise() >> bm25 >> (0.5 * bm25 + 0.5 * (reset >> r))):
        assert "cell" in set(line.transform(colon)["docno"])


def test_a_weight_is_terriers_and_loses_the_query_silently_in_the_literal_form_only(bm25, first, r):
    weighted = asked("C++: a/b + growth^2")
    assert len((bm25 >> (0.5 * bm25 + 0.5 * r)).transform(weighted)) == 0
    out = (first >> Mix(r)).transform(weighted)
    assert "cell" in set(out["docno"]) and set(out["query"]) == {"C++: a/b + growth^2"}


def test_the_sum_after_the_first_stage_is_right_without_operators(first, bm25, r, plain):
    summed = (first >> (0.5 * bm25 + 0.5 * r)).transform(plain)
    candidates = first.transform(plain)
    np.testing.assert_allclose(by_pair(summed), 0.5 * by_pair(candidates) + 0.5 * by_pair(r.transform(candidates)),
                               atol=1e-6)


def test_texts_are_loaded_from_terriers_index_too(bm25, r, plain):
    bare = pt.terrier.Retriever(bm25.indexref, wmodel="BM25", num_results=20)
    loaded = bare % 10 >> pt.text.get_text(pt.IndexFactory.of(bm25.indexref), "text") >> r
    np.testing.assert_allclose(by_pair(loaded.transform(plain)), by_pair((bm25 % 10 >> r).transform(plain)), atol=1e-6)


def test_an_experiment_over_the_variants_on_terrier(first, bi_encoder, plain):
    qrels = pd.DataFrame({"qid": plain["qid"], "docno": plain["qid"].str.removeprefix("q"), "label": 1})
    systems = {"BM25": first, **{symbol: first >> Mix(variant) for symbol, variant in bi_encoder.variants().items()}}
    tree = pt.Experiment(list(systems.values()), plain, qrels, ["P_10", "ndcg_cut_10"], names=list(systems),
                         plan="tree", batch_size=5)
    alone = [pt.Experiment([system], plain, qrels, ["P_10", "ndcg_cut_10"], names=[name])
             for name, system in systems.items()]
    pd.testing.assert_frame_equal(tree, pd.concat(alone, ignore_index=True))
