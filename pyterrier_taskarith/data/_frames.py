"""Checks of runs, judgements and topics, and the texts of a frame's rows: from a column, or loaded by docno."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from pyterrier_taskarith.errors import DataError, WrongTypeError


def checked_run(name: str, run: pd.DataFrame) -> pd.DataFrame:
    """Returns a checked run, sorted by query, falling score and, for ties, falling docno, which is trec_eval's rule.

    Some of ir_measures' providers break ties by the order of the rows; others (RR@10's) have a rule of their own.

    Args:
        name: The system's name, for errors.
        run: Columns qid, docno, score; others are kept. `rank` is not used: trec_eval's measures sort by score.

    Returns:
        A copy with qid and docno as strings, score as float64, in an order that does not depend on that of `run`.

    Raises:
        DataError: A missing column, no rows, a missing value, a score that is not a number, or a document
            twice in a query.
    """
    what = f"the run of system {name!r}"
    _require_columns(what, run, ["qid", "docno", "score"])
    if run.empty:
        raise DataError(f"{what} has no rows: no document was retrieved for any query")
    require_values(what, run, ["qid", "docno", "score"])
    run = run.assign(qid=run["qid"].astype(str), docno=run["docno"].astype(str), score=as_numbers(what, run, "score"))
    _reject_repeats(what, run, ["qid", "docno"], "keep one row per query and document")
    return run.sort_values(["qid", "score", "docno"], ascending=[True, False, False], ignore_index=True)


def checked_qrels(qrels: pd.DataFrame) -> pd.DataFrame:
    """Returns checked judgements.

    Args:
        qrels: Columns qid, docno, label; others (iteration, as subtopic) are kept.

    Returns:
        A copy with qid and docno as strings and label as int64.

    Raises:
        DataError: A missing column, no rows, a missing value, a label that is not a whole number, or two different
            labels for one document of a query.
    """
    _require_columns("qrels", qrels, ["qid", "docno", "label"])
    if qrels.empty:
        raise DataError("qrels has no rows: there is nothing to evaluate against")
    require_values("qrels", qrels, ["qid", "docno", "label"])
    labels = as_numbers("qrels", qrels, "label")
    if (fractional := labels != labels.round()).any():
        raise DataError(f"qrels has the label {labels[fractional].iloc[0]}: relevance labels are whole numbers")
    qrels = qrels.assign(qid=qrels["qid"].astype(str), docno=qrels["docno"].astype(str), label=labels.astype("int64"))
    key = [column for column in ("qid", "docno", "iteration") if column in qrels.columns]
    qrels = qrels.drop_duplicates([*key, "label"])
    _reject_repeats("qrels", qrels, key, "the labels differ, keep the right one")
    return qrels.sort_values(key, ignore_index=True)


def checked_topics(topics: pd.DataFrame, what: str = "topics") -> pd.DataFrame:
    """Returns checked topics: with a column qid, at least one query, none of them twice.

    Args:
        topics: Columns qid and those that the transformers need (query).
        what: The argument they were given as, for errors.

    Returns:
        A copy with qid as strings.

    Raises:
        DataError: A missing column, no rows, a missing or a repeated qid, or an empty query.
    """
    _require_columns(what, topics, ["qid"])
    if topics.empty:
        raise DataError(f"{what} has no rows: there is no query to run")
    require_values(what, topics, ["qid"])
    topics = topics.assign(qid=topics["qid"].astype(str))
    _reject_repeats(what, topics, ["qid"], "keep one row per query")
    check_queries(what, topics)
    return topics


def check_queries(what: str, frame: pd.DataFrame, about: Mapping[str, tuple[str, str]] | None = None) -> None:
    """Refuses empty queries: nothing would be retrieved for them, and every document would score alike.

    Args:
        what: What holds the queries, for the error.
        frame: Column qid, and query if there is one.
        about: qid -> where the query is, in place of ``what``, and what else to say of it.

    Raises:
        DataError: If there are any; they are counted, and the first is named.
    """
    queries = frame.drop_duplicates(["qid"]) if "query" in frame.columns else frame[:0].assign(query="")
    empty = [str(qid) for qid, query in zip(queries["qid"], queries["query"], strict=True)
             if isinstance(query, str) and not query.strip()]
    if empty:
        where, more = (about or {}).get(empty[0], (what, ""))
        others = f", as {len(empty) - 1} more of {len(queries)} have" * (len(empty) > 1)
        raise DataError(f"{where}: the topic {empty[0]!r} has an empty query{others}{more}.")


def query_texts(topics: pd.DataFrame | None) -> pd.Series | None:
    """Returns the texts of the queries, qid (as strings) → query; None where topics has no such column, or is None."""
    if topics is None or "query" not in topics.columns:
        return None
    return pd.Series(topics["query"].to_numpy(), index=topics["qid"].astype(str).to_numpy(), name="query")


def first_few(values: Iterable[str]) -> str:
    """Returns the first three of some names in quotes, for messages."""
    values = list(values)
    return ", ".join(repr(value) for value in values[:3]) + (", …" if len(values) > 3 else "")


def _require_columns(what: str, frame: pd.DataFrame, columns: Sequence[str]) -> None:
    if not isinstance(frame, pd.DataFrame):
        raise WrongTypeError(f"{what} is a {type(frame).__name__}: a DataFrame with columns {list(columns)} is needed")
    check_columns(what, frame)
    if missing := [column for column in columns if column not in frame.columns]:
        raise DataError(f"{what} lacks column {first_few(missing)}: it has {list(frame.columns)}")


def require_values(what: str, frame: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raises a DataError that names the column and the first query if a value is None or NaN."""
    for column in columns:
        if (missing := frame[column].isna()).any():
            where = f" (first in query {frame.loc[missing, 'qid'].iloc[0]!r})" if column != "qid" else ""
            raise DataError(f"{what} has {missing.sum()} missing values (None or NaN) in column {column!r}{where}")


