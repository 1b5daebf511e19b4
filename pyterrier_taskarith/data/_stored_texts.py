"""Texts of a documents file too large for memory, found by an index of the offset of each document's line."""

import hashlib
import sqlite3
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path

from pyterrier_taskarith._files import home, new_file, remove_left
from pyterrier_taskarith.data._formats import identifier, json_object, lines, string
from pyterrier_taskarith.data._texts import TextSource, add_document, with_title
from pyterrier_taskarith.errors import DataError

#: Raise it when the tables or the stamp change.
FORMAT = 3
#: Docnos of one question to SQLite, which takes 999 values at most before version 3.32.
AT_ONCE = 900
#: Documents whose positions are written together.
_ROWS = 50_000
#: What reading a damaged index raises.
_DAMAGED = (sqlite3.DatabaseError, UnicodeDecodeError)
_TABLES = ("CREATE TABLE documents (docno TEXT PRIMARY KEY, start INTEGER NOT NULL) WITHOUT ROWID",
           "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)")


def documents_file(collection: str | Path) -> tuple[Path, str]:
    """Returns the file of documents of a folder, or the file itself, and the key of its docnos."""
    path = Path(collection)
    for name, key in (("corpus.jsonl", "_id"), ("docs.jsonl", "docno")):
        if (path / name).is_file():
            return path / name, key
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file, and not a folder with docs.jsonl or corpus.jsonl.")
    if path.suffix == ".gz":
        raise DataError(f"{path} is compressed, and documents are read by their offsets: unpack it first.")
    first = next(lines(path), None)
    return path, "_id" if first and "_id" in json_object(first.text, first.where) else "docno"


