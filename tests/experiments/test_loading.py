"""Datasets from local folders and from ir_datasets; the development queries that count."""

import json
import shutil
from collections import namedtuple
from types import SimpleNamespace

import pyterrier as pt
import pytest

from experiments.datasets import DATASETS, Dataset
from experiments.loading import load, stored_in_words, stored_run

SCIFACT = DATASETS[0]
Doc, Query = namedtuple("Doc", "doc_id title text"), namedtuple("Query", "query_id text")
Qrel = namedtuple("Qrel", "query_id doc_id relevance")


def write_plain(folder, *, queries, documents=True):
    folder.mkdir(parents=True)
    if documents:
        (folder / "docs.jsonl").write_text('{"docno": "d1", "title": "A title", "text": "and a body"}\n'
                                           '{"docno": "d2", "title": "", "text": "a body alone"}\n')
    (folder / "queries.tsv").write_text("".join(f"{qid}\ta question {qid}\n" for qid in queries))
    (folder / "qrels.txt").write_text("".join(f"{qid} 0 d1 1\n" for qid in queries))
    return folder


def write_beir(folder, **splits):
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text('{"_id": "d1", "title": "A title", "text": "and a body"}\n')
    (folder / "queries.jsonl").write_text("".join(json.dumps({"_id": qid, "text": f"question {qid}"}) + "\n"
                                                  for qids in splits.values() for qid in qids))
    for split, qids in splits.items():
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(
            f"{qid}\td1\t1\n" for qid in qids))
    return folder


def test_scifact_s_development_queries_are_the_first_161_of_809(tmp_path):
    write_plain(tmp_path / "scifact", queries=["t1", "t2"])
    names = [f"n{number}" for number in range(809, 0, -1)]  # no order but the file's
    write_plain(tmp_path / "scifact_train", queries=names, documents=False)
    loaded = load(SCIFACT, tmp_path)
    assert loaded.topics["dev"]["qid"].tolist() == names[:161]
    assert set(loaded.qrels["dev"]["qid"]) == set(names[:161])
    assert loaded.topics["test"]["qid"].tolist() == ["t1", "t2"]


def test_of_beir_s_folder_the_train_queries_are_for_development(tmp_path):
    write_beir(tmp_path / "scifact", train=[f"n{number}" for number in range(10)], test=["t1"])
    assert load(SCIFACT, tmp_path).topics["dev"]["qid"].tolist() == ["n0", "n1"]


@pytest.mark.parametrize("count", [1, 20])
@pytest.mark.parametrize("halves", [False, True])
def test_a_dataset_without_development_queries_tests_on_all(tmp_path, count, halves):
    names = [f"t{number}" for number in range(count)]
    write_beir(tmp_path / "scidocs", test=names)
    loaded = load(DATASETS[2], tmp_path, halves=halves)
    assert loaded.topics["test"]["qid"].tolist() == names
    assert set(loaded.qrels["test"]["qid"]) == set(names)
    assert "dev" not in loaded.topics


def test_missing_development_queries_are_an_error_but_in_a_rehearsal(tmp_path):
    write_plain(tmp_path / "scifact", queries=[f"t{number}" for number in range(20)])
    with pytest.raises(ValueError, match="no development queries.*'scifact_train' beside it"):
        load(SCIFACT, tmp_path)
    halves = load(SCIFACT, tmp_path, halves=True)
    assert not set(halves.topics["dev"]["qid"]) & set(halves.topics["test"]["qid"])


def test_a_zip_of_beir_s_folder_is_as_good(tmp_path):
    folder = write_beir(tmp_path / "nfcorpus", dev=["a"], test=["d", "e"])
    whole = load(DATASETS[1], tmp_path)
    shutil.make_archive(str(folder), "zip", tmp_path, "nfcorpus")
    shutil.rmtree(folder)
    zipped = load(DATASETS[1], tmp_path)
    assert zipped.topics["test"].equals(whole.topics["test"]) and zipped.source == whole.source


def test_judgements_of_other_documents_are_refused(tmp_path):
    folder = write_beir(tmp_path / "scidocs", test=[f"t{number}" for number in range(20)])
    (folder / "corpus.jsonl").write_text('{"_id": "other", "title": "", "text": "x"}\n')
    with pytest.raises(ValueError, match=r"qrels/test\.tsv and .*corpus\.jsonl have no document in common"):
        load(DATASETS[2], tmp_path)


def test_a_limit_takes_the_first_queries_of_each_split(tmp_path):
    write_beir(tmp_path / "nfcorpus", dev=["a", "b", "c"], test=["d", "e", "f"])
    loaded = load(DATASETS[1], tmp_path, limit=2)
    assert loaded.topics["dev"]["qid"].tolist() == ["a", "b"]
    assert loaded.qrels["test"]["qid"].tolist() == ["d", "e"]


