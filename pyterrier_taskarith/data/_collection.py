"""A test collection: documents, and queries with their judgements by split, from a folder, a zip or ir_datasets."""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pandas as pd

from pyterrier_taskarith._files import home
from pyterrier_taskarith.data._archive import unpacked
from pyterrier_taskarith.data._formats import read_qrels
from pyterrier_taskarith.data._irds import PREFIX, IrdsTexts, read_irds
from pyterrier_taskarith.data._stored_texts import StoredTexts
from pyterrier_taskarith.data._texts import TextSource
from pyterrier_taskarith.data._topics import read_topics
from pyterrier_taskarith.errors import DataError

DEVELOPMENT, TEST = "dev", "test"
BEIR_SPLITS = ("train", "dev", "test")  # the last that exists is for testing, the one before it for development


@dataclass(frozen=True, eq=False, repr=False)
class Collection:
    """A test collection.

    Attributes:
        name: The collection's name.
        documents: Texts by docno, title included, read when they are asked for: for `first_stage`, and for the end of
            a pipeline or a re-ranker's ``text_loader``. ``documents.head()`` is a frame of docno and text.
        topics: Split ("test", "dev", or the one that was asked for) to a frame with the str columns ``qid`` and
            ``query``.
        qrels: Split to a frame with columns ``qid`` and ``docno`` (str) and ``label`` (int).
        report: How the collection was read or made, in words and counts.
    """

    name: str
    documents: TextSource
    topics: dict[str, pd.DataFrame]
    qrels: dict[str, pd.DataFrame]
    report: str = ""

    def __repr__(self) -> str:
        queries = ", ".join(f"{len(topics)} {split}" for split, topics in self.topics.items())
        return f"Collection({self.name!r}, {_size(self.documents)}queries: {queries})"


@dataclass(frozen=True)
class _Split:
    """The judged queries of a split, and the file of their judgements."""

    topics: pd.DataFrame
    qrels: pd.DataFrame
    file: Path


def split_of(query: str) -> str:
    """Returns the split a query belongs to where a collection has only one: "dev" or "test", by a hash of its words.

    It depends on nothing but the query, so a query stays on its side when documents or other queries change.
    """
    digest = hashlib.sha256(" ".join(query.split()).encode()).digest()
    return DEVELOPMENT if digest[0] % 2 else TEST


def read_collection(source: str | Path, *, development: str | Path | None = None,
                    fields: Sequence[str] = ()) -> Collection:
    """Returns a collection with the splits "dev" and "test": `open_dataset` with ``halve=True``."""
    return open_dataset(source, development=development, halve=True, fields=fields)


