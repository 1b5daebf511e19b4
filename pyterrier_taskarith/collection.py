"""A test collection in memory, read from a folder: documents, and queries with their judgements for two splits."""

import hashlib
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

__all__ = ["Collection", "read_collection", "split_of"]

DEVELOPMENT, TEST = "dev", "test"
BEIR_SPLITS = ("train", "dev", "test")  # the last that exists is for testing, the one before it for development
SHOWN = 80  # characters of a faulty line that an error shows


@dataclass(frozen=True, eq=False, repr=False)
class Collection:
    """A test collection.

    Attributes:
        name: The collection's name.
        documents: Columns ``docno``, ``title`` and ``text``, all str; ``text`` is what is indexed and scored, title
            included.
        topics: Split ("dev" or "test") to a frame with the str columns ``qid`` and ``query``.
        qrels: Split to a frame with columns ``docno`` and ``qid`` (str) and ``label`` (int).
        report: How the collection was read or made, in words and counts.
    """

    name: str
    documents: pd.DataFrame
    topics: dict[str, pd.DataFrame]
    qrels: dict[str, pd.DataFrame]
    report: str = ""

    def __repr__(self) -> str:
        queries = ", ".join(f"{len(topics)} {split}" for split, topics in self.topics.items())
        return f"Collection({self.name!r}, {len(self.documents)} documents, queries: {queries})"


def split_of(query: str) -> str:
    """The split a query belongs to where a collection has only one: "dev" or "test", by a hash of its words.

    It depends on nothing but the query, so a query stays on its side when documents or other queries change.
    """
    digest = hashlib.sha256(" ".join(query.split()).encode()).digest()
    return DEVELOPMENT if digest[0] % 2 else TEST


