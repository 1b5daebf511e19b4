"""A declared dataset -> its documents, queries and judgements, from ir_datasets or local files; its first stage."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyterrier as pt

from experiments.datasets import IRDS, Dataset
from pyterrier_taskarith.data import Collection, open_dataset, read_run
from pyterrier_taskarith.errors import DataError
from pyterrier_taskarith.fusion import with_scores
from pyterrier_taskarith.terrier import first_stage as bm25

DEVELOPMENT, TEST = "dev", "test"
#: Documents a query that are re-ranked.
DEPTH = 100


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Loaded(Collection):
    """A declared dataset's collection, with the splits "test", and "dev" where it has development queries.

    Attributes:
        dataset: Its declaration.
        source: What the documents are, in words and hashes; part of a run's recipe.
        queries: The qids of all its queries, also those that do not count.
    """

    dataset: Dataset
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
        DataError: If a local file is not as it should be, or lacks the development queries.
    """
    local = None if collections is None else _place(collections, dataset)
    if local is not None and local.exists():
        found = _local(dataset, local, halves)
        source = {"folder": dataset.folder, "documents": found.documents.fingerprint}
    elif dataset.test.startswith(IRDS):
        found = open_dataset(dataset.test, development=dataset.development or None, documents=dataset.corpus)
        source = {"irds": dataset.corpus.removeprefix(IRDS)}
    else:
        raise FileNotFoundError(f"{dataset.name} is not in ir_datasets: put it as a folder {dataset.folder!r}, or as "
                                f"{dataset.folder}.zip, into a folder of collections and give that as --collections"
                                + (f"; {local} does not exist" if local is not None else ""))
    queries = frozenset(qid for topics in found.topics.values() for qid in topics["qid"])
    topics = {split: frame for split, frame in found.topics.items() if dataset.develops or split != DEVELOPMENT}
    if DEVELOPMENT in topics and dataset.development_share < 1:
        topics[DEVELOPMENT] = _first(topics[DEVELOPMENT], int(dataset.development_share * len(topics[DEVELOPMENT])))
    if limit is not None:
        topics = {split: _first(frame, limit) for split, frame in topics.items()}
    qrels = {split: found.qrels[split][found.qrels[split]["qid"].isin(frame["qid"])].reset_index(drop=True)
             for split, frame in topics.items()}
    return Loaded(found.name, found.documents, topics, qrels, found.report, dataset=dataset, source=source,
                  queries=queries)


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
        DataError: If a line is something else, or the run is of other documents; they are named.
    """
    given = read_run(path)
    unknown = loaded.documents.unknown(given["docno"])
    if unknown:
        raise DataError(f"{path}: {len(unknown)} documents of the run are not among the {loaded.documents.count} of "
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


def _local(dataset: Dataset, place: Path, halves: bool) -> Collection:
    development = place.parent / dataset.development_folder if dataset.development_folder else None
    if development is not None and not development.is_dir():
        development = None
    found = open_dataset(place, development=development, halve=halves and dataset.develops)
    if dataset.develops and DEVELOPMENT not in found.topics:
        raise DataError(f"{place} has no development queries, which α and λ are tuned on: as a BEIR folder it needs "
                        f"qrels/dev.tsv or qrels/train.tsv"
                        + (f", or a folder {dataset.development_folder!r} beside it" if dataset.development_folder
                           else ""))
    return found


def _first(topics: pd.DataFrame, count: int) -> pd.DataFrame:
    if count < 1:
        raise DataError(f"{count} of {len(topics)} queries: at least one must count")
    return topics.head(count)
