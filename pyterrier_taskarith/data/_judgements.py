"""Queries with their judgements, in the two layouts of collections."""

import warnings
from pathlib import Path

import pandas as pd

from pyterrier_taskarith.data._lines import SHOWN, identifier, json_lines, lines, string, whole_number

#: Topics (qid, query) and qrels (qid, docno, label).
Judged = tuple[pd.DataFrame, pd.DataFrame]


def read_queries(path: Path) -> dict[str, str]:
    """Returns qid -> query of a file with a qid, a TAB and a query in each line."""
    queries: dict[str, str] = {}
    for where, line in lines(path):
        qid, tab, query = line.partition("\t")
        if not tab or not qid.strip():
            raise ValueError(f"{where}: not a qid, a TAB and a query: {line[:SHOWN]!r}.")
        add_query(queries, qid.strip(), query.strip(), where)
    return queries


def read_plain_split(folder: Path) -> Judged:
    """Reads queries.tsv (qid TAB query) and qrels.txt (TREC: qid, 0, docno, label)."""
    judgements = []
    for where, line in lines(folder / "qrels.txt"):
        fields = line.split()
        if len(fields) != 4:
            raise ValueError(f"{where}: not the four fields qid, 0, docno and label: {line[:SHOWN]!r}.")
        judgements.append((where, fields[0], fields[2], whole_number(fields[3], where)))
    return _judged(read_queries(folder / "queries.tsv"), judgements, folder)


def beir_splits(folder: Path) -> list[str]:
    """Returns the names of a BEIR folder's splits, sorted."""
    return sorted(path.stem for path in (folder / "qrels").glob("*.tsv"))


def read_beir_split(folder: Path, split: str) -> Judged:
    """Reads the queries of a split, of queries.jsonl, and their judgements, qrels/split.tsv.

    Raises:
        FileNotFoundError: If there is no such split.
    """
    path = folder / "qrels" / f"{split}.tsv"
    if not path.is_file():
        raise FileNotFoundError(f"The collection lacks the file {path}; its splits are "
                                f"{', '.join(beir_splits(folder)) or 'none'}.")
    judgements = []
    for where, line in lines(path):
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) != 3:
            raise ValueError(f"{where}: not query-id, corpus-id and score between TABs: {line[:SHOWN]!r}.")
        if fields != ["query-id", "corpus-id", "score"]:
            judgements.append((where, fields[0], fields[1], whole_number(fields[2], where)))
    queries: dict[str, str] = {}
    for where, record in json_lines(folder / "queries.jsonl"):
        add_query(queries, identifier(record, "_id", where), string(record, "text", where).strip(), where)
    # queries.jsonl holds the queries of every split: those of the others are no fault of this one.
    here = {qid for _, qid, _, _ in judgements}
    return _judged({qid: query for qid, query in queries.items() if qid in here}, judgements, path)


def add_query(queries: dict[str, str], qid: str, query: str, where: str) -> None:
    """Adds a query; the same one given twice counts once.

    Raises:
        ValueError: If there is another of that qid.
    """
    if queries.setdefault(qid, query) != query:
        raise ValueError(f"{where}: the qid {qid!r} occurs twice, with different queries.")


def _judged(queries: dict[str, str], judgements: list[tuple[str, str, str, int]], path: Path) -> Judged:
    """Topics and qrels of the queries that are judged."""
    labels: dict[tuple[str, str], int] = {}
    unknown = set()
    for where, qid, docno, label in judgements:
        if qid not in queries:
            unknown.add(qid)
        elif labels.setdefault((qid, docno), label) != label:
            raise ValueError(
                f"{where}: query {qid!r} and document {docno!r} are judged {label}, and {labels[qid, docno]} before."
            )
    judged = {qid for qid, _ in labels}
    if unknown:
        warnings.warn(f"{path}: judgements of {some(unknown, 'unknown query', 'unknown queries')} are ignored.",
                      stacklevel=3)
    if len(judged) < len(queries):
        warnings.warn(f"{path}: {some(set(queries) - judged, 'query', 'queries')} without a judgement left out.",
                      stacklevel=3)
    if not judged:
        raise ValueError(f"{path}: none of the {len(queries)} queries has a judgement.")
    topics = pd.DataFrame([(q, text) for q, text in queries.items() if q in judged], columns=["qid", "query"])
    rows = [(qid, docno, label) for (qid, docno), label in labels.items()]
    return topics, pd.DataFrame(rows, columns=["qid", "docno", "label"])


def some(names: set[str], one: str, many: str) -> str:
    """Returns how many names there are and which, at most three."""
    shown = ", ".join(sorted(names)[:3]) + (", …" if len(names) > 3 else "")
    return f"{len(names)} {one if len(names) == 1 else many} ({shown})"
