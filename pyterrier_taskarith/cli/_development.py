"""The queries to tune on: of a collection, or of a stored run with its judgements, topics and documents."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from pyterrier_taskarith.data import TextSource


@dataclass(frozen=True)
class TuningData:
    """A first stage's results on judged queries.

    Attributes:
        name: What they are, in words; it stands in the report's first line.
        run: qid, docno, query and score; and text, where there are no ``documents``.
        topics: qid and query.
        qrels: qid, docno and label.
        documents: What gives the texts of the run, if it lacks them.
        code: Lines of Python about ``first``, the pipeline that the re-ranker goes behind.
    """

    name: str
    run: "pd.DataFrame"
    topics: "pd.DataFrame"
    qrels: "pd.DataFrame"
    code: tuple[str, ...]
    documents: "TextSource | None" = None


def add_development(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say what is tuned on."""
    data = parser.add_argument_group("data", "a collection, whose first stage is BM25's top 100; or a stored run with "
                                             "--qrels, --topics and --docs; or a stored run over a collection. If all "
                                             "are left out: docstrings of installed packages, as in taskarith demo")
    data.add_argument("--collection", metavar="DIR", help="a folder with docs.jsonl, queries.tsv and qrels.txt, or a "
                                                          "BEIR folder, or a zip of one; its development queries "
                                                          "are used")
    data.add_argument("--development", metavar="DIR", help="a folder with the development queries.tsv and qrels.txt "
                                                           "over the same documents")
    data.add_argument("--run", dest="run_file", metavar="FILE", help="a first stage's run in TREC's format (.gz too)")
    data.add_argument("--qrels", metavar="FILE", help="judgements: qid, 0, docno, label")
    data.add_argument("--topics", metavar="FILE", help="lines of qid TAB query, TREC's topics, or BEIR's queries.jsonl")
    add_topic_field(data)
    data.add_argument("--docs", metavar="FILE", help="JSON lines with docno (or _id), title and text; not read "
                                                           "into memory, however many")


def check_development(given: argparse.Namespace) -> None:
    """Ends with the usage if options contradict each other."""
    files = [name for name in ("qrels", "topics", "docs") if getattr(given, name)]
    if given.run_file and not given.collection and len(files) < 3:
        given.parser.error("--run needs --qrels, --topics and --docs, or --collection")
    if files and (given.collection or not given.run_file):
        given.parser.error(f"--{files[0]} goes with --run, and without --collection")
    if given.topic_field and not (given.collection or given.topics):
        given.parser.error("--topic-field goes with --topics or --collection")
    if given.development and not given.collection:
        given.parser.error("--development goes with --collection")


def add_topic_field(parser: "argparse._ActionsContainer") -> None:
    """Adds the option that chooses among the fields of XML topics."""
    parser.add_argument("--topic-field", metavar="TAG", action="append", default=[], help="of TREC's topics, a tag "
                        "whose text is the query, such as summary, or a field of ir_datasets; may be given several "
                        "times. If left out: query, title, disease and gene, summary, question or description, the "
                        "first that there is")


def development_of(given: argparse.Namespace) -> TuningData:
    """Returns the queries, judgements and first-stage results that the options name."""
    from pyterrier_taskarith.data import read_qrels, read_run, read_topics, with_queries

    if given.run_file is None:
        from pyterrier_taskarith.demo import open_demo

        data, first = open_demo(given.collection, development=given.development, fields=given.topic_field)
        asked = [repr(given.collection)] * bool(given.collection) + [f"development={given.development!r}"] * bool(
            given.development) + [f"fields={given.topic_field!r}"] * bool(given.topic_field)
        topics, qrels = data.topics["dev"], data.qrels["dev"]
        return TuningData(f"{len(topics)} development queries of {data.name!r}", first(topics), topics, qrels,
                          ("from pyterrier_taskarith.demo import open_demo",
                           f"data, first = open_demo({', '.join(asked)})       "
                           "# first: BM25's top 100 with their texts; or a pipeline of yours"))
    from pyterrier_taskarith.data import StoredTexts, check_judged, read_collection

    run = read_run(given.run_file)
    if given.collection is None:
        topics, qrels = read_topics(given.topics, given.topic_field), read_qrels(given.qrels)
        documents: TextSource = StoredTexts(given.docs)
        check_judged(qrels, Path(given.qrels), documents)
        name = f"queries of {given.topics} with judgements in {given.qrels}"
    else:
        collection = read_collection(given.collection, development=given.development, fields=given.topic_field)
        topics, qrels, documents = collection.topics["dev"], collection.qrels["dev"], collection.documents
        name = f"development queries of {collection.name!r}"
    judged = topics[topics["qid"].isin(qrels["qid"])]
    return TuningData(f"{len(judged)} {name}", with_queries(run, topics, documents, given.run_file), topics, qrels,
                      (f"# first: the pipeline that gave {given.run_file}, with the documents' texts",), documents)
