"""Reading a test collection from a folder: both layouts, the splits, and what is wrong with a file."""

import json
import os
import re
import warnings
from pathlib import Path

import pytest

from pyterrier_taskarith.data import read_collection, split_of

QUERIES = [f"query number {number}" for number in range(40)]


def write_plain(folder: Path, docs=None, queries=None, qrels=None) -> Path:
    folder.mkdir()
    docs = docs or [
        {"docno": "d1", "title": "Cells", "text": "They grow."},
        {"docno": "d2", "title": "", "text": "No."},
    ]
    queries = queries or [f"{number}\t{query}" for number, query in enumerate(QUERIES)]
    qrels = qrels or [f"{number} 0 d1 {number % 3}" for number in range(len(QUERIES))]
    (folder / "docs.jsonl").write_text("\n".join(d if isinstance(d, str) else json.dumps(d) for d in docs) + "\n")
    (folder / "queries.tsv").write_text("\n".join(queries) + "\n")
    (folder / "qrels.txt").write_text("\n".join(qrels) + "\n")
    return folder


def write_beir(folder: Path, splits: dict[str, list[str]]) -> Path:
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(json.dumps({"_id": 7, "title": "Cells", "text": "They grow.", "metadata": {}}))
    rows = [{"_id": f"q{number}", "text": query} for number, query in enumerate(QUERIES)]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for split, qids in splits.items():
        lines = ["query-id\tcorpus-id\tscore", *(f"{qid}\t7\t1" for qid in qids)]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines))
    return folder


def test_a_plain_folder_gives_documents_and_two_halves_of_the_queries(tmp_path):
    collection = read_collection(write_plain(tmp_path / "tiny"))
    assert collection.name == "tiny"
    assert list(collection.documents.pairs()) == [("d1", "Cells They grow."), ("d2", "No.")]
    for split in ("dev", "test"):
        topics, qrels = collection.topics[split], collection.qrels[split]
        assert list(topics.columns) == ["qid", "query"] and list(qrels.columns) == ["qid", "docno", "label"]
        assert topics["query"].tolist() == [query for query in QUERIES if split_of(query) == split]
        assert qrels["qid"].tolist() == topics["qid"].tolist()
        assert qrels["label"].tolist() == [int(qid) % 3 for qid in topics["qid"]]
        assert all(isinstance(qid, str) for qid in topics["qid"])
    dev, test = len(collection.topics["dev"]), len(collection.topics["test"])
    assert dev + test == 40 and min(dev, test) >= 10
    assert f"{dev} development and {test} test queries (divided by a hash" in collection.report
    assert f"queries: {dev} dev, {test} test" in repr(collection)


def test_a_query_stays_on_its_side_when_others_come_and_go(tmp_path):
    whole = read_collection(write_plain(tmp_path / "whole"))
    fewer = read_collection(write_plain(tmp_path / "fewer", queries=[f"x{i}\t{q}" for i, q in enumerate(QUERIES[5:30])],
                                        qrels=[f"x{i} 0 d1 1" for i in range(25)]))
    for split in ("dev", "test"):
        assert set(fewer.topics[split]["query"]) == set(whole.topics[split]["query"]) & set(QUERIES[5:30])
    assert split_of("two  words") == split_of("two words ")


def test_bodies_that_hold_their_title_are_not_given_it_again(tmp_path):
    docs = [{"docno": f"d{i}", "title": f"Title {i}", "text": f"Title {i} and body"} for i in (1, 2)]
    docs.append({"docno": "d3", "title": "Other", "text": "body"})
    assert read_collection(write_plain(tmp_path / "inside", docs)).documents.head()["text"].tolist() == [
        "Title 1 and body", "Title 2 and body", "body",
    ]
    docs[1]["text"] = "body"  # one of three: an abstract may happen to begin with its title
    assert read_collection(write_plain(tmp_path / "outside", docs)).documents.head()["text"].tolist() == [
        "Title 1 Title 1 and body", "Title 2 body", "Other body",
    ]


def test_a_sibling_folder_can_hold_the_development_queries(tmp_path):
    folder = write_plain(tmp_path / "main")
    sibling = write_plain(tmp_path / "train", queries=["0\ta training query"], qrels=["0 0 d2 1"])
    (sibling / "docs.jsonl").unlink()
    collection = read_collection(folder, development=sibling)
    assert collection.topics["dev"]["query"].tolist() == ["a training query"]
    assert len(collection.topics["test"]) == 40
    assert "development queries from train" in collection.report


