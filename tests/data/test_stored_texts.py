"""Texts read by docno from a documents file: the same as in memory, indexed once, and what is wrong with a file."""

import copy
import json
import os
import pickle
import re
import sqlite3
from pathlib import Path

import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_taskarith.data import StoredTexts, Texts, read_collection
from pyterrier_taskarith.data import _stored_texts as stored_texts

DOCS = [{"docno": "d1", "title": "Größe", "text": "body one"}, {"docno": "ü2", "title": "", "text": "two\u2028lines"},
        {"docno": "7", "title": "Title", "text": ""}, {"docno": "d" * 70, "text": "no title"}]
TEXTS = ["Größe body one", "two\u2028lines", "Title ", "no title"]

BY_DOCNO = dict(zip((doc["docno"] for doc in DOCS), TEXTS, strict=True))


def written(folder: Path, docs=DOCS, name="docs.jsonl", start=b"") -> Path:
    folder.mkdir(exist_ok=True)
    lines = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in docs]
    (folder / name).write_bytes(start + "\n\n".join(lines).encode())
    return folder


def frame(docs=DOCS, texts=TEXTS) -> pd.DataFrame:
    return pd.DataFrame({"docno": [doc["docno"] for doc in docs], "text": texts})


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
def test_texts_are_those_of_the_collection_in_memory(tmp_path, start):
    stored, memory = StoredTexts(written(tmp_path / "c", start=start)), Texts(frame())
    assert list(stored.pairs()) == list(memory.pairs()) == list(zip(frame()["docno"], TEXTS, strict=True))
    assert stored.fingerprint == memory.fingerprint and stored.count == 4
    assert stored.docno_bytes == memory.docno_bytes == 70
    results = pd.DataFrame({"docno": ["7", "d1", "7", "ü2"], "n": range(4)}, index=[5, 3, 3, 1])
    found = stored(results)
    pd.testing.assert_frame_equal(found, memory(results))
    assert found["text"].tolist() == ["Title ", "Größe body one", "Title ", "two\u2028lines"]
    assert stored.unknown(["d1", "x", "7", "x", "y"]) == memory.unknown(["d1", "x", "7", "x", "y"]) == ["x", "y"]
    with pytest.raises(ValueError, match=r"1 of 4 results .* 4 documents, such as \['x'\]"):
        stored(results.assign(docno=["7", "d1", "x", "ü2"]))
    assert pt.inspect.transformer_inputs(stored) == [["docno"]]


@pytest.mark.parametrize("name", ["corpus.jsonl", "any.json"])
def test_a_beir_corpus_and_a_file_of_any_name_are_read(tmp_path, name):
    folder = written(tmp_path / "c", [{"_id": 7, "title": "T", "text": "b", "metadata": {}}], name)
    stored = StoredTexts(folder if name == "corpus.jsonl" else folder / name)
    assert list(stored.pairs()) == [("7", "T b")]


def test_titles_inside_the_bodies_are_not_given_again(tmp_path):
    docs = [{"docno": f"d{i}", "title": f"T{i}", "text": f"T{i} and body"} for i in (1, 2)] + DOCS[2:]
    folder = written(tmp_path / "c", docs)
    (folder / "queries.tsv").write_text("".join(f"{i}\tquery number {i}\n" for i in range(30)))
    (folder / "qrels.txt").write_text("".join(f"{i} 0 d1 1\n" for i in range(30)))
    memory = Texts(read_collection(folder).documents.head())
    assert list(StoredTexts(folder).pairs()) == list(memory.pairs())
    assert StoredTexts(folder).fingerprint == memory.fingerprint
    assert dict(memory.pairs())["7"] == ""


