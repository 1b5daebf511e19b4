"""Runs, judgements and topics in files; every error names the file and the line.

ir_measures reads runs and judgements, and not pandas: with ``pt.io.read_results`` and ``pt.io.read_qrels`` a document
called NA is lost, a quotation mark swallows lines, and a line with a field too many or too few is shifted in silence.
"""

import gzip
import math
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import ir_measures
import pandas as pd
import pyterrier as pt

from pyterrier_taskarith.data._judgements import add_query, read_queries
from pyterrier_taskarith.data._lines import SHOWN, identifier, json_lines, string
from pyterrier_taskarith.data._texts import TextSource


class _Lines:
    """A text file as ir_measures reads one, which tells the line it has come to."""

    def __init__(self, path: Path) -> None:
        self.path, self.number, self.line = path, 0, ""

    def __iter__(self) -> Iterator[str]:
        if not self.path.is_file():
            raise FileNotFoundError(f"There is no file {self.path}.")
        with pt.io.autoopen(str(self.path), "rb") as file:  # bytes, so that only a line feed ends a line; .gz too
            for self.number, raw in enumerate(file, 1):
                self.line = raw.decode("utf-8", "backslashreplace").rstrip("\r\n")
                yield raw.decode("utf-8-sig" if self.number == 1 else "utf-8")

    def read(self) -> str:
        """Returns the whole text; to ir_measures, the mark of a file."""
        return "".join(self)

    @property
    def where(self) -> str:
        """The file and the line, in words."""
        return f"{self.path}, line {self.number}"


def read_run(path: str | Path) -> pd.DataFrame:
    """Reads a run in TREC's format (qid, Q0, docno, rank, score, name), ``.gz`` too; the rank is not used.

    Args:
        path: The file.

    Returns:
        qid, docno (str) and score (float); the index is the line in the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is something else, a score is not finite, a document occurs twice for a query, or there
            are no lines.
    """
    rows: dict[tuple[str, str], tuple[int, float]] = {}
    for lines, doc in _records(path, ir_measures.read_trec_run, "the six fields qid, Q0, docno, rank, score and name"):
        pair = doc.query_id, doc.doc_id
        if not math.isfinite(doc.score):
            raise ValueError(f"{lines.where}: the score is {doc.score}, and must be finite.")
        if pair in rows:
            raise ValueError(f"{lines.where}: document {pair[1]!r} occurs a second time for query {pair[0]!r}; the "
                             f"first is in line {rows[pair][0]}.")
        rows[pair] = lines.number, doc.score
    return pd.DataFrame([(qid, docno, score) for (qid, docno), (_, score) in rows.items()],
                        columns=["qid", "docno", "score"], index=pd.Index([line for line, _ in rows.values()]))


def read_qrels(path: str | Path) -> pd.DataFrame:
    """Reads judgements in TREC's format (qid, iteration, docno, label), ``.gz`` too.

    Args:
        path: The file.

    Returns:
        qid, docno (str) and label (int).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is something else, a document is judged twice with different labels for a query, or there
            are no lines.
    """
    labels: dict[tuple[str, str], int] = {}
    for lines, judged in _records(path, ir_measures.read_trec_qrels,
                                  "the four fields qid, iteration, docno and a whole number"):
        pair = judged.query_id, judged.doc_id
        if labels.setdefault(pair, judged.relevance) != judged.relevance:
            raise ValueError(f"{lines.where}: query {pair[0]!r} and document {pair[1]!r} are judged "
                             f"{judged.relevance}, and {labels[pair]} before.")
    return pd.DataFrame([(qid, docno, label) for (qid, docno), label in labels.items()],
                        columns=["qid", "docno", "label"])


def read_topics(path: str | Path) -> pd.DataFrame:
    """Reads topics: lines of qid TAB query; TREC's own format (``<top>``) or its XML; or BEIR's ``queries.jsonl``.

    Args:
        path: The file.

    Returns:
        qid and query (str).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is something else, a qid occurs twice, or there are no topics.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    with path.open("rb") as file:
        start = file.read(4096).decode("utf-8-sig", "ignore").lstrip()
    queries: dict[str, str] = {}
    if start.startswith("<"):
        form: Literal["trec", "trecxml"] = "trec" if "<top>" in start.lower() else "trecxml"
        try:
            for topic in pt.io.read_topics(str(path), form).itertuples():
                add_query(queries, topic.qid, topic.query, str(path))
        except (SyntaxError, AttributeError, KeyError) as error:  # an XML ParseError is a SyntaxError
            raise ValueError(f"{path}: not TREC topics ({error}).") from None
    elif start.startswith("{"):
        for where, record in json_lines(path):
            add_query(queries, identifier(record, "_id", where), string(record, "text", where).strip(), where)
    else:
        queries = read_queries(path)
    if not queries:
        raise ValueError(f"{path} holds no topics.")
    return pd.DataFrame(list(queries.items()), columns=["qid", "query"])


def with_queries(run: pd.DataFrame, topics: pd.DataFrame, documents: TextSource, path: str | Path) -> pd.DataFrame:
    """Returns a stored run as a re-ranker with a ``text_loader`` takes it: ids, queries and scores, no texts.

    Args:
        run: What :func:`read_run` returned; rows of queries that are not among the topics are left out.
        topics: qid and query.
        documents: What will give the texts.
        path: The run's file, for an error.

    Raises:
        ValueError: If no query of the run is among the topics, or a document is not among the documents.
    """
    kept = run[run["qid"].isin(topics["qid"])]
    if not len(kept):
        raise ValueError(f"{path}: none of its queries ({run['qid'].iloc[0]!r} …) is among the {len(topics)} topics "
                         f"({topics['qid'].iloc[0]!r} …); do they belong together?")
    unknown = documents.unknown(kept["docno"])
    if unknown:
        rows = kept[kept["docno"].isin(unknown)]
        raise ValueError(f"{path}, line {rows.index[0]}: document {unknown[0]!r} is not among the "
                         f"{documents.count} documents and so has no text; the run has {len(unknown)} such documents "
                         f"({', '.join(unknown[:5])}{' …' if len(unknown) > 5 else ''}) in {len(rows)} rows. Were "
                         "these results retrieved from other documents?")
    return kept.assign(query=kept["qid"].map(topics.set_index("qid")["query"])).reset_index(drop=True)


def _records(path: str | Path, reader: Callable[[Any], Iterator[Any]], form: str) -> Iterator[tuple[_Lines, Any]]:
    """Yields what a library reads, with the line it stands on.

    Raises:
        ValueError: If a line does not have the form, or there are none.
    """
    lines, found = _Lines(Path(path)), False
    try:
        for record in reader(lines):
            found = True
            yield lines, record
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{lines.where}: the file cannot be unpacked from there on ({error}); was it downloaded to "
                         "its end? Fetch it again.") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{lines.where}: not UTF-8 (byte {error.start}): {lines.line[:SHOWN]!r}.") from None
    except ValueError:
        raise ValueError(f"{lines.where}: not {form}: {lines.line[:SHOWN]!r}.") from None
    if not found:
        raise ValueError(f"{path} is empty.")
