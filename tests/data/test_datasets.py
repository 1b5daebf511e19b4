"""Collections by name: folders, zips and ir_datasets' ids, and what is said where there is none."""

import importlib
import json
import pickle
import sys
import zipfile
from typing import NamedTuple

import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_taskarith.data import Collection, IrdsTexts, StoredTexts, Texts, open_dataset
from pyterrier_taskarith.data import _irds as irds

CORPUS = [{"_id": f"d{i}", "title": f"T{i}", "text": f"body {i}"} for i in range(6)]


@pytest.fixture
def beir(tmp_path):
    folder = tmp_path / "germanquad"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, CORPUS)))
    (folder / "queries.jsonl").write_text("\n".join(json.dumps({"_id": f"q{i}", "text": f" query {i}"})
                                                    for i in range(5)))
    for split, qids in (("dev", [0, 1]), ("test", [2, 3, 4]), ("train.small", [0])):
        lines = ["query-id\tcorpus-id\tscore", *(f"q{i}\td{i}\t2" for i in qids)]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines))
    return folder


@pytest.fixture
def plain(tmp_path):
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "docs.jsonl").write_text("\n".join(json.dumps({"docno": row["_id"], **row}) for row in CORPUS))
    (folder / "queries.tsv").write_text("q0\tquery 0\nq1\tquery 1\n")
    (folder / "qrels.txt").write_text("q0 0 d0 1\nq1 0 d5 1\n")
    return folder


@pytest.mark.parametrize("as_zip", [False, True])
@pytest.mark.parametrize(("split", "name", "qids"), [
    (None, "test", ["q2", "q3", "q4"]), ("dev", "dev", ["q0", "q1"]), ("train.small", "train.small", ["q0"])])
def test_a_beir_folder_or_zip_gives_the_split_asked_for(tmp_path, beir, as_zip, split, name, qids):
    source = beir
    if as_zip:
        source = tmp_path / "germanquad.zip"
        with zipfile.ZipFile(source, "w") as file:
            for path in beir.rglob("*"):
                file.write(path, path.relative_to(tmp_path))
    data = open_dataset(source, split, place=tmp_path / "place")
    assert isinstance(data, Collection) and data.name == "germanquad"
    assert list(data.topics) == list(data.qrels) == (["dev", "test"] if split is None else [name])
    sizes = f"{'2 dev, ' * (split is None)}{len(qids)} {name}"
    assert repr(data) == f"Collection('germanquad', 6 documents, queries: {sizes})"
    assert data.topics[name].values.tolist() == [[qid, f"query {qid[1:]}"] for qid in qids]
    assert data.qrels[name].values.tolist() == [[qid, f"d{qid[1:]}", 2] for qid in qids]
    assert dict(data.documents.pairs()) == {f"d{i}": f"T{i} body {i}" for i in range(6)}
    assert not (tmp_path / "home").exists()


def test_a_plain_folder_has_one_set_of_queries(plain):
    data = open_dataset(plain)
    assert data.name == "plain" and list(data.topics) == ["test"] and data.documents.count == 6
    assert data.topics["test"]["qid"].tolist() == ["q0", "q1"]
    assert data.report == "plain: 6 documents, 2 test queries (of the folder's queries.tsv)."
    with pytest.raises(ValueError, match=r"queries\.tsv, and no split 'dev'"):
        open_dataset(plain, "dev")