def test_the_index_is_made_once_and_again_when_the_file_changes(tmp_path, monkeypatch):
    builds = []
    build = StoredTexts._build
    monkeypatch.setattr(StoredTexts, "_build", lambda self: (builds.append(1), build(self))[1])
    folder = written(tmp_path / "c")
    first = StoredTexts(folder, tmp_path / "place")
    assert StoredTexts(folder, tmp_path / "place") == first and len(builds) == 1
    index, = (tmp_path / "place").iterdir()  # nothing temporary is left
    written(folder, [*DOCS, {"docno": "new", "text": "x"}])
    for ask in (lambda: first.get(["d1"]), lambda: list(first.pairs())):
        with pytest.raises(ValueError, match=r"docs\.jsonl has changed since it was opened"):
            ask()
    second = StoredTexts(folder, tmp_path / "place")
    assert second.get(["new", "d1"]) == {"new": "x", "d1": TEXTS[0]} and second != first and len(builds) == 2
    for spoilt in (b"", b"no database", index.read_bytes()[:5000]):
        index.write_bytes(spoilt)
        assert StoredTexts(folder, tmp_path / "place") == second
    assert len(builds) == 5 and list((tmp_path / "place").iterdir()) == [index]


def test_two_collections_share_a_place(tmp_path):
    one = StoredTexts(written(tmp_path / "one"), tmp_path / "place")
    other = StoredTexts(written(tmp_path / "other", [{"docno": "d1", "text": "else"}]), tmp_path / "place")
    assert one.get(["d1"]) == {"d1": TEXTS[0]} and other.get(["d1"]) == {"d1": "else"}


def test_more_documents_than_are_written_or_asked_for_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_texts, "_ROWS", 100)
    docs = [{"docno": f"d{number * 7919 % 2503}", "text": f"text {number}"} for number in range(2503)]
    stored = StoredTexts(written(tmp_path / "c", docs))
    assert stored.count == 2503
    assert stored.get([doc["docno"] for doc in docs]) == {doc["docno"]: doc["text"] for doc in docs}


@pytest.mark.parametrize(("rows", "at"), [(100, 3), (100, 150), (5, 3)], ids=["same part", "later part", "small parts"])
def test_a_docno_that_occurs_twice_is_named_and_leaves_nothing(tmp_path, monkeypatch, rows, at):
    monkeypatch.setattr(stored_texts, "_ROWS", rows)
    docs = [{"docno": f"d{number}", "text": "x"} for number in range(200)]
    docs[at]["docno"] = "d1"
    with pytest.raises(ValueError, match=rf"docs\.jsonl, line {2 * at + 1}: the docno 'd1' occurs twice"):
        StoredTexts(written(tmp_path / "c", docs), tmp_path / "place")
    assert list((tmp_path / "place").iterdir()) == []


