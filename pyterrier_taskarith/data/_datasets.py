"""A test collection's queries, judgements and documents, of whatever size: local folders and zips, and ir_datasets."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pyterrier_taskarith._files import home
from pyterrier_taskarith.data._collection import collection_folder
from pyterrier_taskarith.data._irds import PREFIX, IrdsTexts, judged_of
from pyterrier_taskarith.data._judgements import Judged, read_beir_split, read_plain_split
from pyterrier_taskarith.data._stored_texts import StoredTexts
from pyterrier_taskarith.data._texts import TextSource

__all__ = ["Dataset", "open_dataset"]


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """One set of judged queries over a collection.

    Attributes:
        name: Of the collection and the split.
        topics: qid and query (str).
        qrels: qid, docno (str) and label (int).
        documents: Texts by docno, read when they are asked for: for `first_stage`, and for the end of a pipeline or a
            re-ranker's ``text_loader``.
    """

    name: str
    topics: pd.DataFrame
    qrels: pd.DataFrame
    documents: TextSource

    def __repr__(self) -> str:
        return f"Dataset({self.name!r}, {len(self.topics)} queries)"


def open_dataset(source: str | Path, split: str | None = None, *, documents: str | Path | None = None,
                 place: str | Path | None = None) -> Dataset:
    """Opens one split of a test collection.

    Args:
        source: A BEIR folder or zip (corpus.jsonl, queries.jsonl, qrels/<split>.tsv); a folder or zip with docs.jsonl,
            queries.tsv and qrels.txt; or ``irds:`` and an id of ir_datasets.
        split: Of a BEIR folder, None being "test"; of ir_datasets, what is put after the id, such as "dev" for
            ``irds:beir/nfcorpus/dev``, None being the id as it is. Other folders have one set of queries and no split.
        documents: Where the documents are, if elsewhere: a folder or zip, a file of JSON lines, or an ``irds:`` id.
        place: Folder for unpacked zips and for the places of documents in their files; None: the package's cache
            folder.

    Raises:
        FileNotFoundError: If there is no such folder, file or split.
        ValueError: If a file is not as it should be (it and the line are named), a zip is damaged, or there is no such
            id.
        ConnectionError: If files of ir_datasets cannot be had.
    """
    base = home() if place is None else Path(place)
    if str(source).startswith(PREFIX):
        name = str(source) if split is None else f"{source}/{split}"
        topics, qrels = judged_of(name)
        return Dataset(name.removeprefix(PREFIX), topics, qrels, _documents(documents or name, base))
    folder = collection_folder(source, base / "collections")
    topics, qrels, name = _local(folder, split)
    stem = Path(source).stem if Path(source).is_file() else folder.resolve().name
    return Dataset(f"{stem}/{name}" if name else stem, topics, qrels, _documents(documents or folder, base))


def _local(folder: Path, split: str | None) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Returns topics, qrels and the split's name."""
    judged: Judged
    if (folder / "queries.tsv").is_file():
        if split is not None:
            raise ValueError(f"{folder} has one set of queries, queries.tsv, and no split {split!r}; leave it out.")
        judged, name = read_plain_split(folder), ""
    elif (folder / "queries.jsonl").is_file():
        name = split or "test"
        judged = read_beir_split(folder, name)
    else:
        raise FileNotFoundError(f"{folder} holds neither queries.tsv nor queries.jsonl: it is no collection this "
                                "reads.")
    return *judged, name


def _documents(source: str | Path, base: Path) -> TextSource:
    if str(source).startswith(PREFIX):
        return IrdsTexts(str(source))
    path = Path(source)
    if path.is_dir() or path.suffix == ".zip":
        path = collection_folder(path, base / "collections")
    return StoredTexts(path, base / "texts")
