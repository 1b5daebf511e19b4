"""BM25 as the first stage: Terrier's scores, queries with operators, whole texts, an index used again."""

import copy
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path

import ir_measures
import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_taskarith.data import Texts, read_collection
from pyterrier_taskarith.errors import DataError
from pyterrier_taskarith.terrier import _first_stage as module
from pyterrier_taskarith.terrier import first_stage

LONGEST = "jak " + "filler " * 15_000 + "end"  # over 100,000 characters
BODIES = {
    "d1": "il 6 activates jak in cells",
    "d2": "cells cells cells grow",
    "d3": LONGEST,
    "pandas.api.typing.a.very.long.name.of.more.than.twenty.characters": "frame frame column",
    "d5": "grow column wheel wheel",
}


def frame(bodies: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame(list(bodies.items()), columns=["docno", "text"])


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return tmp_path_factory.mktemp("indexes") / "bm25"


def bm25_by_hand(query: list[str], bodies: dict[str, str], k1: float, b: float) -> dict[str, float]:
    """Robertson's formula with Terrier's logarithm to base 2; each query term occurs once."""
    lengths = {docno: len(body.split()) for docno, body in bodies.items()}
    mean = sum(lengths.values()) / len(lengths)
    scores: dict[str, float] = {}
    for term in query:
        counts = {docno: body.split().count(term) for docno, body in bodies.items()}
        df = sum(count > 0 for count in counts.values())
        idf = math.log2((len(bodies) - df + 0.5) / (df + 0.5))
        for docno, tf in counts.items():
            if tf:
                saturation = (k1 + 1) * tf / (tf + k1 * (1 - b + b * lengths[docno] / mean))
                scores[docno] = scores.get(docno, 0) + saturation * idf
    return scores


@pytest.mark.java
@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (0.4, 0.1)])
def test_scores_are_bm25_with_these_parameters(monkeypatch, tmp_path, k1, b):
    # words that the stemmer and the stop word list leave alone
    bodies = {"a": "wheel wheel frog", "b": "frog lamp lamp jump wheel", "c": "lamp", "d": "jump", "e": "tree rock"}
    monkeypatch.setattr(module, "K1", k1)
    monkeypatch.setattr(module, "B", b)
    found = first_stage(frame(bodies), tmp_path / "index").search("wheel frog")
    expected = bm25_by_hand(["wheel", "frog"], bodies, k1, b)
    assert set(found["docno"]) == {"a", "b"}
    for docno, score in zip(found["docno"], found["score"], strict=True):
        assert score == pytest.approx(expected[docno], abs=1e-5)


@pytest.mark.java
@pytest.mark.parametrize("query", ["IL-6/JAK (p<0.05): x", 'C++: a/b + "jak"^2', "cell growth: jak", "#combine(jak)"])
def test_queries_with_operators_find_documents_and_come_out_as_written(index, query):
    found = first_stage(frame(BODIES), index)(pd.DataFrame({"qid": ["7"], "query": [query]}))
    assert {"d1", "d3"} <= set(found["docno"])
    assert set(found["query"]) == {query}
    assert set(found.columns) == {"qid", "query", "docid", "docno", "rank", "score", "text"}


@pytest.mark.java
def test_texts_and_docnos_arrive_whole_and_words_are_stemmed(index):
    pipeline = first_stage(frame(BODIES), index)
    assert pipeline.search("filler").iloc[0]["text"] == LONGEST
    assert pipeline.search("frames").iloc[0]["docno"] == list(BODIES)[3]
    found = pipeline(pd.DataFrame([["1", "growing cells"], ["2", "wheels"]], columns=["qid", "query"]))
    assert found.groupby("qid")["docno"].agg(set).to_dict() == {"1": {"d1", "d2", "d5"}, "2": {"d5"}}
    assert [BODIES[docno] for docno in found["docno"]] == found["text"].tolist()


@pytest.mark.java
@pytest.mark.filterwarnings("ignore:Skipping empty query")
def test_no_query_and_queries_of_signs_alone_give_no_rows_and_the_same_columns(index):
    pipeline = first_stage(frame(BODIES), index)
    columns = set(pipeline.search("jak").columns)
    for queries in ([], [["1", "+++ ()"], ["2", ""]]):
        found = pipeline(pd.DataFrame(queries, columns=["qid", "query"]))
        assert len(found) == 0 and set(found.columns) == columns
    assert set(pt.inspect.transformer_outputs(pipeline, ["qid", "query"])) == columns