def test_a_text_is_title_and_body(tmp_path):
    write_plain(tmp_path / "scifact", queries=["t1", "t2", "t3"])
    write_plain(tmp_path / "scifact_train", queries=["a", "b", "c", "d", "e"], documents=False)
    assert list(load(SCIFACT, tmp_path).documents.pairs()) == [("d1", "A title and a body"), ("d2", "a body alone")]


def test_the_source_is_the_documents_content(tmp_path):
    for name in ("one", "two"):
        write_plain(tmp_path / name / "scifact", queries=["t1"])
        write_plain(tmp_path / name / "scifact_train", queries=list("abcde"), documents=False)
    one, two = (load(SCIFACT, tmp_path / name).source for name in ("one", "two"))
    assert one == two
    with (tmp_path / "two" / "scifact" / "docs.jsonl").open("a") as file:
        file.write('{"docno": "d3", "title": "", "text": "more"}\n')
    assert load(SCIFACT, tmp_path / "two").source != one


def test_a_dataset_that_is_nowhere_says_what_to_do(tmp_path):
    german = next(dataset for dataset in DATASETS if dataset.name == "GermanQuAD")
    with pytest.raises(FileNotFoundError, match="GermanQuAD is not in ir_datasets: put it as a folder 'germanquad'"):
        load(german)
    with pytest.raises(FileNotFoundError, match="germanquad does not exist"):
        load(german, tmp_path)


class Small:
    """What ir_datasets gives for an id, made here."""

    def has_docs(self):
        return True

    has_queries = has_qrels = has_docs

    def docs_cls(self):
        return Doc

    def docs_count(self):
        return 2

    def docs_iter(self):
        return iter([Doc("d1", "T", "x"), Doc("d2", "", "y")])

    def docs_store(self):
        return self

    def get_many_iter(self, docnos):
        return (doc for doc in self.docs_iter() if doc.doc_id in docnos)

    def queries_iter(self):
        return iter([Query("q2", "two"), Query("q9", "unjudged"), Query("q1", "one")])

    def qrels_iter(self):
        return iter([Qrel("q1", "d1", 2), Qrel("q2", "d1", 0)])


@pytest.fixture
def irds(monkeypatch):
    monkeypatch.setattr(pt, "get_dataset", {f"irds:{name}": SimpleNamespace(irds_ref=Small)
                                            for name in ("small", "small/test")}.__getitem__)
    return Dataset("Small", "small", "biomedical", test="irds:small/test", corpus="irds:small")


def test_ir_datasets_gives_judged_queries_in_file_order(irds, tmp_path):
    loaded = load(irds, tmp_path)
    assert loaded.topics["test"].values.tolist() == [["q2", "two"], ["q1", "one"]]
    assert loaded.qrels["test"].values.tolist() == [["q1", "d1", 2], ["q2", "d1", 0]]
    assert list(loaded.documents.pairs()) == [("d1", "T x"), ("d2", "y")]
    assert loaded.source == {"irds": "small"}


def test_a_run_of_another_first_stage_gets_its_texts(irds, tmp_path):
    (tmp_path / "other.run").write_text("q2 Q0 d2 1 3.5 x\nq1 Q0 d1 1 2.5 x\n")
    loaded = load(irds)
    found = stored_run(loaded, tmp_path / "other.run")(loaded.topics["test"])
    assert found[["qid", "query", "docno", "text", "score"]].values.tolist() == [
        ["q2", "two", "d2", "y", 3.5], ["q1", "one", "d1", "T x", 2.5]]


def test_a_report_names_the_queries_that_a_stored_run_lacks_and_those_that_are_others(irds, tmp_path):
    (tmp_path / "other.run").write_text("q2 Q0 d2 1 3.5 x\nz9 Q0 d1 1 2.5 x\n")
    loaded = load(irds)
    found = stored_run(loaded, tmp_path / "other.run")(loaded.topics["test"])
    assert found["qid"].tolist() == ["q2"]
    assert stored_in_words(loaded, "test", tmp_path / "other.run", found) == (
        "Small, test: what is called BM25 is the stored run other.run. It has no document for 1 of 2 queries, which "
        "count 0: q1. Not used: 1 queries of the run that are none of this dataset's judged ones: z9.")


def test_a_run_of_other_documents_names_them(irds, tmp_path):
    (tmp_path / "other.run").write_text("q2 Q0 d2 1 3.5 x\nq1 Q0 d7 1 2.5 x\n")
    with pytest.raises(ValueError, match=r"other\.run: 1 documents of the run are not among the 2 of Small: d7"):
        stored_run(load(irds), tmp_path / "other.run")
