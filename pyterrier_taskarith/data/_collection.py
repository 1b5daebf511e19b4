"""A test collection in memory, read from a folder: documents, and queries with their judgements for two splits."""

import hashlib
import warnings
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pandas as pd

from pyterrier_taskarith._files import home
from pyterrier_taskarith.data._archive import unpacked
from pyterrier_taskarith.data._judgements import Judged, beir_splits, read_beir_split, read_plain_split, some
from pyterrier_taskarith.data._lines import identifier, json_lines, string
from pyterrier_taskarith.data._stored_texts import documents_file
from pyterrier_taskarith.data._texts import TextSource, titles_apart, with_title

__all__ = ["Collection", "read_collection", "split_of"]

DEVELOPMENT, TEST = "dev", "test"
BEIR_SPLITS = ("train", "dev", "test")  # the last that exists is for testing, the one before it for development


@dataclass(frozen=True, eq=False, repr=False)
class Collection:
    """A test collection.

    Attributes:
        name: The collection's name.
        documents: Columns ``docno``, ``title`` and ``text``, all str; ``text`` is what is indexed and scored, title
            included.
        topics: Split ("dev" or "test") to a frame with the str columns ``qid`` and ``query``.
        qrels: Split to a frame with columns ``docno`` and ``qid`` (str) and ``label`` (int).
        report: How the collection was read or made, in words and counts.
    """

    name: str
    documents: pd.DataFrame
    topics: dict[str, pd.DataFrame]
    qrels: dict[str, pd.DataFrame]
    report: str = ""

    def __repr__(self) -> str:
        queries = ", ".join(f"{len(topics)} {split}" for split, topics in self.topics.items())
        return f"Collection({self.name!r}, {len(self.documents)} documents, queries: {queries})"


def split_of(query: str) -> str:
    """The split a query belongs to where a collection has only one: "dev" or "test", by a hash of its words.

    It depends on nothing but the query, so a query stays on its side when documents or other queries change.
    """
    digest = hashlib.sha256(" ".join(query.split()).encode()).digest()
    return DEVELOPMENT if digest[0] % 2 else TEST


def read_collection(folder: str | Path, *, development: str | Path | None = None) -> Collection:
    """Read a test collection from a folder, or from a zip of one.

    Two layouts are known. A plain folder holds ``docs.jsonl`` (docno, title, text), ``queries.tsv`` (qid TAB query) and
    ``qrels.txt`` (TREC: qid, 0, docno, label). A BEIR folder holds ``corpus.jsonl`` (_id, title, text),
    ``queries.jsonl`` (_id, text) and ``qrels/{train,dev,test}.tsv`` (query-id TAB corpus-id TAB score, with that
    header).

    The development split is the folder ``development`` if given; else, in a BEIR folder with several splits, ``dev``
    (``train`` if there is no ``dev``); else the queries are divided into two halves by `split_of`.

    A document's text is title + " " + body, as in the paper. Folders whose bodies already begin with the title, in more
    than half of the documents that have one, are taken to hold it in the body on purpose, and the body is the text.

    Queries without judgements are left out, and judgements of unknown queries ignored; judgements of unknown documents
    stay and count as never retrieved, as trec_eval has it. Each is a warning that counts them. A query or
    judgement given twice counts once.

    Args:
        folder: The collection's folder or zip.
        development: A folder with ``queries.tsv`` and ``qrels.txt`` over the same documents, for the split "dev".

    Returns:
        The collection, with the splits "dev" and "test".

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a line does not have the form above, a docno occurs twice, or a qid with different queries, or a
            pair is judged twice with different labels; the message names the file, the line and the value. Or no
            judged document is there.
    """
    name = Path(folder).stem if Path(folder).is_file() else Path(folder).resolve().name
    folder = collection_folder(folder)
    path, key = documents_file(folder)
    documents = read_documents(path, docno=key)
    splits, origin, sources = read_splits(folder, development)
    for file in dict.fromkeys(sources.values()):
        check_judged(pd.concat([qrels for split, (_, qrels) in splits.items() if sources[split] == file]), file,
                     documents, path)
    counts = {split: len(topics) for split, (topics, _) in splits.items()}
    return Collection(
        name=name,
        documents=documents,
        topics={split: topics for split, (topics, _) in splits.items()},
        qrels={split: qrels for split, (_, qrels) in splits.items()},
        report=f"{name}: {len(documents)} documents, {counts[DEVELOPMENT]} development and {counts[TEST]} test queries "
        f"({origin}).",
    )


def collection_folder(source: str | Path, place: str | Path | None = None) -> Path:
    """Returns a collection's folder: its own, or that of an unpacked zip.

    Args:
        source: A folder or a zip file.
        place: Where zips are unpacked; None: ``collections`` in the package's cache folder.

    Raises:
        FileNotFoundError: If there is neither.
        ValueError: If it is a file and no whole zip.
    """
    path = Path(source)
    if path.is_dir():
        return path
    if path.is_file():
        return unpacked(path, place if place is not None else home() / "collections")
    raise FileNotFoundError(f"The collection {path} is not a folder, and no zip file.")


