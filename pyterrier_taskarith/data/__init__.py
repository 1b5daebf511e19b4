"""Test collections and runs: folders, BEIR zips, ir_datasets, TREC files, and texts that stay on the disk."""

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
           "check_judged", "collection_folder", "documents_file", "judged_of", "load_texts", "open_dataset",
           "portions", "read_collection", "read_qrels", "read_run", "read_splits", "read_topics", "split_of",
           "strings", "with_queries"]