class StoredTexts(TextSource):
    """Texts by docno, read from JSON lines when they are asked for.

    A document's text is its title, a space and its body, as in :func:`open_dataset`. The offset of each line is looked
    up in an SQLite file, which is made once, and again when the size or time of the documents' file changes. It takes
    some 50 bytes a document on disk; memory stays at a few megabytes for any number of documents. An index that was
    altered on the disk is noticed by its checksums, told and made again.

    Example:
        >>> texts = StoredTexts("miracl-es")                                         # doctest: +SKIP
        >>> first >> TaskArithReranker(..., text_loader=texts)                       # doctest: +SKIP
    """

    def __init__(self, collection: str | Path, place: str | Path | None = None) -> None:
        """Opens the documents; their index is made if it is missing.

        Args:
            collection: A folder with ``docs.jsonl`` or ``corpus.jsonl``, or such a file.
            place: The folder of the index; None: ``texts`` in the package's cache folder.

        Raises:
            FileNotFoundError: If there are no documents.
            DataError: If a line is something else, or a docno occurs twice; file and line are named.
        """
        super().__init__()
        self.collection, self.place = str(collection), None if place is None else str(place)
        self._path, self._key = documents_file(collection)
        name = hashlib.sha256(str(self._path.resolve()).encode()).hexdigest()[:16]
        self._index = (Path(place) if place is not None else home() / "texts") / f"{name}.sqlite3"
        self.source = str(self._path)
        self._changed = f"{self._path} has changed since it was opened; make a new StoredTexts."
        self._stamp = _stamp(self._path)
        self._intact = False  # not known yet
        remove_left(self._index)
        facts = self._facts()
        if facts is None or facts["stamp"] != self._stamp:
            facts = self._build()
        self._count, self._docno_bytes = int(facts["count"]), int(facts["docno_bytes"])
        self._apart, self.fingerprint = facts["titles"] == "apart", facts["fingerprint"]

    @property
    def count(self) -> int:
        """How many documents there are."""
        return self._count

    @property
    def docno_bytes(self) -> int:
        """Bytes of the longest docno in UTF-8."""
        return self._docno_bytes

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yields docno and text of every document, in the file's order."""
        self._check()
        for line in lines(self._path):
            docno, title, body = self._read(line.text, line.where)
            yield docno, with_title(title, body) if self._apart else body

    def get(self, docnos: Iterable[str]) -> dict[str, str]:
        """Returns docno -> text of the documents that exist, among distinct docnos; read in the file's order."""
        self._check()
        wanted = list(docnos)
        try:
            found = self._get(wanted)
            if len(found) == len(wanted) or self._is_intact():
                return found
        except (*_DAMAGED, DataError):
            if self._is_intact():
                raise
        self._mend()
        return self._get(wanted)

    def _get(self, docnos: list[str]) -> dict[str, str]:
        starts = sorted((start, docno) for docno, start in self._starts(docnos))
        found = {}
        with self._path.open("rb") as file:
            for start, docno in starts:
                file.seek(start)
                line = file.readline().decode("utf-8-sig" if start == 0 else "utf-8")
                name, title, body = self._read(line, f"{self._path}, byte {start}")
                if name != docno:
                    raise DataError(self._changed)
                found[docno] = with_title(title, body) if self._apart else body
        return found

    def unknown(self, docnos: Iterable[str]) -> list[str]:
        """Returns the docnos that none of the documents has, each once; no text is read."""
        self._check()
        distinct = dict.fromkeys(docnos)
        known = self._known(list(distinct))
        return [docno for docno in distinct if docno not in known]

    def _known(self, docnos: list[str]) -> set[str]:
        with suppress(*_DAMAGED):
            known = {docno for docno, _ in self._starts(docnos)}
            if len(known) == len(docnos) or self._is_intact():
                return known
        self._mend()
        return {docno for docno, _ in self._starts(docnos)}

    def _is_intact(self) -> bool:
        """Returns whether the index holds the rows that were written to it; all are read, once."""
        if not self._intact:
            with suppress(*_DAMAGED), closing(_connect(self._index)) as connection:
                facts = self._facts()
                rows = connection.execute("SELECT docno, start FROM documents")
                self._intact = facts is not None and f"{_sum(rows):x}" == facts["sum"]
        return self._intact

    def _mend(self) -> None:
        warnings.warn(f"{self._index}: the index of {self._path} was damaged on the disk; it is made again",
                      stacklevel=3)
        self._build()
        self._intact = True

    def _starts(self, docnos: list[str]) -> Iterator[tuple[str, int]]:
        with closing(_connect(self._index)) as connection:
            for start in range(0, len(docnos), AT_ONCE):
                part = docnos[start:start + AT_ONCE]
                marks = ",".join("?" * len(part))
                yield from connection.execute(f"SELECT docno, start FROM documents WHERE docno IN ({marks})", part)

    def _check(self) -> None:
        if _stamp(self._path) != self._stamp:
            raise DataError(self._changed)

    def _read(self, line: str, where: str) -> tuple[str, str, str]:
        record = json_object(line, where)
        return (identifier(record, self._key, where), string(record, "title", where, default=""),
                string(record, "text", where))

    def _facts(self) -> dict[str, str] | None:
        """Returns the facts stored in the index; None if there is no index of this format, or they were altered."""
        if not self._index.is_file():
            return None
        try:
            with closing(_connect(self._index)) as connection:
                facts = dict(connection.execute("SELECT name, value FROM facts"))
        except _DAMAGED:
            return None
        whole = facts.pop("check", "") == _check(facts)
        return facts if whole and facts.get("format") == str(FORMAT) else None

    def _build(self) -> dict[str, str]:
        try:
            return self._write()
        except sqlite3.Error as error:
            raise DataError(f"{self._index}: the index of {self._path} cannot be written ({error}); is the disk full?"
                            ) from error

    def _write(self) -> dict[str, str]:
        with new_file(self._index) as new, closing(sqlite3.connect(new)) as connection:
            # The index is a temporary file until it is complete, so it needs no journal.
            connection.execute("PRAGMA journal_mode=OFF")
            connection.execute("PRAGMA synchronous=OFF")
            for table in _TABLES:
                connection.execute(table)
            facts = self._fill(connection)
            connection.executemany("INSERT INTO facts VALUES (?, ?)", [*facts.items(), ("check", _check(facts))])
            connection.commit()
        return facts

    def _fill(self, connection: sqlite3.Connection) -> dict[str, str]:
        # Only at the end is it known whether the texts get the titles: both are hashed.
        bare, whole = hashlib.sha256(), hashlib.sha256()
        count = longest = titled = repeated = checksum = 0
        rows: list[tuple[str, int]] = []
        for line in lines(self._path):
            docno, title, body = self._read(line.text, line.where)
            count, longest = count + 1, max(longest, len(docno.encode()))
            titled, repeated = titled + bool(title), repeated + bool(title and body.startswith(title))
            add_document(bare, docno, body)
            add_document(whole, docno, with_title(title, body))
            rows.append((docno, line.start))
            if len(rows) == _ROWS:
                checksum += _sum(rows)
                self._insert(connection, rows)
        checksum += _sum(rows)
        self._insert(connection, rows)
        if not count:
            raise DataError(f"{self._path} holds no documents.")
        apart = 2 * repeated <= titled  # else the bodies hold the titles on purpose
        return {"format": str(FORMAT), "stamp": self._stamp, "count": str(count), "docno_bytes": str(longest),
                "titles": "apart" if apart else "in the bodies", "sum": f"{checksum:x}",
                "fingerprint": (whole if apart else bare).hexdigest()}

    def _insert(self, connection: sqlite3.Connection, rows: list[tuple[str, int]]) -> None:
        rows.sort()  # SQLite is faster so
        try:
            connection.executemany("INSERT INTO documents VALUES (?, ?)", rows)
        except sqlite3.IntegrityError:
            raise DataError(self._twice(connection, rows)) from None
        rows.clear()

    def _twice(self, connection: sqlite3.Connection, rows: list[tuple[str, int]]) -> str:
        """Returns the message for rows of which one has the docno of another line."""
        starts: dict[str, int] = {}
        for docno, start in rows:
            known = connection.execute("SELECT start FROM documents WHERE docno = ?", (docno,)).fetchone()
            first = starts.setdefault(docno, start if known is None else known[0])
            if first != start:
                second = next(line for line in lines(self._path) if line.start == max(first, start))
                return f"{second.where}: the docno {docno!r} occurs twice."
        raise AssertionError("SQLite refused docnos that occur once")


def _connect(path: Path) -> sqlite3.Connection:
    """Opens an index read-only."""
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)


def _sum(rows: Iterable[tuple[object, object]]) -> int:
    """Returns the sum of a hash of each row, which does not depend on their order."""
    return sum(int.from_bytes(hashlib.blake2b(f"{docno}\t{start}".encode(), digest_size=8).digest())
               for docno, start in rows)


def _check(facts: Mapping[str, str]) -> str:
    return hashlib.sha256(repr(sorted(map(repr, facts.items()))).encode()).hexdigest()


def _stamp(path: Path) -> str:
    """Returns size, time and inode: they change when the file does."""
    stat = path.stat()
    return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ino}"
