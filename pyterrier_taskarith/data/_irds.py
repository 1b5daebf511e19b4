"""Data sets of ir_datasets, by their ids: queries, judgements and texts, with errors that say what to do."""

import difflib
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
import pyterrier as pt

from pyterrier_taskarith.data._texts import TextSource, with_title
from pyterrier_taskarith.data._topics import Topic, query_of, topics_frame
from pyterrier_taskarith.errors import DataError

#: Of PyTerrier's names for ir_datasets' data sets.
PREFIX = "irds:"
#: Documents that are asked of a store at once.
AT_ONCE = 4096


class IrdsTexts(TextSource):
    """Texts by docno from ir_datasets' document store, which is downloaded and built at first use.

    A document's text is its title, a space and its text.
    """

    def __init__(self, dataset: str) -> None:
        """Finds the data set; nothing is downloaded.

        Args:
            dataset: Its id, such as "irds:beir/nfcorpus".

        Raises:
            DataError: If there is no such data set, or it has no documents with a text.
        """
        super().__init__()
        self.dataset = self.source = dataset
        found = reference(dataset)
        if not found.has_docs() or "text" not in found.docs_cls()._fields:
            raise DataError(f"{dataset} has no documents with a field 'text'; other data sets of ir_datasets do.")
        self._dataset = found
        # The id names the contents: ir_datasets compares hashes of what it downloads.
        name = found.docs_namespace() if callable(getattr(found, "docs_namespace", None)) else dataset
        self.fingerprint = hashlib.sha256(f"{PREFIX}{name}".encode()).hexdigest()

    @property
    def count(self) -> int:
        """How many documents there are."""
        with reachable(self.dataset):
            return int(self._dataset.docs_count())

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yields docno and text of every document."""
        with reachable(self.dataset):
            for document in self._dataset.docs_iter():
                yield document.doc_id, _text(document)

    def get(self, docnos: Iterable[str]) -> dict[str, str]:
        """Returns docno -> text of the documents that exist, among distinct docnos."""
        asked, found = list(docnos), {}
        with reachable(self.dataset):
            store = self._dataset.docs_store()
            for start in range(0, len(asked), AT_ONCE):
                for document in store.get_many_iter(asked[start:start + AT_ONCE]):
                    found[document.doc_id] = _text(document)
        return found

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return type(self), (self.dataset,)

    def __repr__(self) -> str:
        return f"IrdsTexts({self.dataset!r})"


def read_irds(dataset: str, fields: Sequence[str] = ()) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns the judged queries (qid, query) and the judgements (qid, docno, label) of a data set with its split.

    Args:
        dataset: Its id.
        fields: Of a query, those whose texts make it; none: what ir_datasets gives as its text.

    Raises:
        DataError: If there are no queries or judgements, or a query has no text.
    """
    found = reference(dataset)
    if not found.has_queries() or not found.has_qrels():
        lacks = "queries" if not found.has_queries() else "judgements"
        below = [name for name in _names() if name.startswith(f"{dataset.removeprefix(PREFIX)}/")]
        raise DataError(f"{dataset} has no {lacks}" + (f"; name a part: {', '.join(below[:8])}." if below else "."))
    with reachable(dataset):
        queries = list(found.queries_iter())
        labels = [(str(judged.query_id), str(judged.doc_id), int(judged.relevance)) for judged in found.qrels_iter()]
    judged = {qid for qid, _, _ in labels}
    topics = topics_frame((_topic(query, fields, dataset) for query in queries if str(query.query_id) in judged),
                          f"{dataset}, among its judged queries,")
    return topics, pd.DataFrame(labels, columns=["qid", "docno", "label"]).drop_duplicates(ignore_index=True)


def reference(dataset: str) -> Any:
    """Returns ir_datasets' object of an id; an unknown one is a DataError that names the nearest ids."""
    name = dataset.removeprefix(PREFIX)
    try:
        found: Any = pt.get_dataset(f"{PREFIX}{name}")
        return found.irds_ref()
    except KeyError:
        near = difflib.get_close_matches(name, _names(), n=5, cutoff=0.5)
        raise DataError(f"ir_datasets has no data set {name!r}" + (f"; near it: {', '.join(near)}." if near else
                         "; its ids are on ir-datasets.com.")) from None


@contextmanager
def reachable(dataset: str) -> Iterator[None]:
    """Turns the errors of ir_datasets' downloads into a ConnectionError that says what to do."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise ConnectionError(
            f"The files of {dataset} cannot be had ({type(error).__name__}: {error}). ir_datasets downloads them at "
            "first use: is there a network, and room on the disk? Without one, copy ~/.ir_datasets (or what "
            "IR_DATASETS_HOME names) from a machine that has them, or name a BEIR folder or zip instead.") from error


def _names() -> list[str]:
    import ir_datasets

    return list(ir_datasets.registry)


def _text(document: Any) -> str:
    return with_title(getattr(document, "title", "") or "", document.text)


def _topic(query: Any, fields: Sequence[str], dataset: str) -> Topic:
    texts = {name.lower(): value for name in query._fields[1:] if isinstance(value := getattr(query, name), str)}
    if not fields and (hasattr(query, "default_text") or "text" in texts):
        text = query.default_text() if hasattr(query, "default_text") else texts["text"]
    else:
        text = query_of(texts, fields, f"{dataset}: the topic {str(query.query_id)!r}")
    return Topic(str(query.query_id), (text or "").strip(), dataset, texts)
