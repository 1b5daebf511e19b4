"""Runs and judgements in files, and what all readers share; every error names the file and the line.

They are not read by pandas: with ``pt.io.read_results`` and ``pt.io.read_qrels`` a document called NA is lost, a
quotation mark swallows lines, and a line with a field too many or too few is shifted in silence.
"""

import gzip
import json
import math
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyterrier as pt

from pyterrier_taskarith.data._archive import check_unpacked
from pyterrier_taskarith.data._texts import TextSource
from pyterrier_taskarith.errors import DataError

#: Characters of a faulty line that an error shows.
SHOWN = 80
#: Bytes of a compressed file that are unpacked at once, at most; no line of it is longer.
LONGEST = 2**28


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
            for number, raw in enumerate(_bounded(path, file, file.readline), 1):
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if text.strip():
                    yield Line(path, number, start, text)
                start += len(raw)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, line {number}: not UTF-8 (byte {error.start}): {error.object[:SHOWN]!r}.") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}, line {number}: the file cannot be unpacked from there on ({error}); was it "
                        "downloaded to its end? Fetch it again.") from None


def read_all(path: Path) -> bytes:
    """Returns the whole content of a file, also of a ``.gz``.

    Raises:
        DataError: If it unpacks to more than is allowed.
    """
    with pt.io.autoopen(str(path), "rb") as file:  # type: ignore[no-untyped-call]
        return b"".join(_bounded(path, file, file.read))


def _bounded(path: Path, file: Iterable[bytes], read: Callable[[int], bytes]) -> Iterator[bytes]:
    """Yields what ``read`` gives of a ``.gz``, as long as it is not out of all proportion; else the file's lines."""
    if path.suffix != ".gz":
        yield from file
        return
    unpacked = 0
    while part := read(LONGEST):
        unpacked += len(part)
        check_unpacked(path, unpacked)
        yield part


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
