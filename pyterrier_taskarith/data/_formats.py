"""Runs, judgements and topics in files; every error names the file and the line.

They are not read by pandas: with ``pt.io.read_results`` and ``pt.io.read_qrels`` a document called NA is lost, a
quotation mark swallows lines, and a line with a field too many or too few is shifted in silence.
"""

import gzip
import json
import math
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pandas as pd
import pyterrier as pt

from pyterrier_taskarith.data._texts import TextSource
from pyterrier_taskarith.errors import DataError

#: Characters of a faulty line that an error shows.
SHOWN = 80
#: Where XML topics have their number: attributes of the topic, or tags in it.
_NUMBERS = ("number", "num", "id", "qid")
#: Tags of XML topics that make the query, by preference: those of TREC-COVID, the ad hoc tracks, Precision Medicine and
#: Clinical Decision Support.
_QUERIES = (("query",), ("title",), ("disease", "gene"), ("summary",), ("question",), ("description",), ("desc",))


class Line(NamedTuple):
    """A line of a file: its number from 1, its first byte, and its text without the line feed."""

    path: Path
    number: int
    start: int
    text: str

    @property
    def where(self) -> str:
        """The file and the line, in words."""
        return f"{self.path}, line {self.number}"


def lines(path: Path) -> Iterator[Line]:
    """Yields the lines that are not blank, also of a ``.gz``; a DataError names a line that cannot be read."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    start = number = 0
    try:
        # bytes, so that only a line feed ends a line
        with pt.io.autoopen(str(path), "rb") as file:  # type: ignore[no-untyped-call]
            for number, raw in enumerate(file, 1):
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if text.strip():
                    yield Line(path, number, start, text)
                start += len(raw)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, line {number}: not UTF-8 (byte {error.start}): {error.object[:SHOWN]!r}.") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}, line {number}: the file cannot be unpacked from there on ({error}); was it "
                        "downloaded to its end? Fetch it again.") from None


def json_lines(path: Path) -> Iterator[tuple[Line, dict[str, Any]]]:
    """Yields each line that is not blank, with its JSON object."""
    for line in lines(path):
        yield line, json_object(line.text, line.where)


def json_object(line: str, where: str) -> dict[str, Any]:
    """Returns the JSON object of a line; anything else is a DataError."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON ({error.msg}): {line[:SHOWN]!r}.") from None
    if not isinstance(record, dict):
        raise DataError(f"{where}: not a JSON object: {line[:SHOWN]!r}.")
    return record


def identifier(record: dict[str, Any], key: str, where: str) -> str:
    """Returns a field that is a name or whole number, as str; anything else is a DataError."""
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise DataError(f"{where}: {key!r} must be a name or a whole number, and is {value!r}{_present(record, key)}.")
    return str(value).strip()


def string(record: dict[str, Any], key: str, where: str, default: str | None = None) -> str:
    """Returns a field that is a text; anything else, or no field and no default, is a DataError."""
    value = record.get(key)
    value = default if value is None and default is not None else value
    if not isinstance(value, str):
        raise DataError(f"{where}: {key!r} must be a text, and is {value!r}{_present(record, key)}.")
    return value


def _present(record: dict[str, Any], key: str) -> str:
    """Returns the names of the fields if one is missing, for an error."""
    return "" if key in record else f"; the line has the fields {', '.join(map(repr, record)) or '(none)'}"


_BEIR_HEADER = ["query-id", "corpus-id", "score"]


def read_run(path: str | Path) -> pd.DataFrame:
    """Returns a run in TREC's format (qid, Q0, docno, rank, score, name), ``.gz`` too; the rank is not used.

    Args:
        path: The file.

    Returns:
        qid, docno (str) and score (float); the index is the line in the file.

    Raises:
        FileNotFoundError: If there is no such file.
        DataError: If a line is something else, a score is not finite, a document occurs twice for a query, or there
            are no lines.
    """
    rows: dict[tuple[str, str], tuple[int, float]] = {}
    for line in lines(Path(path)):
        qid, _, docno, _, score, _ = _fields(line, line.text.split(), "qid, Q0, docno, rank, score and name")
        try:
            value = float(score)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise DataError(f"{line.where}: the score is {score}, and must be a finite number.")
        if (qid, docno) in rows:
            raise DataError(f"{line.where}: document {docno!r} occurs a second time for query {qid!r}; the first is in "
                            f"line {rows[qid, docno][0]}.")
        rows[qid, docno] = line.number, value
    if not rows:
        raise DataError(f"{path} is empty.")
    return pd.DataFrame([(*pair, score) for pair, (_, score) in rows.items()], columns=["qid", "docno", "score"],
                        index=pd.Index([number for number, _ in rows.values()]))