@pytest.mark.parametrize(
    ("splits", "development", "test"),
    [
        ({"train": ["q1"], "dev": ["q2"], "test": ["q3", "q4"]}, ["q2"], ["q3", "q4"]),
        ({"train": ["q1"], "test": ["q3"]}, ["q1"], ["q3"]),
        ({"train": ["q1"], "dev": ["q2"]}, ["q1"], ["q2"]),
    ],
)
def test_a_beir_folder_gives_its_own_splits(tmp_path, splits, development, test):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # queries of other splits are no fault
        collection = read_collection(write_beir(tmp_path / "beir", splits))
    assert list(collection.documents.pairs()) == [("7", "Cells They grow.")]
    assert collection.topics["dev"]["qid"].tolist() == development
    assert collection.topics["test"]["qid"].tolist() == test
    assert collection.qrels["test"]["docno"].tolist() == ["7"] * len(test)


def test_a_beir_folder_with_one_split_is_divided_by_hash(tmp_path):
    collection = read_collection(write_beir(tmp_path / "beir", {"test": [f"q{i}" for i in range(40)]}))
    assert collection.topics["test"]["query"].tolist() == [query for query in QUERIES if split_of(query) == "test"]
    assert len(collection.topics["dev"]) + len(collection.topics["test"]) == 40


def test_unknown_queries_unjudged_queries_and_unknown_documents_are_counted_in_warnings(tmp_path):
    judged = ["0 0 d1 1", *(f"{i} 0 d9 1" for i in range(39))]
    folder = write_plain(tmp_path / "odd", qrels=["99 0 d1 1", "98 0 d1 1", *judged])
    with pytest.warns(UserWarning) as caught:
        collection = read_collection(folder)
    words = " | ".join(str(warning.message) for warning in caught)
    assert "2 unknown queries (98, 99) are ignored" in words
    assert "1 query (39) without a judgement left out" in words
    assert "1 judged document (d9) not in the collection" in words
    assert sum(len(topics) for topics in collection.topics.values()) == 39
    assert set(collection.qrels["test"]["docno"]) | set(collection.qrels["dev"]["docno"]) == {"d1", "d9"}


def test_judgements_of_other_documents_altogether_are_refused_with_both_files(tmp_path):
    folder = write_plain(tmp_path / "other", qrels=[f"{i} 0 D{i % 4} 1" for i in range(40)])
    with pytest.raises(ValueError, match=r"qrels\.txt and .*docs\.jsonl have no document in common: judged are 4 "
                                         r"documents \(D0, D1, D2, …\), and docs\.jsonl holds 2 documents \(d1, d2\)"):
        read_collection(folder)
    right = write_plain(tmp_path / "right")
    with pytest.raises(ValueError, match=r"other/qrels\.txt and .*right/docs\.jsonl have no document in common"):
        read_collection(right, development=folder)


def test_of_a_beir_folder_the_splits_that_are_used_must_judge_its_documents(tmp_path):
    folder = write_beir(tmp_path / "beir", {"train": ["q1"], "dev": ["q2"], "test": ["q3"]})
    for split, error in (("train", False), ("dev", True)):
        path = folder / "qrels" / f"{split}.tsv"
        path.write_text(path.read_text().replace("\t7\t", "\t8\t"))
        if error:
            with pytest.raises(ValueError, match=r"qrels/dev\.tsv and .*corpus\.jsonl have no document in common"):
                read_collection(folder)
        else:
            assert len(read_collection(folder).topics["dev"]) == 1


def test_a_query_and_a_judgement_given_twice_count_once(tmp_path):
    queries, qrels = [f"{i}\t{query}" for i, query in enumerate(QUERIES)], [f"{i} 0 d1 1" for i in range(40)]
    collection = read_collection(write_plain(tmp_path / "twice", queries=queries * 2, qrels=qrels * 2))
    assert sum(len(topics) for topics in collection.topics.values()) == 40
    assert sum(len(qrels) for qrels in collection.qrels.values()) == 40


