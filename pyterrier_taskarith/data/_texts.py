"""Documents that give their texts by docno: the column ``text`` for results."""

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice

import pandas as pd
import pyterrier as pt

from pyterrier_taskarith.data._frames import check_columns
from pyterrier_taskarith.errors import DataError


class TextSource(pt.Transformer):
    """Adds the column ``text`` to results, by docno.

    Attributes:
        fingerprint: A hash of the docnos and texts.
        source: The file or data set that they come from, for messages.
    """

    schematic = {"label": "Texts", "help_url": "https://pyterrier.readthedocs.io/en/latest/text.html"}
    fingerprint: str
    source = "the documents"

    @property
    def count(self) -> int:
        """How many documents there are."""
        raise NotImplementedError

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yields docno and text of every document, in a fixed order."""
        raise NotImplementedError

    def get(self, docnos: Iterable[str]) -> dict[str, str]:
        """Returns docno -> text of the documents that exist, among distinct docnos."""
        raise NotImplementedError

    def head(self, count: int | None = None) -> pd.DataFrame:
        """Returns the first documents, or all of them, as a frame of docno and text."""
        return pd.DataFrame(islice(self.pairs(), count), columns=["docno", "text"])

    @property
    def docno_bytes(self) -> int:
        """Bytes of the longest docno in UTF-8."""
        return max(len(docno.encode()) for docno, _ in self.pairs())

    def unknown(self, docnos: Iterable[str]) -> list[str]:
        """Returns the docnos that none of the documents has, each once."""
        distinct = list(dict.fromkeys(docnos))
        known = self.get(distinct)
        return [docno for docno in distinct if docno not in known]

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Returns the results with their texts: the same rows and columns, and ``text``.

        Raises:
            DataError: A docno is not among the documents.
        """
        pt.validate.columns(inp, includes=["docno"], context=self)
        check_columns("the frame of results", inp)
        found = self.get(inp["docno"].drop_duplicates().tolist())
        unknown = [docno for docno in inp["docno"] if docno not in found]
        if unknown:
            raise DataError(
                f"{len(unknown)} of {len(inp)} results have a docno that is not among the {self.count} "
                f"documents, such as {unknown[:3]}: were these results retrieved from other documents?"
            )
        texts = [found[docno] for docno in inp["docno"]]
        return inp.assign(text=pd.Series(texts, index=inp.index, dtype=self._dtype))

    #: Of the column ``text``.
    _dtype: object = pd.Series(["a"]).dtype

    def __eq__(self, other: object) -> bool:
        return self.fingerprint == other.fingerprint if isinstance(other, type(self)) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), self.fingerprint))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.count} documents, {self.fingerprint[:8]})"


class Texts(TextSource):
    """Texts of documents in memory.

    Args:
        documents: Columns ``docno`` and ``text``, both str; docnos are distinct.

    Raises:
        DataError: A column is missing or there twice, a docno occurs twice, or a text is not a str.
    """

    def __init__(self, documents: pd.DataFrame) -> None:
        super().__init__()
        check_columns("The frame of documents", documents)
        missing = [column for column in ("docno", "text") if column not in documents.columns]
        if missing:
            raise DataError(f"The documents lack the column {missing[0]!r}; they have {list(documents.columns)}.")
        self.documents = documents
        self._dtype = documents["text"].dtype
        self._text_of: dict[str, str] = dict(zip(documents["docno"], documents["text"], strict=True))
        if len(self._text_of) != len(documents):
            repeated = documents["docno"][documents["docno"].duplicated()]
            raise DataError(f"The docno {repeated.iloc[0]!r} occurs more than once.")
        faulty = [d for d, text in self._text_of.items() if not (isinstance(d, str) and isinstance(text, str))]
        if faulty:
            raise DataError(f"{len(faulty)} documents have a docno or text that is not a str, such as {faulty[:3]}.")
        digest = hashlib.sha256()
        for docno, text in self._text_of.items():
            add_document(digest, docno, text)
        self.fingerprint = digest.hexdigest()

    @property
    def count(self) -> int:
        """How many documents there are."""
        return len(self._text_of)

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yields docno and text of every document, in the frame's order."""
        yield from self._text_of.items()

    def get(self, docnos: Iterable[str]) -> dict[str, str]:
        """Returns docno -> text of the documents that exist, among distinct docnos."""
        return {docno: self._text_of[docno] for docno in docnos if docno in self._text_of}


def add_document(digest: "hashlib._Hash", docno: str, text: str) -> None:
    """Adds a document to the hash of all of them."""
    for part in (docno, text):
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "big") + raw)


def with_title(title: str, body: str) -> str:
    """Returns a document's text, as in the paper: title + " " + body."""
    return f"{title} {body}" if title else body