def read_qrels(path: str | Path, *, beir: bool = False) -> pd.DataFrame:
    """Returns judgements in TREC's format (qid, iteration, docno, label), ``.gz`` too.

    Args:
        path: The file.
        beir: Whether it is in BEIR's format instead: query-id, corpus-id and score between TABs.

    Returns:
        qid, docno (str) and label (int).

    Raises:
        FileNotFoundError: If there is no such file.
        DataError: If a line is something else, a document is judged twice with different labels for a query, or there
            are no lines.
    """
    labels: dict[tuple[str, str], int] = {}
    for line in lines(Path(path)):
        if beir:
            qid, docno, value = _fields(line, [field.strip() for field in line.text.split("\t")],
                                        "query-id, corpus-id and score between TABs")
            if [qid, docno, value] == _BEIR_HEADER:
                continue
        else:
            qid, _, docno, value = _fields(line, line.text.split(), "qid, iteration, docno and label")
        try:
            label = int(value)
        except ValueError:
            raise DataError(f"{line.where}: the label must be a whole number, and is {value!r}.") from None
        if labels.setdefault((qid, docno), label) != label:
            raise DataError(f"{line.where}: query {qid!r} and document {docno!r} are judged {label}, and "
                            f"{labels[qid, docno]} before.")
    if not labels:
        raise DataError(f"{path} is empty.")
    return pd.DataFrame([(*pair, label) for pair, label in labels.items()], columns=["qid", "docno", "label"])


def read_topics(path: str | Path, fields: Sequence[str] = ()) -> pd.DataFrame:
    """Returns topics: lines of qid TAB query; TREC's own format (``<top>``) or its XML; or BEIR's ``queries.jsonl``.

    Args:
        path: The file.
        fields: Of XML topics, the tags whose texts make the query, in this order; none: the first that a topic has of
            query, title, disease (with gene), summary, question and description, or the text directly in the topic.

    Returns:
        qid and query (str).

    Raises:
        FileNotFoundError: If there is no such file.
        DataError: If a line is something else, a query is empty (with its qid and tags), a qid occurs twice with
            different queries, or there are no topics; or if fields are given for topics that have none.
    """
    path = Path(path)
    queries: dict[str, str] = {}

    def add(qid: str, query: str, where: str) -> None:
        if not query.strip():
            raise DataError(f"{where}: the topic {qid!r} has an empty query.")
        if queries.setdefault(qid, query) != query:
            raise DataError(f"{where}: the qid {qid!r} occurs twice, with different queries.")

    first = next(lines(path), None)
    start = first.text.lstrip() if first else ""
    if start.startswith("<"):
        try:
            with pt.io.autoopen(str(path), "rb") as file:  # type: ignore[no-untyped-call]
                classic = b"<top>" in file.read(2**20).lower()
            if fields or not classic:
                for qid, query in _xml_topics(path, fields):
                    add(qid, query, str(path))
            else:
                for topic in pt.io.read_topics(str(path), "trec").itertuples():
                    add(str(topic.qid), str(topic.query), str(path))
        except (SyntaxError, AttributeError, KeyError) as error:  # an XML ParseError is a SyntaxError
            raise DataError(f"{path}: not TREC topics ({error}).") from None
    elif fields:
        raise DataError(f"{path}: topics have the fields {', '.join(fields)} in TREC's XML alone; leave them out.")
    elif start.startswith("{"):
        for line, record in json_lines(path):
            add(identifier(record, "_id", line.where), string(record, "text", line.where).strip(), line.where)
    else:
        for line in lines(path):
            qid, tab, query = line.text.partition("\t")
            if not tab or not qid.strip():
                raise DataError(f"{line.where}: not a qid, a TAB and a query: {line.text[:SHOWN]!r}.")
            add(qid.strip(), query.strip(), line.where)
    if not queries:
        raise DataError(f"{path} holds no topics.")
    return pd.DataFrame(list(queries.items()), columns=["qid", "query"])


