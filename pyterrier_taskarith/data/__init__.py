"""Test collections and runs: folders, BEIR zips, ir_datasets, TREC files, and texts that stay on the disk."""

from pyterrier_taskarith.data._collection import Collection, check_judged, open_dataset, read_collection, split_of
from pyterrier_taskarith.data._formats import read_qrels, read_run, with_queries
from pyterrier_taskarith.data._frames import (
    TextLoader,
    as_numbers,
    check_columns,
    check_queries,
    checked_qrels,
    checked_run,
    checked_topics,
    first_few,
    load_texts,
    portions,
    query_texts,
    require_values,
    strings,
)
from pyterrier_taskarith.data._irds import IrdsTexts
from pyterrier_taskarith.data._stored_texts import StoredTexts
from pyterrier_taskarith.data._texts import Texts, TextSource
from pyterrier_taskarith.data._topics import read_topics

__all__ = ["Collection", "IrdsTexts", "StoredTexts", "TextLoader", "TextSource", "Texts", "as_numbers", "check_columns",
           "check_judged", "check_queries", "checked_qrels", "checked_run", "checked_topics", "first_few", "load_texts",
           "open_dataset", "portions", "query_texts", "read_collection", "read_qrels", "read_run", "read_topics",
           "require_values", "split_of", "strings", "with_queries"]