def as_numbers(what: str, frame: pd.DataFrame, column: str) -> pd.Series:
    """Returns a column as float64; a DataError names a value that is not a number."""
    found = pd.to_numeric(frame[column], errors="coerce")
    if (bad := found.isna()).any():
        raise DataError(f"{what} has {frame.loc[bad, column].iloc[0]!r} in column {column!r}: a number is needed")
    return found.astype("float64")


def _reject_repeats(what: str, frame: pd.DataFrame, key: Sequence[str], remedy: str) -> None:
    """Raises a DataError that names the first of several rows with the same key."""
    if (repeated := frame.duplicated(list(key))).any():
        row = frame.loc[repeated, list(key)].iloc[0]
        named = ", ".join(f"{column} {row[column]!r}" for column in key)
        raise DataError(f"{what} has {repeated.sum()} repeated rows, the first for {named}: {remedy}")


#: A transformer, or another callable, from a frame with ``docno`` to one with the text column too.
TextLoader = Callable[[pd.DataFrame], pd.DataFrame]
#: Rows at least whose texts are in memory at once; enough for batches of like length.
PORTION = 4096


def check_columns(what: str, frame: pd.DataFrame) -> None:
    """Refuses a frame that has a column twice, of which pandas would give both.

    Raises:
        DataError: If it has; the columns are named.
    """
    twice = sorted(set(map(str, frame.columns[frame.columns.duplicated()])))
    if twice:
        raise DataError(f"{what} has the column{'s' * (len(twice) > 1)} {', '.join(map(repr, twice))} more than once; "
                        "rename or drop all but one")


def strings(frame: pd.DataFrame, column: str) -> list[str]:
    """Returns a column of strings.

    Raises:
        DataError: If a value is not a string; the docnos are named.
    """
    values: list[str] = frame[column].tolist()
    bad = [docno for docno, value in zip(frame["docno"], values, strict=True) if not _is_text(value)]
    if bad:
        raise DataError(f"column {column!r} holds no text (or half a surrogate pair) for {len(bad)} rows, docno "
                         f"{_some(bad)}; fill it (pt.text.get_text) or drop the rows")
    return values


def portions(docnos: pd.Series) -> Iterator[np.ndarray]:
    """Yields the rows of a frame in portions; rows of one document are in one portion.

    Args:
        docnos: The docno of each row.

    Yields:
        Indices of rows: int64 arrays of PORTION or somewhat more, or of all rows if they are fewer.
    """
    documents, _ = pd.factorize(docnos)
    order = np.argsort(documents, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(documents[order]) != 0])  # of each document's rows
    wanted = np.arange(1, len(order) // PORTION) * len(order) // max(1, len(order) // PORTION)
    cuts = np.searchsorted(starts, wanted)
    ends = [len(order) if cut == len(starts) else int(starts[cut]) for cut in cuts]
    previous = 0
    for end in [*dict.fromkeys(ends), len(order)]:
        if end > previous:
            yield order[previous:end]
            previous = end


def load_texts(loader: TextLoader, docnos: pd.Series, column: str) -> list[str]:
    """Returns the text of each row; the loader is asked once for each document.

    Args:
        loader: See TextLoader.
        docnos: One a row.
        column: The text's column in what the loader returns.

    Raises:
        WrongTypeError: If the loader does not return a frame.
        DataError: If it returns no such column or a column twice, leaves a document out or gives it twice, or a
            text is not a string.
    """
    asked = pd.DataFrame({"docno": docnos.drop_duplicates().to_numpy()})
    found = loader(asked)
    if not isinstance(found, pd.DataFrame):
        raise WrongTypeError(f"text_loader {loader!r} returned a {type(found).__name__}; it must return the frame "
                             f"with the column {column!r}")
    check_columns(f"the frame that text_loader {loader!r} returned", found)
    absent = [name for name in ("docno", column) if name not in found.columns]
    if absent:
        raise DataError(f"text_loader {loader!r} returned no column {absent[0]!r} (but {list(found.columns)}); "
                         "text_field= names the column with the text")
    texts = dict(zip(found["docno"], strings(found, column), strict=True))
    unknown = [docno for docno in asked["docno"] if docno not in texts]
    if unknown:
        raise DataError(f"text_loader {loader!r} has no text for {len(unknown)} documents, docno {_some(unknown)}; "
                         "were these results retrieved from other documents?")
    if len(found) != len(asked):
        raise DataError(f"text_loader {loader!r} returned {len(found)} rows for {len(asked)} documents; it must "
                         "return one for each")
    return [texts[docno] for docno in docnos]


def _some(names: list[object]) -> str:
    """Returns the first five names, for messages."""
    return ", ".join(map(str, names[:5])) + (" …" if len(names) > 5 else "")


def _is_text(value: object) -> bool:
    """Returns whether a value is a string that has a UTF-8 form, as tokenizers demand."""
    if not isinstance(value, str):
        return False
    try:
        return value.isascii() or bool(value.encode())
    except UnicodeEncodeError:
        return False