def _xml_topics(path: Path, fields: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yields qid and query of each topic of an XML file, in the layouts of TREC's tracks.

    Raises:
        DataError: If a topic has no number, or none of the fields.
    """
    with pt.io.autoopen(str(path), "rb") as file:  # type: ignore[no-untyped-call]
        root = ElementTree.parse(file).getroot()
    for topic in (part for part in root.iter() if _tag(part) in ("topic", "top")):
        texts: dict[str, str] = {}
        for part in topic:  # a tag may come several times
            texts[_tag(part)] = " ".join([*texts.get(_tag(part), "").split(), *"".join(part.itertext()).split()])
        numbers = [*(topic.get(key, "") for key in _NUMBERS), *(texts.get(key, "") for key in _NUMBERS)]
        qid = next((number.removeprefix("Number:").strip() for number in numbers if number), "")
        if not qid:
            raise DataError(f"{path}: a topic has no number (with the tags {', '.join(texts) or 'none'}).")
        wanted = [field.lower() for field in fields]
        chosen = wanted or next((list(tags) for tags in _QUERIES if texts.get(tags[0])), [])
        query = " ".join(filter(None, (texts.get(tag, "") for tag in chosen)))
        if not chosen and (topic.text or "").strip():  # the topic's own text, with what is marked up in it
            query = " ".join("".join(topic.itertext()).split())
        lacking = [tag for tag in wanted if not texts.get(tag)]
        if lacking or not query:
            raise DataError(f"{path}: the topic {qid!r} has no {' and no '.join(lacking) or 'query'}: its tags are "
                            f"{', '.join(texts) or 'none'}. Choose among them with --topic-field on the command line, "
                            "fields= in Python.")
        yield qid, query


def _tag(part: ElementTree.Element) -> str:
    """Returns the name of a tag, without its namespace and in lower case."""
    return part.tag.rpartition("}")[2].lower() if isinstance(part.tag, str) else ""


def with_queries(run: pd.DataFrame, topics: pd.DataFrame, documents: TextSource, path: str | Path) -> pd.DataFrame:
    """Returns a stored run with its queries, without texts: the input of a re-ranker with a ``text_loader``.

    Args:
        run: What :func:`read_run` returned; rows of queries that are not among the topics are left out.
        topics: qid and query.
        documents: The documents that the run was retrieved from.
        path: The run's file, for an error.

    Raises:
        DataError: If no query of the run is among the topics, or a document is not among the documents.
    """
    kept = run[run["qid"].isin(topics["qid"])]
    if not len(kept):
        raise DataError(f"{path}: none of its queries ({run['qid'].iloc[0]!r} …) is among the {len(topics)} topics "
                        f"({topics['qid'].iloc[0]!r} …); do they belong together?")
    unknown = documents.unknown(kept["docno"])
    if unknown:
        rows = kept[kept["docno"].isin(unknown)]
        raise DataError(f"{path}, line {rows.index[0]}: document {unknown[0]!r} is not among the "
                        f"{documents.count} documents and so has no text; the run has {len(unknown)} such documents "
                        f"({', '.join(unknown[:5])}{' …' if len(unknown) > 5 else ''}) in {len(rows)} rows. Were "
                        "these results retrieved from other documents?")
    return kept.assign(query=kept["qid"].map(topics.set_index("qid")["query"])).reset_index(drop=True)


def _fields(line: Line, fields: list[str], names: str) -> list[str]:
    """Returns a line's fields, of which there are as many as names."""
    count = names.count(",") + 2
    if len(fields) != count:
        raise DataError(f"{line.where}: not the {('three', 'four', '', 'six')[count - 3]} fields {names}: "
                        f"{line.text[:SHOWN]!r}.")
    return fields