@pytest.mark.java
def test_as_many_documents_are_retrieved_as_asked_for(index):
    assert len(first_stage(frame(BODIES), index, num_results=2).search("cells grow jak column")) == 2
    assert len(first_stage(frame(BODIES), index).search("cells grow jak column")) == 5
    with pytest.raises(ValueError, match="at least 1, and is 0"):
        first_stage(frame(BODIES), index, num_results=0)


@pytest.mark.java
def test_an_index_is_used_again_for_the_same_documents_and_another_is_built_for_others(tmp_path, monkeypatch):
    builds = []
    build = module._build
    monkeypatch.setattr(module, "_build", lambda *args: (builds.append(1), build(*args)))
    folder = tmp_path / "kept" / "indexes"
    first = first_stage(frame(BODIES), folder)
    found = first.search("jak")
    assert first_stage(frame(BODIES), folder).search("jak").equals(found) and len(builds) == 1
    changed = BODIES | {"d5": "jak jak"}
    assert "d5" in set(first_stage(frame(changed), folder).search("jak")["docno"]) and len(builds) == 2
    assert first.search("jak").equals(found) and first_stage(frame(BODIES), folder).search("jak").equals(found)
    first_stage(frame(BODIES), folder, language="german")
    assert len(builds) == 3
    assert [path.name.rpartition("-")[0] for path in sorted(folder.iterdir())] == ["english", "english", "german"]


@pytest.mark.java
def test_an_index_that_was_changed_is_refused_with_what_to_do(tmp_path):
    first_stage(frame(BODIES), tmp_path)
    index, = tmp_path.iterdir()
    for spoil in (lambda recipe: recipe.write_text("{"), lambda recipe: recipe.unlink()):
        spoil(index / "recipe.json")
        with pytest.raises(DataError, match=f"{index.name} is not the index .* Delete the folder"):
            first_stage(frame(BODIES), tmp_path)


@pytest.mark.java
def test_another_index_that_is_built_while_one_is_opened_is_not_what_is_opened(tmp_path, monkeypatch):
    mine, other = frame({"a": "wheel", "b": "tree", "c": "frog"}), frame({"a": "tree", "b": "wheel", "c": "frog"})
    retriever, tokenise = pt.terrier.Retriever, pt.rewrite.tokenise

    def comes_between(opens):
        def opened(*args, **options):
            monkeypatch.setattr(pt.terrier, "Retriever", retriever)
            monkeypatch.setattr(pt.rewrite, "tokenise", tokenise)
            first_stage(other, tmp_path)
            return opens(*args, **options)
        return opened

    monkeypatch.setattr(pt.terrier, "Retriever", comes_between(retriever))
    assert first_stage(mine, tmp_path).search("wheel")["docno"].tolist() == ["a"]
    monkeypatch.setattr(pt.rewrite, "tokenise", comes_between(tokenise))
    assert first_stage(mine, tmp_path).search("wheel")["docno"].tolist() == ["a"]


AT_ONCE = """
import sys, time
from pathlib import Path
import pandas as pd
import pyterrier as pt
from pyterrier_taskarith.terrier import first_stage
number, folder = int(sys.argv[1]), Path(sys.argv[2])
retriever = pt.terrier.Retriever

def opened(*args, **options):  # both processes have an index now
    (folder / f"ready-{number}").touch()
    while len(list(folder.glob("ready-*"))) < 2:
        time.sleep(0.01)
    return retriever(*args, **options)

pt.terrier.Retriever = opened
documents = pd.DataFrame({"docno": ["a", "b", "c"], "text": [("wheel", "frog")[n == number] for n in range(3)]})
print(first_stage(documents, folder / "index").search("frog")["docno"].tolist())
"""


@pytest.mark.slow
@pytest.mark.java
def test_processes_at_once_with_one_folder_get_their_own_collections_ranking(tmp_path):
    started = [subprocess.Popen([sys.executable, "-c", AT_ONCE, str(number), str(tmp_path)], text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE) for number in range(2)]
    found = [process.communicate(timeout=200) for process in started]
    assert [out.strip() for out, _ in found] == ["['a']", "['b']"], found


@pytest.mark.java
def test_a_relative_folder_lies_in_the_working_folder_of_the_moment(tmp_path, monkeypatch):
    documents = frame({"a": "cell growth"})
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        monkeypatch.chdir(tmp_path / place)
        first = first_stage(documents, "indexes/mine")
        assert len([*(tmp_path / place / "indexes" / "mine").glob("english-*/data.properties")]) == 1
    monkeypatch.chdir(tmp_path)
    assert first.search("growth")["docno"].tolist() == ["a"]