def read_splits(folder: Path, development: str | Path | None = None, *, halve: bool = True,
                ) -> tuple[dict[str, Judged], str, dict[str, Path]]:
    """Returns the splits "dev" and "test", as :func:`read_collection` has them, where they come from, and their files.

    Args:
        folder: The collection.
        development: The folder of its development queries, where that is another one.
        halve: Whether queries of one kind only are divided into both splits; else they are all "test".

    Returns:
        Split to topics and qrels; their origin in words; split to the file of its judgements.
    """
    if (folder / "corpus.jsonl").is_file():
        names = [name for name in BEIR_SPLITS if name in beir_splits(folder)]
        if not names:
            raise FileNotFoundError(f"{folder / 'qrels'} holds none of {', '.join(f'{s}.tsv' for s in BEIR_SPLITS)}.")
        splits = {split: read_beir_split(folder, split) for split in names}
        files = {split: folder / "qrels" / f"{split}.tsv" for split in names}
    elif (folder / "docs.jsonl").is_file():
        splits, files = {TEST: read_plain_split(folder)}, {TEST: folder / "qrels.txt"}
    else:
        raise FileNotFoundError(f"{folder} holds neither docs.jsonl nor corpus.jsonl: it is no collection this reads.")

    if development is not None:
        origin = f"development queries from {Path(development).name}"
        test_name, test = list(splits.items())[-1]
        splits = {DEVELOPMENT: read_plain_split(Path(development)), TEST: test}
        files = {DEVELOPMENT: Path(development) / "qrels.txt", TEST: files[test_name]}
    elif len(splits) > 1:
        (development_name, dev), (test_name, test) = list(splits.items())[-2:]
        origin = f"the folder's splits {development_name} and {test_name}"
        splits = {DEVELOPMENT: dev, TEST: test}
        files = {DEVELOPMENT: files[development_name], TEST: files[test_name]}
    else:
        (name, whole), = splits.items()
        origin = "divided by a hash of the query" if halve else f"the folder's split {name}"
        splits = _halves(*whole, folder) if halve else {TEST: whole}
        files = dict.fromkeys(splits, files[name])
    return splits, origin, files


def read_documents(path: Path, *, docno: str) -> pd.DataFrame:
    """Reads JSON lines with title, text and, under the key ``docno``, the docno.

    Returns:
        docno, title and text (str), as :class:`Collection` has them.
    """
    rows: dict[str, tuple[str, str, str]] = {}
    for where, record in json_lines(path):
        name = identifier(record, docno, where)
        if name in rows:
            raise ValueError(f"{where}: the docno {name!r} occurs twice.")
        rows[name] = (name, string(record, "title", where, default=""), string(record, "text", where))
    if not rows:
        raise ValueError(f"{path} holds no documents.")
    documents = pd.DataFrame(list(rows.values()), columns=["docno", "title", "text"])
    titled = [(title, body) for _, title, body in rows.values() if title]
    if titles_apart(len(titled), sum(body.startswith(title) for title, body in titled)):
        documents["text"] = [with_title(title, body) for _, title, body in rows.values()]
    return documents


def _halves(topics: pd.DataFrame, qrels: pd.DataFrame, folder: Path) -> dict[str, Judged]:
    side = {qid: split_of(query) for qid, query in zip(topics["qid"], topics["query"], strict=True)}
    halves: dict[str, Judged] = {}
    for split in (DEVELOPMENT, TEST):
        mine = {qid for qid, where in side.items() if where == split}
        if not mine:
            raise ValueError(f"{folder} has too few queries ({len(topics)}) to divide into development and test.")
        topics_of, qrels_of = (frame[frame["qid"].isin(mine)].reset_index(drop=True) for frame in (topics, qrels))
        halves[split] = topics_of, qrels_of
    return halves


def check_judged(qrels: pd.DataFrame, judged_in: Path, documents: pd.DataFrame | TextSource, read_from: Path) -> None:
    """Refuses judgements of other documents, and warns where some of the judged ones are absent.

    Args:
        qrels: Their column docno.
        judged_in: Their file.
        documents: Their column docno, or what gives their texts.
        read_from: Their file.

    Raises:
        ValueError: If no judged document is there; both files are named.
    """
    judged = set(qrels["docno"])
    if isinstance(documents, pd.DataFrame):
        unknown, held = judged - set(documents["docno"]), set(documents["docno"])
        count, shown = len(held), sorted(held)[:3]
    else:
        unknown, count = set(documents.unknown(sorted(judged))), documents.count
        shown = [docno for docno, _ in islice(documents.pairs(), 3)]
    if unknown == judged:
        holds = f"{count} document{'s' * (count > 1)} ({', '.join(shown)}{', …' * (count > len(shown))})"
        raise ValueError(f"{judged_in} and {read_from} have no document in common: judged are "
                         f"{some(judged, 'document', 'documents')}, and {read_from.name} holds {holds}. Do they belong "
                         "together, and are their docnos written alike?")
    if unknown:
        message = f"{some(unknown, 'judged document', 'judged documents')} not in the collection: never retrieved."
        warnings.warn(f"{judged_in}: {message}", stacklevel=3)
