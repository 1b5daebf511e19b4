"""A declared dataset -> its documents, queries and judgements, from ir_datasets or a local folder; its first stage."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyterrier as pt

from experiments.datasets import IRDS, Dataset
from pyterrier_taskarith._frames import with_scores
from pyterrier_taskarith.checkpoints._fingerprint import file_sha256
from pyterrier_taskarith.cli._files import read_run
from pyterrier_taskarith.collection import BEIR_SPLITS, Collection, read_collection
from pyterrier_taskarith.first_stage import Texts
from pyterrier_taskarith.first_stage import first_stage as bm25

DEVELOPMENT, TEST = "dev", "test"
Judged = tuple[pd.DataFrame, pd.DataFrame]  # topics and qrels


@dataclass(eq=False)
class Loaded:
    """A dataset's queries and judgements; its documents are read when they are asked for.

    Attributes:
        dataset: Its declaration.
        topics: "test", and "dev" where it has development queries -> qid and query, in file order.
        qrels: The same -> qid, docno, label.
        source: What the documents are, in words and hashes; part of a run's recipe.
        collection: The local collection; None: ir_datasets has it.
    """

    dataset: Dataset
    topics: dict[str, pd.DataFrame]
    qrels: dict[str, pd.DataFrame]
    source: dict[str, str]
    collection: Collection | None = field(default=None, repr=False)

    def documents(self) -> Iterator[dict[str, str]]:
        """Yields docno and text, title + " " + body."""
        if self.collection is not None:
            frame = self.collection.documents
            for docno, text in zip(frame["docno"], frame["text"], strict=True):
                yield {"docno": docno, "text": text}
            return
        for doc in _irds(self.dataset.corpus).docs_iter():
            yield {"docno": doc.doc_id, "text": f"{doc.title} {doc.text}" if doc.title else doc.text}

    @cached_property
    def texts(self) -> Texts:
        """Adds the documents' texts to results, by docno."""
        return Texts(pd.DataFrame(self.documents(), columns=["docno", "text"]))


def load(dataset: Dataset, collections: Path | None = None, *, limit: int | None = None,
         halves: bool = False) -> Loaded:
    """Reads a dataset's queries and judgements.

    Args:
        dataset: Its declaration.
        collections: A folder; the dataset is read from the folder of its name in there, where there is one.
        limit: Only the first queries of each split count.
        halves: Whether a local collection without development queries is divided into two halves by a hash of the
            query, for a rehearsal.

    Raises:
        FileNotFoundError: If it is neither local nor in ir_datasets, with what to do.
        ValueError: If a local file is not as it should be, or lacks the development queries.
    """
    local = None if collections is None else collections / dataset.folder
    if local is not None and local.is_dir():
        collection, splits = _local(dataset, local, halves)
        source = {"folder": dataset.folder, "sha256": file_sha256(next(
            path for name in ("corpus.jsonl", "docs.jsonl") if (path := local / name).is_file()))}
    elif dataset.test.startswith(IRDS):
        collection, source = None, {"irds": dataset.corpus.removeprefix(IRDS)}
        splits = {TEST: _queries(dataset.test)}
        if dataset.development:
            splits[DEVELOPMENT] = _queries(dataset.development)
    else:
        raise FileNotFoundError(f"{dataset.name} is not in ir_datasets: put it as a folder {dataset.folder!r} into a "
                                "folder of collections and give that as --collections"
                                + (f"; {local} does not exist" if local is not None else ""))
    if DEVELOPMENT in splits and dataset.development_share < 1:
        topics, _ = splits[DEVELOPMENT]
        splits[DEVELOPMENT] = _first(*splits[DEVELOPMENT], int(dataset.development_share * len(topics)))
    if limit is not None:
        splits = {split: _first(*judged, limit) for split, judged in splits.items()}
    return Loaded(dataset, {split: topics for split, (topics, _) in splits.items()},
                  {split: qrels for split, (_, qrels) in splits.items()}, source, collection)


def first_stage(loaded: Loaded, folder: Path, run: Path | None = None) -> pt.Transformer:
    """Returns the pipeline from a dataset's queries to its top 100 with texts.

    Args:
        loaded: The dataset.
        folder: Where its index is built, or found.
        run: A run of TREC's format to take instead of BM25's.
    """
    if run is not None:
        given = read_run(run)
        return pt.Transformer.from_df(with_scores(given, given["score"])) >> loaded.texts
    return bm25(loaded.texts.documents, folder, language=loaded.dataset.language)


def _local(dataset: Dataset, folder: Path, halves: bool) -> tuple[Collection, dict[str, Judged]]:
    development = folder.parent / dataset.development_folder if dataset.development_folder else None
    if development is not None and not development.is_dir():
        development = None
    collection = read_collection(folder, development=development)
    divided = development is None and _has_one_split(folder)
    splits = {split: (collection.topics[split], collection.qrels[split]) for split in (DEVELOPMENT, TEST)}
    if not dataset.develops:
        if divided:  # all its queries are for testing
            splits[TEST] = tuple(pd.concat([frames[split] for split in (DEVELOPMENT, TEST)], ignore_index=True)
                                 for frames in (collection.topics, collection.qrels))  # type: ignore[assignment]
        del splits[DEVELOPMENT]
    elif divided and not halves:
        raise ValueError(f"{folder} has no development queries, which α and λ are tuned on: as a BEIR folder it needs "
                         f"qrels/dev.tsv or qrels/train.tsv"
                         + (f", or a folder {dataset.development_folder!r} beside it" if dataset.development_folder
                            else ""))
    return collection, splits


def _has_one_split(folder: Path) -> bool:
    """Returns whether a collection has queries of one kind only, which reading it divides into halves."""
    return not (folder / "corpus.jsonl").is_file() or sum(
        (folder / "qrels" / f"{split}.tsv").is_file() for split in BEIR_SPLITS) == 1


def _queries(identifier: str) -> Judged:
    """Returns the queries of an ``irds:`` id that have judgements, in file order, and the judgements."""
    data = _irds(identifier)
    qrels = pd.DataFrame([(each.query_id, each.doc_id, int(each.relevance)) for each in data.qrels_iter()],
                         columns=["qid", "docno", "label"])
    judged = set(qrels["qid"])
    topics = pd.DataFrame([(each.query_id, each.text) for each in data.queries_iter() if each.query_id in judged],
                          columns=["qid", "query"])
    return topics, qrels


def _irds(identifier: str) -> Any:  # noqa: ANN401 - ir_datasets has no types
    import ir_datasets

    return ir_datasets.load(identifier.removeprefix(IRDS))


def _first(topics: pd.DataFrame, qrels: pd.DataFrame, count: int) -> Judged:
    if count < 1:
        raise ValueError(f"{count} of {len(topics)} queries: at least one must count")
    kept = topics.head(count)
    return kept, qrels[qrels["qid"].isin(kept["qid"])].reset_index(drop=True)