def open_dataset(source: str | Path, split: str | None = None, *, development: str | Path | None = None,
                 documents: str | Path | None = None, halve: bool = False,
                 place: str | Path | None = None, fields: Sequence[str] = ()) -> Collection:
    """Returns a test collection of a folder, a zip of one, or ir_datasets.

    Two layouts of folders are known. A plain folder holds ``docs.jsonl`` (docno, title, text), ``queries.tsv`` (qid TAB
    query) and ``qrels.txt`` (TREC: qid, 0, docno, label). A BEIR folder holds ``corpus.jsonl`` (_id, title, text),
    ``queries.jsonl`` (_id, text) and ``qrels/<split>.tsv`` (query-id TAB corpus-id TAB score, with that header).

    A document's text is title + " " + body, as in the paper. Folders whose bodies already begin with the title, in more
    than half of the documents that have one, are taken to hold it in the body on purpose, and the body is the text.

    Queries without judgements are left out, and judgements of unknown queries ignored; judgements of unknown documents
    stay and count as never retrieved, as trec_eval has it. Each is a warning that counts them. A query or
    judgement given twice counts once.

    Args:
        source: A folder or zip; or ``irds:`` and an id of ir_datasets.
        split: The one split to read: of a BEIR folder; or of ir_datasets, what is put after the id, such as "dev" for
            ``irds:beir/nfcorpus/dev``. None: of a BEIR folder, the last of train, dev and test as "test", and the one
            before it as "dev"; of others, their queries as "test".
        development: Of the queries of the split "dev", where they are elsewhere: a folder with ``queries.tsv`` and
            ``qrels.txt``, or an ``irds:`` id.
        documents: Where the documents are, if elsewhere: a folder or zip, a file of JSON lines, or an ``irds:`` id.
        halve: Whether queries of one split only are divided into "dev" and "test" by `split_of`.
        place: Folder for unpacked zips and for indexes of documents; None: the package's cache folder.
        fields: Of a query, the fields whose texts make it, in this order (of ir_datasets, or keys of
            ``queries.jsonl``); none: its text.

    Raises:
        FileNotFoundError: If there is no such folder, file or split.
        DataError: If a line does not have the form above, a docno occurs twice, or a qid with different queries, or a
            pair is judged twice with different labels, or a query is empty; the message names the file, the line and
            the value. Or if no
            judged document is there, a zip is damaged, or there is no such id.
        ConnectionError: If files of ir_datasets cannot be downloaded.
    """
    base = home() if place is None else Path(place)
    if str(source).startswith(PREFIX):
        identity = str(source) if split is None else f"{source}/{split}"
        name, folder = identity.removeprefix(PREFIX), None
        splits, origin = {split or TEST: _irds_split(identity, fields)}, "of ir_datasets"
    else:
        name = Path(source).stem if Path(source).is_file() else Path(source).resolve().name
        folder = _folder(source, base)
        splits, origin = _local_splits(folder, split, fields)
    if development is not None:
        apart = (_irds_split(str(development), fields) if str(development).startswith(PREFIX) else
                 _plain_split(Path(development), fields))
        splits = {DEVELOPMENT: apart, **{key: part for key, part in splits.items() if key != DEVELOPMENT}}
        origin = f"development queries from {Path(development).name}"
    elif halve and len(splits) == 1:
        splits, origin = _halves(next(iter(splits.values())), name), "divided by a hash of the query"
    texts = _texts(documents if documents is not None else folder or identity, base)
    if folder is not None and not isinstance(texts, IrdsTexts):
        for file in dict.fromkeys(part.file for part in splits.values()):
            check_judged(pd.concat([part.qrels for part in splits.values() if part.file == file]), file, texts)
    queries = " and ".join(f"{len(part.topics)} {'development' if key == DEVELOPMENT else key}"
                           for key, part in splits.items())
    return Collection(name, texts, {key: part.topics for key, part in splits.items()},
                      {key: part.qrels for key, part in splits.items()},
                      f"{name}: {_size(texts)}{queries} queries ({origin}).")


def _size(documents: TextSource) -> str:
    """Returns the number of documents in words; nothing where ir_datasets might have to download them for that."""
    return "" if isinstance(documents, IrdsTexts) else f"{documents.count} documents, "


def _folder(source: str | Path, base: Path) -> Path:
    """Returns a collection's folder: its own, or that of an unpacked zip."""
    path = Path(source)
    if path.is_dir():
        return path
    if path.is_file():
        return unpacked(path, base / "collections")
    raise FileNotFoundError(f"The collection {path} is not a folder, and not a zip file.")


def _texts(source: str | Path, base: Path) -> TextSource:
    if str(source).startswith(PREFIX):
        return IrdsTexts(str(source))
    path = Path(source)
    return StoredTexts(_folder(path, base) if path.is_dir() or path.suffix == ".zip" else path, base / "texts")


def _local_splits(folder: Path, split: str | None, fields: Sequence[str]) -> tuple[dict[str, _Split], str]:
    """Returns a folder's splits, and their origin for the report."""
    if (folder / "queries.tsv").is_file():
        if split is not None:
            raise DataError(f"{folder} has one set of queries, queries.tsv, and no split {split!r}; leave it out.")
        return {TEST: _plain_split(folder, fields)}, "of the folder's queries.tsv"
    if not (folder / "queries.jsonl").is_file():
        raise FileNotFoundError(f"{folder} holds neither queries.tsv nor queries.jsonl: it is not a collection.")
    known = sorted(path.stem for path in (folder / "qrels").glob("*.tsv"))
    if split is not None:
        if split not in known:
            raise FileNotFoundError(f"The collection lacks the file {folder / 'qrels' / f'{split}.tsv'}; its splits "
                                    f"are {', '.join(known) or 'none'}.")
        return {split: _beir_split(folder, split, fields)}, f"of the folder's split {split}"
    names = [name for name in BEIR_SPLITS if name in known][-2:]
    if not names:
        raise FileNotFoundError(f"{folder / 'qrels'} holds none of {', '.join(f'{s}.tsv' for s in BEIR_SPLITS)}.")
    keys = (DEVELOPMENT, TEST)[-len(names):]
    return ({key: _beir_split(folder, name, fields) for key, name in zip(keys, names, strict=True)},
            f"the folder's split{'s' * (len(names) > 1)} {' and '.join(names)}")


