"""The queries and texts of a frame's rows: from its columns, or loaded by docno in portions."""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from pyterrier_taskarith.errors import DataError, WrongTypeError

#: A transformer, or another callable, from a frame with ``docno`` to one with the text column too.
TextLoader = Callable[[pd.DataFrame], pd.DataFrame]
#: Rows at least whose texts are in memory at once; enough for batches of like length.
PORTION = 4096


def strings(frame: pd.DataFrame, column: str) -> list[str]:
    """Returns a column of strings.

    Raises:
        DataError: If a value is not a string; the docnos are named.
    """
    values: list[str] = frame[column].tolist()
    bad = [docno for docno, value in zip(frame["docno"], values, strict=True) if not _is_text(value)]
    if bad:
        raise DataError(f"column {column!r} holds no text (or half a surrogate pair) for {len(bad)} rows, docno "
                         f"{some(bad)}; fill it (pt.text.get_text) or drop the rows")
    return values


def portions(docnos: pd.Series) -> Iterator[np.ndarray]:
    """Yields the rows of a frame in portions; rows of one document are in one portion.

    Args:
        docnos: n of them.

    Yields:
        Positions of rows; int64 arrays of PORTION or somewhat more, or of all rows if they are fewer.
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
        DataError: If it returns no such column, leaves a document out or gives it twice, or a text is not a string.
    """
    asked = pd.DataFrame({"docno": docnos.drop_duplicates().to_numpy()})
    found = loader(asked)
    if not isinstance(found, pd.DataFrame):
        raise WrongTypeError(f"text_loader {loader!r} returned a {type(found).__name__}; it must return the frame "
                             f"with the column {column!r}")
    absent = [name for name in ("docno", column) if name not in found.columns]
    if absent:
        raise DataError(f"text_loader {loader!r} returned no column {absent[0]!r} (but {list(found.columns)}); "
                         "text_field= names the column with the text")
    texts = dict(zip(found["docno"], strings(found, column), strict=True))
    unknown = [docno for docno in asked["docno"] if docno not in texts]
    if unknown:
        raise DataError(f"text_loader {loader!r} has no text for {len(unknown)} documents, docno {some(unknown)}; "
                         "were these results retrieved from other documents?")
    if len(found) != len(asked):
        raise DataError(f"text_loader {loader!r} returned {len(found)} rows for {len(asked)} documents; it must "
                         "return one for each")
    return [texts[docno] for docno in docnos]


def some(names: list[object]) -> str:
    """Returns the first few names, in words."""
    return ", ".join(map(str, names[:5])) + (" …" if len(names) > 5 else "")


def _is_text(value: object) -> bool:
    """Returns whether a value is a string that has a UTF-8 form, as tokenizers demand."""
    if not isinstance(value, str):
        return False
    try:
        return value.isascii() or bool(value.encode())
    except UnicodeEncodeError:
        return False
