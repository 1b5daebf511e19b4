"""Test collections and runs: folders, BEIR zips, ir_datasets, TREC files, and texts that stay on the disk."""

from pyterrier_taskarith.data._checks import (
    as_numbers,
    checked_qrels,
    checked_run,
    checked_topics,
    first_few,
    query_texts,
    reject_repeats,
    require_values,
)
from pyterrier_taskarith.data._collection import (
    Collection,
    check_judged,
    collection_folder,
    read_collection,
    read_splits,
    split_of,
)
from pyterrier_taskarith.data._datasets import Dataset, open_dataset
from pyterrier_taskarith.data._irds import IrdsTexts, judged_of
from pyterrier_taskarith.data._judgements import Judged
from pyterrier_taskarith.data._rows import TextLoader, load_texts, portions, strings
from pyterrier_taskarith.data._stored_texts import StoredTexts, documents_file
from pyterrier_taskarith.data._texts import Texts, TextSource
from pyterrier_taskarith.data._trec import read_qrels, read_run, read_topics, with_queries

__all__ = ["Collection", "Dataset", "IrdsTexts", "Judged", "StoredTexts", "TextLoader", "TextSource", "Texts",
           "as_numbers", "check_judged", "checked_qrels", "checked_run", "checked_topics", "collection_folder",
           "documents_file", "first_few", "judged_of", "load_texts", "open_dataset", "portions", "query_texts",
           "read_collection", "read_qrels", "read_run", "read_splits", "read_topics", "reject_repeats",
           "require_values", "split_of", "strings", "with_queries"]