@pytest.mark.parametrize(
    ("file", "line", "words"),
    [
        ("docs.jsonl", '{"docno": "d1", "text": ', "not JSON"),
        ("docs.jsonl", '["d3"]', "not a JSON object"),
        ("docs.jsonl", '{"docno": "d1", "text": "again"}', "the docno 'd1' occurs twice"),
        ("docs.jsonl", '{"text": "nameless"}', "'docno' must be a name or a whole number, and is None"),
        ("docs.jsonl", '{"docno": "d3", "contents": "x"}', "is None; the line has the fields 'docno', 'contents'"),
        ("docs.jsonl", '{"docno": "d3", "text": null}', "'text' must be a text, and is None"),
        ("docs.jsonl", '{"docno": "d3", "text": NaN}', "'text' must be a text, and is nan"),
        ("queries.tsv", "41 no tab", "not a qid, a TAB and a query: '41 no tab'"),
        ("queries.tsv", "3\tagain", "the qid '3' occurs twice"),
        ("qrels.txt", "1 0 d1", "not the four fields qid, iteration, docno and label: '1 0 d1'"),
        ("qrels.txt", "1 0 d2 high", "the label must be a whole number, and is 'high'"),
        ("qrels.txt", "1 0 d1 9", "query '1' and document 'd1' are judged 9, and 1 before"),
    ],
)
def test_a_faulty_line_is_named_with_file_line_and_value(tmp_path, file, line, words):
    folder = write_plain(tmp_path / "faulty")
    number = len((folder / file).read_text().splitlines()) + 1
    with (folder / file).open("a") as out:
        out.write(line + "\n")
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        read_collection(folder)
    assert f"{file}, line {number}: " in str(caught.value)


def test_a_file_that_is_not_utf_8_is_named(tmp_path):
    folder = write_plain(tmp_path / "latin")
    (folder / "queries.tsv").write_bytes("1\tok\n2\tGröße\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"queries\.tsv, line 2: not UTF-8"):
        read_collection(folder)


@pytest.mark.parametrize("file", ["queries.tsv", "qrels.txt", "docs.jsonl"])
def test_a_missing_file_is_named(tmp_path, file):
    folder = write_plain(tmp_path / "incomplete")
    (folder / file).unlink()
    with pytest.raises(FileNotFoundError, match=file):
        read_collection(folder)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        read_collection(tmp_path / "nowhere")


def test_a_beir_folder_without_judgements_says_which_files_it_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train\.tsv, dev\.tsv, test\.tsv"):
        read_collection(write_beir(tmp_path / "beir", {}))


def test_a_collection_without_documents_or_judged_queries_is_refused(tmp_path):
    folder = write_plain(tmp_path / "unjudged", qrels=["99 0 d1 1"])
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="none of the 40 queries has a judgement"):
        read_collection(folder)
    (folder / "docs.jsonl").write_text("\n")
    (folder / "qrels.txt").write_text("".join(f"{number} 0 d1 1\n" for number in range(40)))
    with pytest.raises(ValueError, match="holds no documents"):
        read_collection(folder)


def test_too_few_queries_to_divide_are_refused(tmp_path):
    folder = write_plain(tmp_path / "one", queries=["1\talone"], qrels=["1 0 d1 1"])
    with pytest.raises(ValueError, match="too few queries"):
        read_collection(folder)


def test_line_separators_inside_a_text_do_not_end_a_line(tmp_path):
    docs = [json.dumps({"docno": "d1", "text": "one\u2028two\x0bthree"}, ensure_ascii=False)]
    documents = read_collection(write_plain(tmp_path / "odd", docs)).documents
    assert documents.head()["text"].tolist() == ["one\u2028two\x0bthree"]


@pytest.mark.skipif("TASKARITH_SHARED" not in os.environ, reason="needs real collections in TASKARITH_SHARED")
def test_a_real_collection_is_read_whole():
    folder = Path(os.environ["TASKARITH_SHARED"]) / "data" / "collections"
    collection = read_collection(folder / "scifact", development=folder / "scifact_train")
    assert collection.documents.count == 5183
    assert (len(collection.topics["dev"]), len(collection.topics["test"])) == (809, 300)
    first = json.loads((folder / "scifact" / "docs.jsonl").read_text().splitlines()[0])
    assert collection.documents.head(1)["text"][0] == first["title"] + " " + first["text"]
