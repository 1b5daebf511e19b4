"""A declared dataset -> its documents, queries and judgements, from ir_datasets or local files; its first stage."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyterrier as pt

from experiments.datasets import IRDS, Dataset
from pyterrier_taskarith._frames import with_scores
from pyterrier_taskarith.data import (
    IrdsTexts,
    Judged,
    StoredTexts,
    TextSource,
    check_judged,
    collection_folder,
    documents_file,
    judged_of,
    read_run,
    read_splits,
)
from pyterrier_taskarith.terrier import first_stage as bm25

DEVELOPMENT, TEST = "dev", "test"
#: Documents a query that are re-ranked.
DEPTH = 100


@dataclass(eq=False)
class Loaded:
    """A dataset's queries, judgements and documents.

    Attributes:
        dataset: Its declaration.
        topics: "test", and "dev" where it has development queries -> qid and query, in file order.
        qrels: The same -> qid, docno, label.
        documents: Texts (title + " " + body) by docno, read when they are asked for and never all in memory.
        source: What the documents are, in words and hashes; part of a run's recipe.
        queries: The qids of all its queries, also those that do not count.
    """

    dataset: Dataset
    topics: dict[str, pd.DataFrame]
    qrels: dict[str, pd.DataFrame]
    documents: TextSource
    source: dict[str, str]
    queries: frozenset[str]


def load(dataset: Dataset, collections: Path | None = None, *, limit: int | None = None,
         halves: bool = False) -> Loaded:
    """Reads a dataset's queries and judgements.

    Args:
        dataset: Its declaration.
        collections: A folder; the dataset is read from the folder or zip of its name in there, where there is one.
        limit: Only the first queries of each split count.
        halves: Whether a local collection without development queries is divided into two halves by a hash of the
            query, for a rehearsal.

    Raises:
        FileNotFoundError: If it is neither local nor in ir_datasets, with what to do.
        ValueError: If a local file is not as it should be, or lacks the development queries.
    """
    local = None if collections is None else _place(collections, dataset)
    documents: TextSource
    if local is not None and local.exists():
        documents, splits = _local(dataset, local, halves)
        source = {"folder": dataset.folder, "documents": documents.fingerprint}
    elif dataset.test.startswith(IRDS):
        documents, source = IrdsTexts(dataset.corpus), {"irds": dataset.corpus.removeprefix(IRDS)}
        splits = {TEST: judged_of(dataset.test)}
        if dataset.development:
            splits[DEVELOPMENT] = judged_of(dataset.development)
    else:
        raise FileNotFoundError(f"{dataset.name} is not in ir_datasets: put it as a folder {dataset.folder!r}, or as "
                                f"{dataset.folder}.zip, into a folder of collections and give that as --collections"
                                + (f"; {local} does not exist" if local is not None else ""))
    queries = frozenset(qid for topics, _ in splits.values() for qid in topics["qid"])
    if not dataset.develops:
        splits.pop(DEVELOPMENT, None)
    if DEVELOPMENT in splits and dataset.development_share < 1:
        topics, _ = splits[DEVELOPMENT]
        splits[DEVELOPMENT] = _first(*splits[DEVELOPMENT], int(dataset.development_share * len(topics)))
    if limit is not None:
        splits = {split: _first(*judged, limit) for split, judged in splits.items()}
    return Loaded(dataset, {split: topics for split, (topics, _) in splits.items()},
                  {split: qrels for split, (_, qrels) in splits.items()}, documents, source, queries)


def first_stage(loaded: Loaded, folder: Path) -> pt.Transformer:
    """Returns the pipeline from a dataset's queries to BM25's top 100 with texts.

    Args:
        loaded: The dataset.
        folder: Where its index is built, or found.
    """
    return bm25(loaded.documents, folder, num_results=DEPTH, language=loaded.dataset.language)


def stored_run(loaded: Loaded, path: Path) -> pt.Transformer:
    """Returns the pipeline from a dataset's queries to the top 100 of a TREC run (``.gz`` too) with texts.

    Raises:
        ValueError: If a line is something else, or the run is of other documents; they are named.
    """
    given = read_run(path)
    unknown = loaded.documents.unknown(given["docno"])
    if unknown:
        raise ValueError(f"{path}: {len(unknown)} documents of the run are not among the {loaded.documents.count} of "
                         f"{loaded.dataset.name}: {', '.join(unknown[:5])}{' …' if len(unknown) > 5 else ''}")
    return pt.Transformer.from_df(with_scores(given, given["score"])) % DEPTH >> loaded.documents


def stored_in_words(loaded: Loaded, split: str, path: Path, run: pd.DataFrame) -> str:
    """Returns what a report says of a split whose first stage is a stored run, with the queries that it lacks or adds.

    A run may well be of more queries than count, such as all of BEIR's queries.jsonl.
    """
    others = [qid for qid in read_run(path)["qid"].unique() if qid not in loaded.queries]
    topics = loaded.topics[split]["qid"]
    lacking = topics[~topics.isin(run["qid"])].tolist()
    text = f"{loaded.dataset.name}, {split}: what is called BM25 is the stored run {path.name}."
    if lacking:
        text += (f" It has no document for {len(lacking)} of {len(topics)} queries, which count 0: "
                 f"{', '.join(lacking[:5])}{' …' if len(lacking) > 5 else ''}.")
    if others:
        text += (f" Not used: {len(others)} queries of the run that are none of this dataset's judged ones: "
                 f"{', '.join(others[:5])}{' …' if len(others) > 5 else ''}.")
    return text


def _place(collections: Path, dataset: Dataset) -> Path:
    """Returns where a dataset is among local collections: a folder, or else a zip."""
    folder, archive = collections / dataset.folder, collections / f"{dataset.folder}.zip"
    return archive if archive.is_file() and not folder.is_dir() else folder


def _local(dataset: Dataset, place: Path, halves: bool) -> tuple[TextSource, dict[str, Judged]]:
    folder = collection_folder(place)
    development = place.parent / dataset.development_folder if dataset.development_folder else None
    if development is not None and not development.is_dir():
        development = None
    splits, _, files = read_splits(folder, development, halve=halves and dataset.develops)
    documents = StoredTexts(folder)
    for split, (_, qrels) in splits.items():
        check_judged(qrels, files[split], documents, documents_file(folder)[0])
    if dataset.develops and DEVELOPMENT not in splits:
        raise ValueError(f"{folder} has no development queries, which α and λ are tuned on: as a BEIR folder it needs "
                         f"qrels/dev.tsv or qrels/train.tsv"
                         + (f", or a folder {dataset.development_folder!r} beside it" if dataset.development_folder
                            else ""))
    return documents, splits


def _first(topics: pd.DataFrame, qrels: pd.DataFrame, count: int) -> Judged:
    if count < 1:
        raise ValueError(f"{count} of {len(topics)} queries: at least one must count")
    kept = topics.head(count)
    return kept, qrels[qrels["qid"].isin(kept["qid"])].reset_index(drop=True)