@pytest.mark.java
def test_a_build_that_fails_leaves_the_folder_as_it_was(tmp_path, monkeypatch):
    (tmp_path / "thesis.txt").write_text("years of work")
    first_stage(frame(BODIES), tmp_path)
    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(pt, "IterDictIndexer", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        first_stage(frame(BODIES | {"d5": "other"}), tmp_path)
    assert sorted(tmp_path.iterdir()) == before


def test_an_unknown_language_and_no_documents_are_refused_before_java_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ensure_java", lambda: 1 / 0)
    with pytest.raises(ValueError, match="'klingon'; known: english"):
        first_stage(frame(BODIES), tmp_path / "index", language="klingon")
    with pytest.raises(ValueError, match="no documents"):
        first_stage(frame({}), tmp_path / "index")


# ---- Texts

RESULTS = pd.DataFrame({"qid": ["1", "1"], "docno": ["d2", "d1"], "score": [2.0, 1.0]}, index=[5, 3])


def test_texts_are_joined_in_place_of_nothing_else():
    before = RESULTS.copy()
    found = Texts(frame(BODIES))(RESULTS)
    assert found["text"].tolist() == [BODIES["d2"], BODIES["d1"]]
    assert found.drop(columns="text").equals(before) and RESULTS.equals(before)
    assert Texts(frame(BODIES))(found.assign(text="stale"))["text"].tolist() == [BODIES["d2"], BODIES["d1"]]


def test_texts_of_no_results_are_a_column_of_the_documents_kind():
    documents = frame(BODIES)
    found = Texts(documents)(RESULTS.iloc[:0])
    assert len(found) == 0 and found["text"].dtype == documents["text"].dtype


def test_texts_say_which_column_they_need():
    with pytest.raises(pt.validate.InputValidationError, match="docno"):
        Texts(frame(BODIES))(RESULTS.drop(columns="docno"))
    assert pt.inspect.transformer_inputs(Texts(frame(BODIES))) == [["docno"]]


def test_texts_of_an_unknown_docno_are_an_error_that_names_it():
    with pytest.raises(ValueError, match=r"1 of 2 results .* 5 documents, such as \['d9'\]"):
        Texts(frame(BODIES))(RESULTS.assign(docno=["d9", "d1"]))


def test_texts_are_equal_for_equal_documents_and_survive_pickling():
    texts, same = Texts(frame(BODIES)), Texts(frame(dict(BODIES)))
    other = Texts(frame(BODIES | {"d1": "changed"}))
    assert texts == same and hash(texts) == hash(same) and repr(texts) == repr(same)
    assert texts != other and repr(texts) != repr(other) and texts != "texts"
    assert repr(texts).startswith("Texts(5 documents, ")
    assert pickle.loads(pickle.dumps(texts)) == texts and copy.deepcopy(texts) == texts
    assert pt.inspect.transformer_apply_attributes(texts) == texts
    assert Texts(frame({"a": "bc"})) != Texts(frame({"ab": "c"}))


@pytest.mark.parametrize(
    ("documents", "words"),
    [
        (pd.DataFrame({"docno": ["a"], "body": ["x"]}), "lack the column 'text'"),
        (pd.DataFrame({"docno": ["a", "a"], "text": ["x", "y"]}), "'a' occurs more than once"),
        (pd.DataFrame({"docno": ["a", "b"], "text": ["x", None]}), r"1 documents .* \['b'\]"),
        (pd.DataFrame({"docno": ["a", "b"], "text": ["x", np.nan]}), r"1 documents .* \['b'\]"),
        (pd.DataFrame({"docno": [1], "text": ["x"]}), r"not a str, such as \[1\]"),
    ],
)
def test_faulty_documents_are_refused(documents, words):
    with pytest.raises(ValueError, match=words):
        Texts(documents)


@pytest.mark.java
@pytest.mark.skipif("TASKARITH_SHARED" not in os.environ, reason="needs real collections in TASKARITH_SHARED")
def test_bm25_on_scifact_is_where_others_have_it(tmp_path):
    folder = Path(os.environ["TASKARITH_SHARED"]) / "data" / "collections"
    collection = read_collection(folder / "scifact", development=folder / "scifact_train")
    found = first_stage(collection.documents, tmp_path / "index")(collection.topics["test"])
    run = found.rename(columns={"qid": "query_id", "docno": "doc_id"})
    qrels = collection.qrels["test"].rename(columns={"qid": "query_id", "docno": "doc_id", "label": "relevance"})
    assert ir_measures.calc_aggregate([ir_measures.nDCG @ 10], qrels, run)[ir_measures.nDCG @ 10] == pytest.approx(
        0.679, abs=0.015
    )