def _irds_split(identity: str, fields: Sequence[str]) -> _Split:
    return _judged(*read_irds(identity, fields), Path(identity))


def _plain_split(folder: Path, fields: Sequence[str]) -> _Split:
    return _judged(read_topics(folder / "queries.tsv", fields), read_qrels(folder / "qrels.txt"), folder / "qrels.txt")


def _beir_split(folder: Path, split: str, fields: Sequence[str]) -> _Split:
    path = folder / "qrels" / f"{split}.tsv"
    topics, qrels = read_topics(folder / "queries.jsonl", fields), read_qrels(path, beir=True)
    # queries.jsonl holds the queries of every split: those of the others are not a fault of this one.
    return _judged(topics[topics["qid"].isin(qrels["qid"])], qrels, path)


def _judged(topics: pd.DataFrame, qrels: pd.DataFrame, file: Path) -> _Split:
    """Returns the queries that are judged, with their judgements."""
    known, judged = qrels["qid"].isin(topics["qid"]), topics["qid"].isin(qrels["qid"])
    if not known.all():
        _warn(f"{file}: judgements of {_some(qrels['qid'][~known], 'unknown query', 'unknown queries')} are ignored.")
    if not judged.all():
        _warn(f"{file}: {_some(topics['qid'][~judged], 'query', 'queries')} without a judgement left out.")
    if not judged.any():
        raise DataError(f"{file}: none of the {len(topics)} queries has a judgement.")
    return _Split(topics[judged].reset_index(drop=True), qrels[known].reset_index(drop=True), file)


def _halves(whole: _Split, name: str) -> dict[str, _Split]:
    side = whole.topics.set_index("qid")["query"].map(split_of)
    if side.nunique() < 2:
        raise DataError(f"{name} has too few queries ({len(side)}) to divide into development and test.")

    def part(frame: pd.DataFrame, split: str) -> pd.DataFrame:
        return frame[frame["qid"].map(side) == split].reset_index(drop=True)

    return {split: _Split(part(whole.topics, split), part(whole.qrels, split), whole.file)
            for split in (DEVELOPMENT, TEST)}


def check_judged(qrels: pd.DataFrame, file: Path, documents: TextSource) -> None:
    """Raises a DataError if none of the judged documents exists, and warns if some do not; ``file`` is of the qrels."""
    judged = sorted(set(qrels["docno"]))
    unknown = documents.unknown(judged)
    if len(unknown) == len(judged):
        shown = [docno for docno, _ in islice(documents.pairs(), 3)]
        holds = f"{documents.count} document{'s' * (documents.count > 1)} ({', '.join(shown)}"
        raise DataError(f"{file} and {documents.source} have no document in common: judged are "
                        f"{_some(judged, 'document', 'documents')}, and {Path(documents.source).name} holds {holds}"
                        f"{', …' * (documents.count > len(shown))}). Do they belong together, and are their docnos "
                        "written alike?")
    if unknown:
        _warn(f"{file}: {_some(unknown, 'judged document', 'judged documents')} not in the collection: never "
              "retrieved.")


def _some(names: "pd.Series[str] | list[str]", one: str, many: str) -> str:
    """Returns how many names there are and which, at most three."""
    distinct = sorted(set(names))
    shown = ", ".join(distinct[:3]) + (", …" if len(distinct) > 3 else "")
    return f"{len(distinct)} {one if len(distinct) == 1 else many} ({shown})"


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=4)