def test_the_documents_can_be_elsewhere(tmp_path, plain, beir):
    (plain / "docs.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=r"not a folder with docs\.jsonl or corpus\.jsonl"):
        open_dataset(plain)
    for place in (beir, beir / "corpus.jsonl"):
        assert open_dataset(plain, documents=place).documents == StoredTexts(beir)


def test_a_split_or_folder_that_is_not_there_is_named(tmp_path, beir):
    with pytest.raises(FileNotFoundError, match=r"lacks the file .*qrels/dve\.tsv; its splits are dev, test, tr"):
        open_dataset(beir, "dve")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds neither queries.tsv nor queries.jsonl"):
        open_dataset(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder, and not a zip"):
        open_dataset(tmp_path / "nowhere")


# ir_datasets ---------------------------------------------------------------------------------------------------------

class Doc(NamedTuple):
    doc_id: str
    text: str
    title: str


class Query(NamedTuple):
    query_id: str
    text: str
    url: str


class Qrel(NamedTuple):
    query_id: str
    doc_id: str
    relevance: int
    iteration: str


class Stub:
    """What `irds_ref` returns, with documents and, if so, queries; `fails` stands for a site that is down."""

    def __init__(self, queries=True, fails=None, asks=None):
        self.queries, self.fails, self.asked = queries, fails, []
        self.asks = asks or [Query("q0", " zero ", "u"), Query("q1", "one", "u"), Query("q2", "unjudged", "u")]
        self.docs = [Doc(f"d{i}", f"body {i}", f"T{i}" if i else "") for i in range(6)]

    def _reach(self):
        if self.fails is not None:
            raise self.fails

    def has_docs(self):
        return True

    def has_queries(self):
        return self.queries

    has_qrels = has_queries

    def docs_cls(self):
        return Doc

    def docs_count(self):
        self._reach()
        return len(self.docs)

    def docs_namespace(self):
        return "beir/stub"

    def docs_iter(self):
        self._reach()
        yield from self.docs

    def docs_store(self):
        return self

    def get_many_iter(self, docnos):
        self._reach()
        self.asked.append(len(docnos))
        return (doc for doc in self.docs if doc.doc_id in docnos)

    def queries_iter(self):
        self._reach()
        return iter(self.asks)

    def qrels_iter(self):
        return iter([Qrel("q0", "d0", 2, "0"), Qrel("q1", "d5", 0, "0"), Qrel("q1", "d5", 0, "0")])


@pytest.fixture
def stub(monkeypatch):
    """Makes `irds:beir/stub/test` a data set."""
    def make(**options):
        made = Stub(**options)
        real = pt.get_dataset

        wrapped = type("Wrapped", (), {"irds_ref": lambda self: made})()
        monkeypatch.setattr(pt, "get_dataset",
                            lambda name: wrapped if name.startswith("irds:beir/stub") else real(name))
        return made
    return make


def test_an_id_gives_judged_queries_and_texts(stub, monkeypatch):
    made = stub()
    monkeypatch.setattr(irds, "AT_ONCE", 4)
    data = open_dataset("irds:beir/stub", "test")
    assert data.name == "beir/stub/test"
    assert data.topics["test"].values.tolist() == [["q0", "zero"], ["q1", "one"]]
    assert data.qrels["test"].values.tolist() == [["q0", "d0", 2], ["q1", "d5", 0]]
    assert dict(data.documents.pairs()) == {"d0": "body 0", **{f"d{i}": f"T{i} body {i}" for i in range(1, 6)}}
    assert data.documents.get(["d5", "x", "d0", "d1", "d2"]) == {
        "d5": "T5 body 5", "d0": "body 0", "d1": "T1 body 1", "d2": "T2 body 2"}
    assert made.asked == [4, 1] and data.documents.count == 6 and data.documents.unknown(["x", "d1"]) == ["x"]
    assert data.documents == IrdsTexts("irds:beir/stub/dev")  # the same documents under another split
    assert pickle.loads(pickle.dumps(data.documents)) == data.documents
    assert data.documents(pd.DataFrame({"docno": ["d5", "d0"]}))["text"].tolist() == ["T5 body 5", "body 0"]
    texts = Texts(pd.DataFrame(data.documents.pairs(), columns=["docno", "text"]))
    assert texts.docno_bytes == data.documents.docno_bytes == 2


def test_blank_queries_that_are_judged_are_counted_and_named(stub):
    stub(asks=[Query("q0", " ", "u"), Query("q1", "", "u"), Query("q2", "", "u")])
    with pytest.raises(ValueError, match="irds:beir/stub: the topic 'q0' has an empty query, as 1 more of 2 have: its "
                                         "fields are text, url. Choose among them with --topic-field"):
        open_dataset("irds:beir/stub")
    assert open_dataset("irds:beir/stub", fields=["url"]).topics["test"].values.tolist() == [["q0", "u"], ["q1", "u"]]


def test_a_query_is_what_ir_datasets_takes_for_it_or_the_fields_that_are_chosen(stub):
    from ir_datasets.formats.trec import TrecQuery

    class Other(NamedTuple):
        query_id: str
        doc_id: str
        words: str

    stub(asks=[TrecQuery(f"q{i}", f"title {i} ", "desc", "narr") for i in range(2)])
    assert open_dataset("irds:beir/stub").topics["test"]["query"].tolist() == ["title 0", "title 1"]
    chosen = open_dataset("irds:beir/stub", fields=["description", "title"])
    assert chosen.topics["test"]["query"].tolist() == ["desc title 0", "desc title 1"]
    stub(asks=[Other(f"q{i}", "d", f"words {i}") for i in range(2)])
    assert open_dataset("irds:beir/stub", fields=["words"]).topics["test"]["query"].tolist() == ["words 0", "words 1"]
    with pytest.raises(ValueError, match="'q0' has an empty query, as 1 more of 2 have: its fields are doc_id, words"):
        open_dataset("irds:beir/stub")


@pytest.mark.parametrize("name", ["beir", "plain"])
def test_an_empty_query_of_a_folder_is_named(request, name):
    folder = request.getfixturevalue(name)
    file = folder / ("queries.jsonl" if name == "beir" else "queries.tsv")
    file.write_text(file.read_text().replace("query 1", " "))
    with pytest.raises(ValueError, match=f"{file.name}, line 2: the topic 'q1' has an empty query"):
        open_dataset(folder)


@pytest.mark.parametrize("error", [ConnectionError("Name or service not known"), OSError(28, "No space left on device"),
                                   RuntimeError("All download sources failed", [])])
def test_a_site_that_cannot_be_reached_is_one_error_that_says_what_to_do(stub, error):
    stub(fails=error)
    documents = IrdsTexts("irds:beir/stub")
    words = r"The files of irds:beir/stub.* cannot be had \(.*(not known|No space|sources failed).*network.*BEIR folder"
    for ask in (lambda: open_dataset("irds:beir/stub/test"), lambda: documents.count, lambda: list(documents.pairs()),
                lambda: documents.get(["d1"])):
        with pytest.raises(ConnectionError, match=words) as caught:
            ask()
        assert caught.value.__cause__ is error


def test_an_id_that_does_not_exist_is_named_with_those_near_it():
    with pytest.raises(ValueError, match=r"no data set 'beir/nfcorpsu/test'; near it: beir/nfcorpus/test"):
        open_dataset("irds:beir/nfcorpsu", "test")
    with pytest.raises(ValueError, match=r"no data set 'qqqqqqqqqqqqqqqq'; its ids are on"):
        IrdsTexts("irds:qqqqqqqqqqqqqqqq")


def test_an_id_without_queries_says_which_parts_have_some():
    with pytest.raises(ValueError, match=r"irds:miracl/es has no queries; name a part: miracl/es/dev, miracl/es/te"):
        open_dataset("irds:miracl/es")
    with pytest.raises(ValueError, match=r"miracl/es/test-b has no judgements\."):
        open_dataset("irds:miracl/es", "test-b")


@pytest.mark.parametrize("dataset", ["beir/scifact/test", "beir/nfcorpus/dev", "beir/scidocs", "beir/trec-covid",
                                     "miracl/es/dev", "miracl/fr/dev", "miracl/en/dev"])
def test_the_papers_data_sets_are_known_with_documents_queries_and_judgements(dataset):
    found = irds.reference(f"irds:{dataset}")
    assert found.has_docs() and found.has_queries() and found.has_qrels()
    assert {"title", "text"} <= set(found.docs_cls()._fields) and "text" in found.queries_cls()._fields
    assert IrdsTexts(f"irds:{dataset}").fingerprint


@pytest.mark.parametrize(("module", "name", "room"), [("datasets", "open_dataset", "data"),
                                                      ("first_stage", "first_stage", "terrier")])
def test_the_old_places_still_work_with_a_warning(module, name, room):
    sys.modules.pop(f"pyterrier_taskarith.{module}", None)
    with pytest.warns(DeprecationWarning, match=f"pyterrier_taskarith.{room} now"):
        old = importlib.import_module(f"pyterrier_taskarith.{module}")
    assert getattr(old, name) is getattr(importlib.import_module(f"pyterrier_taskarith.{room}"), name)