def read_collection(folder: str | Path, *, development: str | Path | None = None) -> Collection:
    """Read a test collection from a folder.

    Two layouts are known. A plain folder holds ``docs.jsonl`` (docno, title, text), ``queries.tsv`` (qid TAB query) and
    ``qrels.txt`` (TREC: qid, 0, docno, label). A BEIR folder holds ``corpus.jsonl`` (_id, title, text),
    ``queries.jsonl`` (_id, text) and ``qrels/{train,dev,test}.tsv`` (query-id TAB corpus-id TAB score, with that
    header).

    The development split is the folder ``development`` if given; else, in a BEIR folder with several splits, ``dev``
    (``train`` if there is no ``dev``); else the queries are divided into two halves by `split_of`.

    A document's text is title + " " + body, as in the paper. Folders whose bodies already begin with the title, in more
    than half of the documents that have one, are taken to hold it in the body on purpose, and the body is the text.

    Queries without judgements are left out, and judgements of unknown queries ignored; judgements of unknown documents
    stay and count as never retrieved, as trec_eval has it. Each is a warning that counts them. A judgement given twice
    counts once.

    Args:
        folder: The collection's folder.
        development: A folder with ``queries.tsv`` and ``qrels.txt`` over the same documents, for the split "dev".

    Returns:
        The collection, with the splits "dev" and "test".

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a line does not have the form above, a docno or a qid occurs twice, or a pair is judged twice with
            different labels; the message names the file, the line and the value. Or no judged document is there.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"The collection {folder} is not a folder.")
    if (folder / "corpus.jsonl").is_file():
        texts, sources = folder / "corpus.jsonl", {split: folder / "qrels" / f"{split}.tsv" for split in BEIR_SPLITS}
        documents = _read_documents(texts, docno="_id")
        splits = _read_beir_splits(folder)
    elif (folder / "docs.jsonl").is_file():
        texts, sources = folder / "docs.jsonl", {TEST: folder / "qrels.txt"}
        documents = _read_documents(texts, docno="docno")
        splits = {TEST: _judged(*_read_plain_queries(folder), folder)}
    else:
        raise FileNotFoundError(f"{folder} holds neither docs.jsonl nor corpus.jsonl: it is no collection this reads.")

    if development is not None:
        origin = f"development queries from {Path(development).name}"
        dev = _judged(*_read_plain_queries(Path(development)), Path(development))
        test_name, test = list(splits.items())[-1]
        splits = {DEVELOPMENT: dev, TEST: test}
        sources = {DEVELOPMENT: Path(development) / "qrels.txt", TEST: sources[test_name]}
    elif len(splits) > 1:
        (development_name, dev), (test_name, test) = list(splits.items())[-2:]
        origin = f"the folder's splits {development_name} and {test_name}"
        splits = {DEVELOPMENT: dev, TEST: test}
        sources = {DEVELOPMENT: sources[development_name], TEST: sources[test_name]}
    else:
        origin = "divided by a hash of the query"
        name, whole = next(iter(splits.items()))
        splits, sources = _halves(*whole, folder), dict.fromkeys((DEVELOPMENT, TEST), sources[name])

    for file in dict.fromkeys(sources.values()):
        check_judged(pd.concat([qrels for split, (_, qrels) in splits.items() if sources[split] == file]), file,
                     documents, texts)
    counts = {split: len(topics) for split, (topics, _) in splits.items()}
    name = folder.resolve().name
    return Collection(
        name=name,
        documents=documents,
        topics={split: topics for split, (topics, _) in splits.items()},
        qrels={split: qrels for split, (_, qrels) in splits.items()},
        report=f"{name}: {len(documents)} documents, {counts[DEVELOPMENT]} development and {counts[TEST]} test queries "
        f"({origin}).",
    )


Judged = tuple[pd.DataFrame, pd.DataFrame]


def _read_documents(path: Path, *, docno: str) -> pd.DataFrame:
    rows: dict[str, tuple[str, str, str]] = {}
    for where, record in _json_lines(path):
        name = _identifier(record, docno, where)
        if name in rows:
            raise ValueError(f"{where}: the docno {name!r} occurs twice.")
        rows[name] = (name, _text(record, "title", where, default=""), _text(record, "text", where))
    if not rows:
        raise ValueError(f"{path} holds no documents.")
    documents = pd.DataFrame(list(rows.values()), columns=["docno", "title", "text"])
    titled = [(title, body) for _, title, body in rows.values() if title]
    repeated = sum(body.startswith(title) for title, body in titled)
    if 2 * repeated <= len(titled):
        documents["text"] = [f"{title} {body}" if title else body for _, title, body in rows.values()]
    return documents


def _read_queries(path: Path) -> dict[str, str]:
    """The queries of a file with a qid, a TAB and a query in each line."""
    queries: dict[str, str] = {}
    for where, line in _lines(path):
        qid, tab, query = line.partition("\t")
        if not tab or not qid.strip():
            raise ValueError(f"{where}: not a qid, a TAB and a query: {line[:SHOWN]!r}.")
        _add_query(queries, qid.strip(), query.strip(), where)
    return queries


def _read_plain_queries(folder: Path) -> tuple[dict[str, str], list[tuple[str, str, str, int]]]:
    """The queries, and the judgements with the line each stands on, of queries.tsv and qrels.txt."""
    queries = _read_queries(folder / "queries.tsv")
    judgements = []
    for where, line in _lines(folder / "qrels.txt"):
        fields = line.split()
        if len(fields) != 4:
            raise ValueError(f"{where}: not the four fields qid, 0, docno and label: {line[:SHOWN]!r}.")
        judgements.append((where, fields[0], fields[2], _label(fields[3], where)))
    return queries, judgements


def _read_beir_splits(folder: Path) -> dict[str, Judged]:
    queries: dict[str, str] = {}
    for where, record in _json_lines(folder / "queries.jsonl"):
        _add_query(queries, _identifier(record, "_id", where), _text(record, "text", where).strip(), where)
    splits = {}
    for split in BEIR_SPLITS:
        path = folder / "qrels" / f"{split}.tsv"
        if not path.is_file():
            continue
        judgements = []
        for where, line in _lines(path):
            fields = [field.strip() for field in line.split("\t")]
            if len(fields) != 3:
                raise ValueError(f"{where}: not query-id, corpus-id and score between TABs: {line[:SHOWN]!r}.")
            if fields != ["query-id", "corpus-id", "score"]:
                judgements.append((where, fields[0], fields[1], _label(fields[2], where)))
        # queries.jsonl holds the queries of every split: those of the others are no fault of this one.
        here = {qid for _, qid, _, _ in judgements}
        splits[split] = _judged({q: text for q, text in queries.items() if q in here}, judgements, path)
    if not splits:
        raise FileNotFoundError(f"{folder / 'qrels'} holds none of {', '.join(f'{s}.tsv' for s in BEIR_SPLITS)}.")
    return splits


def _add_query(queries: dict[str, str], qid: str, query: str, where: str) -> None:
    if qid in queries:
        raise ValueError(f"{where}: the qid {qid!r} occurs twice.")
    queries[qid] = query


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
        warnings.warn(f"{path}: judgements of {_some(unknown, 'unknown query', 'unknown queries')} are ignored.",
                      stacklevel=3)
    if len(judged) < len(queries):
        warnings.warn(f"{path}: {_some(set(queries) - judged, 'query', 'queries')} without a judgement left out.",
                      stacklevel=3)
    if not judged:
        raise ValueError(f"{path}: none of the {len(queries)} queries has a judgement.")
    topics = pd.DataFrame([(q, text) for q, text in queries.items() if q in judged], columns=["qid", "query"])
    rows = [(qid, docno, label) for (qid, docno), label in labels.items()]
    return topics, pd.DataFrame(rows, columns=["qid", "docno", "label"])


def _halves(topics: pd.DataFrame, qrels: pd.DataFrame, folder: Path) -> dict[str, Judged]:
    side = {qid: split_of(query) for qid, query in zip(topics["qid"], topics["query"], strict=True)}
    halves: dict[str, Judged] = {}
    for split in (DEVELOPMENT, TEST):
        mine = {qid for qid, where in side.items() if where == split}
        if not mine:
            raise ValueError(f"{folder} has too few queries ({len(topics)}) to divide into development and test.")
        topics_of, qrels_of = (frame[frame["qid"].isin(mine)].reset_index(drop=True) for frame in (topics, qrels))
        halves[split] = topics_of, qrels_of
    return halves


def check_judged(qrels: pd.DataFrame, judged_in: Path, documents: pd.DataFrame, read_from: Path) -> None:
    """Refuses judgements of other documents, and warns where some of the judged ones are absent.

    Args:
        qrels: Their column docno.
        judged_in: Their file.
        documents: Their column docno.
        read_from: Their file.

    Raises:
        ValueError: If no judged document is there; both files are named.
    """
    judged, known = set(qrels["docno"]), set(documents["docno"])
    unknown = judged - known
    if unknown == judged:
        raise ValueError(f"{judged_in} and {read_from} have no document in common: judged are "
                         f"{_some(judged, 'document', 'documents')}, and {read_from.name} holds "
                         f"{_some(known, 'document', 'documents')}. Do they belong together, and are their docnos "
                         "written alike?")
    if unknown:
        message = f"{_some(unknown, 'judged document', 'judged documents')} not in the collection: never retrieved."
        warnings.warn(f"{judged_in}: {message}", stacklevel=3)


def _some(names: set[str], one: str, many: str) -> str:
    shown = ", ".join(sorted(names)[:3]) + (", …" if len(names) > 3 else "")
    return f"{len(names)} {one if len(names) == 1 else many} ({shown})"


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Lines that are not blank, each with the words that say where it stands."""
    if not path.is_file():
        raise FileNotFoundError(f"The collection lacks the file {path}.")
    with path.open("rb") as file:  # bytes, so that only a line feed ends a line
        for number, raw in enumerate(file, 1):
            where = f"{path}, line {number}"
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise ValueError(f"{where}: not UTF-8 (byte {error.start}): {raw[:SHOWN]!r}.") from None
            if line.strip():
                yield where, line


def _json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for where, line in _lines(path):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: not JSON ({error.msg}): {line[:SHOWN]!r}.") from None
        if not isinstance(record, dict):
            raise ValueError(f"{where}: not a JSON object: {line[:SHOWN]!r}.")
        yield where, record


def _identifier(record: dict[str, Any], key: str, where: str) -> str:
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise ValueError(f"{where}: {key!r} must be a name or a whole number, and is {value!r}"
                         f"{_fields(record, key)}.")
    return str(value).strip()


def _text(record: dict[str, Any], key: str, where: str, default: str | None = None) -> str:
    value = record.get(key)
    value = default if value is None and default is not None else value
    if not isinstance(value, str):
        raise ValueError(f"{where}: {key!r} must be a text, and is {value!r}{_fields(record, key)}.")
    return value


def _fields(record: dict[str, Any], key: str) -> str:
    """Returns, where a field is missing, which there are, in words."""
    return "" if key in record else f"; the line has the fields {', '.join(map(repr, record)) or '(none)'}"


def _label(value: str, where: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise ValueError(f"{where}: the label must be a whole number, and is {value!r}.") from None
