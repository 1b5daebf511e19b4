"""Files of runs, judgements, topics and documents: what is read, and the line that is named where it cannot be."""

import gzip

import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_taskarith.data import Texts, read_qrels, read_run, read_topics, with_queries

RUN = "q1 Q0 d1 1 2.5 bm25\nq1 Q0 d2 2 -1e-3 bm25\n\nq2\tQ0\td1\t1\t7\tbm25\n"


def written(path, text):
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["a.run", "a.run.gz"])
def test_a_run_is_what_pyterrier_reads_with_the_lines_as_index(tmp_path, name):
    path = written(tmp_path / name, RUN)
    run, theirs = read_run(path), pt.io.read_results(str(path))
    assert list(run.index) == [1, 2, 4]
    pd.testing.assert_frame_equal(run.reset_index(drop=True), theirs[["qid", "docno", "score"]])


def test_what_pandas_would_lose_is_kept(tmp_path):
    run = read_run(written(tmp_path / "a.run", 'q1 Q0 NA 1 2 r\nq1 Q0 "d 2 1 r\nnull Q0 01 1.0 0 r\n'))
    assert run.values.tolist() == [["q1", "NA", 2.0], ["q1", '"d', 1.0], ["null", "01", 0.0]]
    qrels = read_qrels(written(tmp_path / "qrels", "\ufeffq1 0 NA 1\nnull 0 01 -2\nq1 0 NA 1\n"))
    assert qrels.values.tolist() == [["q1", "NA", 1], ["null", "01", -2]]


MEDICINE = ("<topics><topic number='7'><disease>Melanoma</disease><gene>BRAF (V600E)</gene>"
            "<demographic>64-year-old</demographic></topic></topics>")
COVID = "<topics><topic number='7'><query>masks</query><question>do masks help?</question></topic></topics>"
#: As TREC's tracks write them: text, fields, and the query.
XML_TOPICS = [
    ("<topics task='ct'><topic number='7'>\n A 45-year-old man\n with fever. </topic></topics>", (),
     "A 45-year-old man with fever."),
    (MEDICINE, (), "Melanoma BRAF (V600E)"),
    (MEDICINE, ("disease", "demographic"), "Melanoma 64-year-old"),
    ("<topics><topic number='7' type='test'><description>long</description>"
     "<summary>A <b>short</b> one &amp; more</summary></topic></topics>", (), "A short one & more"),
    (COVID, (), "masks"),
    (COVID, ("question",), "do masks help?"),
    ("<t:topics xmlns:t='http://x'><t:topic id='7'><t:Title><![CDATA[a < b]]></t:Title></t:topic></t:topics>", (),
     "a < b"),
    ("<topics><topic><num>Number: 7</num><title>cells</title><narr>n</narr></topic></topics>", (), "cells"),
    ("<?xml version='1.0'?>\n<!-- c --><topics><topic number='7'><!-- c --><title>cells</title></topic></topics>", (),
     "cells"),
    ("<topics><topic number='7'>A man with <b>fever</b> and cough</topic></topics>", (), "A man with fever and cough"),
    ("<topics><topic number='7'><disease>d</disease><gene>BRAF</gene><gene>KRAS</gene></topic></topics>", (),
     "d BRAF KRAS"),
    (COVID, ("Question",), "do masks help?"),
    ("<xml><top><num> 7 </num><title> t </title><desc> d </desc></top></xml>", ("title", "desc"), "t d"),
    ("<queries><query id='7'>masks and <b>gloves</b></query></queries>", (), "masks and gloves"),
    ("<queries><query><qid>7</qid><content>masks</content><desc>long</desc></query></queries>", (), "masks"),
    ("<parameters><query><number>7</number><text>masks</text></query></parameters>", (), "masks"),
    ("<topics><topic><num>7</num>\n do <i>masks</i> help? </topic></topics>", (), "do masks help?"),
    ("<topics><topic number='7'><content><title>masks</title><desc>long</desc></content></topic></topics>", (),
     "masks"),
    ("<topics><topic number='7'><title>masks</title><like><title>gloves</title></like></topic></topics>", (), "masks"),
    ("<?xml version='1.0' encoding='iso-8859-1'?><topics><topic number='7'><title>R&amp;D</title></topic></topics>", (),
     "R&D"),
    ("<top><num>7</num> masks, <b>gloves</b></top>\n", (), "masks, gloves"),
    ("<top>\n<num> Number: 007\n<dom> Domain: x\n<title> Topic: R&D <b>in</b> a < b\n<desc> Description:\nlong\n</top>",
     (), "R&D in a < b"),
    ("<top>\n<num> Number: 007\n<desc> Description:\nlong & <i>wide</i>\n<narr> Narrative:\nwhat\n</top>", (),
     "long & wide"),
    ("<top>\n<num> Number: 007\n<title> t\n<background> B & C\n<narr> Narrative:\nwhat\n</top>",
     ("Narr", "background"), "what B & C"),
]