@pytest.mark.parametrize(("line", "words"), [
    ('{"docno": "x", "text": ', "line 3: not JSON"),
    ("[1]", "line 3: not a JSON object"),
    ('{"text": "nameless"}', "line 3: 'docno' must be a name"),
    ('{"docno": "x", "text": null}', "line 3: 'text' must be a text"),
])
def test_a_faulty_line_is_named(tmp_path, line, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        StoredTexts(written(tmp_path / "c", [DOCS[0], line]), tmp_path / "place")
    assert list((tmp_path / "place").iterdir()) == []


def test_a_file_that_is_not_utf_8_or_holds_nothing_or_is_not_there_is_named(tmp_path):
    folder = written(tmp_path / "c")
    (folder / "docs.jsonl").write_bytes('{"docno": "a", "text": "x"}\n{"docno": "b", "text": "ö"}'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"docs\.jsonl, line 2: not UTF-8"):
        StoredTexts(folder)
    with pytest.raises(ValueError, match="holds no documents"):
        StoredTexts(written(tmp_path / "empty", []))
    with pytest.raises(FileNotFoundError, match=r"nowhere is not a file, and not a folder with docs\.jsonl"):
        StoredTexts(tmp_path / "nowhere")


def test_it_is_equal_for_equal_documents_and_survives_pickling_and_copying(tmp_path):
    stored = StoredTexts(written(tmp_path / "c"))
    same = StoredTexts(written(tmp_path / "same"))
    other = StoredTexts(written(tmp_path / "other", DOCS[:2]))
    assert stored == same and hash(stored) == hash(same) and repr(stored) == repr(same)
    assert stored != other and repr(stored) != repr(other) and stored != Texts(frame())
    for made in (pickle.loads(pickle.dumps(stored)), copy.deepcopy(stored), pt.inspect.transformer_apply_attributes(
            stored)):
        assert made == stored and made.get(["7"]) == {"7": "Title "}


def test_an_index_that_another_process_made_meanwhile_is_used(tmp_path):
    folder = written(tmp_path / "c")
    first = StoredTexts(folder, tmp_path / "place")
    first._build()  # as if both had found none
    assert StoredTexts(folder, tmp_path / "place").get(["7"]) == first.get(["7"]) == {"7": "Title "}


def test_reading_leaves_the_index_alone_even_where_it_cannot_be_written(tmp_path):
    stored = StoredTexts(written(tmp_path / "c"), tmp_path / "place")
    index, = (tmp_path / "place").iterdir()
    before = index.read_bytes()
    os.chmod(index, 0o444)
    os.chmod(tmp_path / "place", 0o555)
    try:
        assert stored.get(["7"]) == {"7": "Title "} and StoredTexts(tmp_path / "c", tmp_path / "place") == stored
    finally:
        os.chmod(tmp_path / "place", 0o755)
    assert index.read_bytes() == before
    with sqlite3.connect(index) as connection:
        assert connection.execute("SELECT COUNT(*) FROM documents").fetchone() == (4,)


@pytest.mark.parametrize("statement", [
    "UPDATE documents SET docno = 'other' WHERE docno = (SELECT MAX(docno) FROM documents)",
    "UPDATE documents SET start = start + 1 WHERE docno = (SELECT MAX(docno) FROM documents)",
    "UPDATE documents SET start = (SELECT MIN(start) FROM documents)",
    "UPDATE documents SET start = 10000000",
    "DELETE FROM documents",
    "DROP TABLE documents",
])
def test_a_damaged_index_is_told_and_made_again(tmp_path, statement):
    path = written(tmp_path)
    index = StoredTexts(path, tmp_path / "index")
    with sqlite3.connect(next((tmp_path / "index").iterdir())) as connection:
        connection.execute(statement)
    connection.close()
    with pytest.warns(UserWarning, match="the index of .* was damaged on the disk; it is made again"):
        assert index.get(BY_DOCNO) == BY_DOCNO
    with sqlite3.connect(next((tmp_path / "index").iterdir())) as connection:
        connection.execute(statement)
    connection.close()
    with pytest.warns(UserWarning, match="the index of .* was damaged on the disk; it is made again"):
        if "start" in statement:
            assert StoredTexts(path, tmp_path / "index").get(BY_DOCNO) == BY_DOCNO
        else:
            assert StoredTexts(path, tmp_path / "index").unknown([*BY_DOCNO, "another"]) == ["another"]
    assert StoredTexts(path, tmp_path / "index").get([*BY_DOCNO, "another"]) == BY_DOCNO


@pytest.mark.parametrize("name", ["count", "docno_bytes", "titles", "fingerprint", "sum"])
def test_altered_facts_are_not_believed(tmp_path, name):
    path = written(tmp_path)
    texts = StoredTexts(path, tmp_path / "index")
    with sqlite3.connect(next((tmp_path / "index").iterdir())) as connection:
        connection.execute("UPDATE facts SET value = '7' WHERE name = ?", (name,))
    connection.close()
    again = StoredTexts(path, tmp_path / "index")
    assert (again.count, again.docno_bytes, again.fingerprint, again.get(BY_DOCNO)) == (
        texts.count, texts.docno_bytes, texts.fingerprint, BY_DOCNO)