@pytest.mark.parametrize(("text", "fields", "query"), XML_TOPICS)
def test_xml_topics_of_any_track_are_read(tmp_path, text, fields, query):
    qid = "07" if "007" in text else "7"  # PyTerrier takes one 0 away
    assert read_topics(written(tmp_path / "topics.xml", text), fields).values.tolist() == [[qid, query]]


@pytest.mark.parametrize("fields", [(), ("title",), ("desc",), ("title", "narr")])
def test_classic_topics_are_those_that_pyterrier_reads(tmp_path, fields):
    path = written(tmp_path / "topics", "".join(
        f"<top>\n<head> Tipster\n<num> Number: 0{number}\n<dom> Domain: Trade\n<title> Topic: airbus & {number} \n"
        f"<desc> Description: \nhow many?\n\n<narr> Narrative: \nall of {number}\n</top>\n\n" for number in (51, 52)))
    theirs = pt.io.read_topics(str(path), "trec", whitelist=fields or ["title"])
    assert read_topics(path, fields).values.tolist() == theirs[["qid", "query"]].values.tolist()


@pytest.mark.parametrize("header", ["qid\tquery", "query_id\ttext", "Query-ID\tQuery", "_id\ttext",
                                    "topic_number\ttitle"])
def test_a_header_is_no_topic(tmp_path, header):
    assert read_topics(written(tmp_path / "a.tsv", f"{header}\nq1\tqid\nid\ttext of it\t\n")).values.tolist() == [
        ["q1", "qid"], ["id", "text of it"]]


def test_beirs_fields_can_be_chosen(tmp_path):
    path = written(tmp_path / "queries.jsonl", '{"_id": "q1", "text": "t", "title": "x", "year": 3}\n')
    assert read_topics(path, ["title", "text"]).values.tolist() == [["q1", "x t"]]
    with pytest.raises(ValueError, match="line 1: the topic 'q1' has no year: its fields are text, title. Choose"):
        read_topics(path, ["year"])


def test_xml_topics_are_those_that_pyterrier_reads(tmp_path):
    import pyterrier as pt

    path = written(tmp_path / "topics.xml", "<topics>" + "".join(
        f'<topic number="{number}"><query>what is {number}?</query></topic>' for number in range(5)) + "</topics>")
    theirs = pt.io.read_topics(str(path), "trecxml", tags=["query"], tokenise=False)
    assert read_topics(path).values.tolist() == theirs[["qid", "query"]].values.tolist()


def test_a_field_that_a_topic_lacks_is_named(tmp_path):
    with pytest.raises(ValueError, match="the topic '7' has no descr: its fields are query, question"):
        read_topics(written(tmp_path / "topics.xml", COVID), ["query", "descr"])


def test_fields_are_for_xml_alone(tmp_path):
    with pytest.raises(ValueError, match="fields in TREC's formats and BEIR's JSON alone; leave out title"):
        read_topics(written(tmp_path / "topics.tsv", "q1\ta\n"), ["title"])


@pytest.mark.parametrize("text, message", [
    ("", "is empty"),
    ("\n \n", "is empty"),
    (RUN + "q3 Q0 d1 1 2.5\n", r"line 5: not the six fields qid, Q0, docno, rank, score and name: 'q3 Q0 d1 1 2.5'"),
    ("q1 Q0 d1 1 2.5 my run\n", "line 1: not the six fields"),
    (RUN + "q3 Q0 d1 1 high bm25\n", "line 5: the score is high, and must be a finite number"),
    (RUN + "q3 Q0 d1 1 nan bm25\n", "line 5: the score is nan, and must be a finite number"),
    (RUN + "q1 Q0 d2 3 0 bm25\n", "line 5: document 'd2' occurs a second time for query 'q1'; the first is in line 2"),
])
def test_a_faulty_run_is_named_with_its_line(tmp_path, text, message):
    path = written(tmp_path / "a.run", text)
    with pytest.raises(ValueError, match=message) as caught:
        read_run(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("text, message", [
    ("", "is empty"),
    ("query-id\tcorpus-id\tscore\n", "line 1: not the four fields qid, iteration, docno and label: 'query-id"),
    ("q1 0 d1 1\nq1 0 d2 0.5\n", "line 2: the label must be a whole number, and is '0.5'"),
    ("q1 0 d1 1\nq1 0 d1 0\n", "line 2: query 'q1' and document 'd1' are judged 0, and 1 before"),
])
def test_faulty_judgements_are_named_with_their_line(tmp_path, text, message):
    path = written(tmp_path / "qrels.txt", text)
    with pytest.raises(ValueError, match=message) as caught:
        read_qrels(path)
    assert str(caught.value).startswith(str(path))


def test_a_line_that_is_no_utf_8_is_named(tmp_path):
    (tmp_path / "a.run").write_bytes(RUN.encode() + b"q3 Q0 d\xff 1 2 r\n")
    with pytest.raises(ValueError, match=r"a\.run, line 5: not UTF-8 \(byte 7\)"):
        read_run(tmp_path / "a.run")


@pytest.mark.parametrize("reader", [read_run, read_qrels, read_topics])
def test_a_file_that_is_not_there_is_named(tmp_path, reader):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        reader(tmp_path / "nowhere")


TOPICS = {
    "topics.tsv": "q1\tgrowth: of cells?\nq2\t a/b \n",
    "topics.trec": "<top>\n<num> Number: q1\n<title> growth: of cells?\n</top>\n\n"
                   "<top>\n<num>q2</num>\n<title>a/b</title>\n<desc> Description: more\n</top>\n",
    "topics.xml": '<topics><topic number="q1"><query>growth: of cells?</query></topic>'
                  '<topic number="q2"><query>a/b</query></topic></topics>',
    "queries.jsonl": '{"_id": "q1", "text": "growth: of cells?"}\n{"_id": "q2", "text": "a/b", "metadata": {}}\n',
}


@pytest.mark.parametrize("name", TOPICS)
def test_topics_are_read_in_four_forms(tmp_path, name):
    topics = read_topics(written(tmp_path / name, TOPICS[name]))
    assert topics.values.tolist() == [["q1", "growth: of cells?"], ["q2", "a/b"]]


@pytest.mark.parametrize("text, message", [
    ("", "holds no topics"),
    ("q1\ta\nq2 b\n", "line 2: not a qid, a TAB and a query: 'q2 b'"),
    ("q1\ta\nq1\tb\n", "line 2: the qid 'q1' occurs twice"),
    ("<top>\n<num> 1\n<title> a\n</top>\n<top>\n<num> 1\n<title> b\n</top>\n", "topics: the qid '1' occurs twice"),
    ("<topics><topic number='1'>", "topics: not TREC topics"),
    ("<html></html>", "holds no topics"),
    ("q1\ta\nq2\t \n", "line 2: the topic 'q2' has an empty query"),
    ("q1\ta\tmore\n", "line 1: not a qid, a TAB and a query"),
    ("qid\tquery\tnarrative\nq1\ta\tb\n", "line 1: not a qid, a TAB and a query"),
    ("qid\tquery\n", "holds no topics"),
    ("q1\ta\nq2\t \nq3\t\n", "line 2: the topic 'q2' has an empty query, as 1 more of 3 have"),
    ('{"_id": "1", "body": "a"}\n', "line 1: the topic '1' has no text: its fields are body. Choose"),
    ("<top>\n<num> 1\n<title>\n<desc> a & b\n</top>\n",
     "the topic '1' has an empty query: its fields are num, title, desc. .*--topic-field"),
    ("<top>\n<num> 1\n<smry> a & b\n</top>\n", "the topic '1' has an empty query: its fields are num, smry. "),
    ("<top>\n<title> a & b\n</top>\n", "a topic has no number .with the tags title"),
    ("<top>\n<num> 1\nmasks & gloves\n</top>\n", "a topic has no number but '1 masks & gloves'"),
    ('{"_id": "1", "text": ""}\n', "line 1: the topic '1' has an empty query"),
    ("<topics><topic number='1'><query> </query><note>x</note></topic></topics>",
     "the topic '1' has an empty query: its fields are query, note. .*--topic-field"),
    ("<topics><topic><query>a</query></topic></topics>", "a topic has no number .with the tags query"),
    ('{"id": 1}\n', "line 1: '_id' must be a name"),
])
def test_faulty_topics_are_named_with_their_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_topics(written(tmp_path / "topics", text))


@pytest.mark.parametrize("kept", [0, 5, 40, 60, -8, -1])
def test_a_run_that_was_not_downloaded_to_its_end_is_named(tmp_path, kept):
    lines = "".join(f"q{number} Q0 d{number * 7919 % 1000} 1 {number / 7} bm25\n" for number in range(5000))
    path = tmp_path / "a.run.gz"
    path.write_bytes(gzip.compress(lines.encode())[:kept])
    with pytest.raises(ValueError, match="was it downloaded to its end" if kept else "is empty") as caught:
        read_run(path)
    assert str(caught.value).startswith(str(path))


def test_a_file_that_is_called_gz_and_is_none_is_named(tmp_path):
    (tmp_path / "a.run.gz").write_text(RUN)
    with pytest.raises(ValueError, match=r"a\.run\.gz, line 0: the file cannot be unpacked .*Not a gzipped file"):
        read_run(tmp_path / "a.run.gz")


def test_a_run_gets_its_queries_and_its_documents_are_looked_for(tmp_path):
    run = read_run(written(tmp_path / "a.run", RUN))
    topics = pd.DataFrame({"qid": ["q1"], "query": ["one"]})
    documents = pd.DataFrame({"docno": ["d1", "d2"], "text": ["first", "second"]})
    made = with_queries(run, topics, Texts(documents), "a.run")
    assert made.values.tolist() == [["q1", "d1", 2.5, "one"], ["q1", "d2", -0.001, "one"]]
    with pytest.raises(ValueError, match=r"a\.run, line 2: document 'd2' is not among the 1 documents and so has no "
                                         r"text; the run has 1 such documents \(d2\) in 1 rows\. Were"):
        with_queries(run, topics, Texts(documents.head(1)), "a.run")
    with pytest.raises(ValueError, match=r"a\.run: none of its queries \('q1' …\) is among the 1 topics \('x' …\)"):
        with_queries(run, topics.assign(qid="x"), Texts(documents), "a.run")


def test_of_many_unknown_documents_some_are_named(tmp_path):
    run = read_run(written(tmp_path / "a.run", "".join(f"q1 Q0 d{number} 1 {-number} r\n" for number in range(9))))
    topics = pd.DataFrame({"qid": ["q1"], "query": ["one"]})
    with pytest.raises(ValueError, match=r"line 3: document 'd2' .* 7 such documents \(d2, .*, d6 …\) in 7 rows\."):
        with_queries(run, topics, Texts(pd.DataFrame({"docno": ["d0", "d1"], "text": ["a", "b"]})), "a.run")


@pytest.mark.parametrize("column", ["docno", "text", "url"])
def test_a_column_that_documents_or_results_have_twice_is_named(column):
    documents = pd.DataFrame({"docno": ["d1"], "text": ["a"], "url": ["u"]})
    twice = pd.concat([documents, documents[[column]]], axis=1)
    for use in (lambda: Texts(twice), lambda: Texts(documents).transform(twice)):
        with pytest.raises(ValueError, match=f"has the column '{column}' more than once"):
            use()
