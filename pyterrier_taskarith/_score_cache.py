"""Scores kept on disk between processes."""

import glob
import hashlib
import logging
import os
import sqlite3
import struct
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pyterrier_taskarith.errors import CacheError

#: The one file in a cache's folder.
FILE = "scores.sqlite3"
#: The id of the program that a file belongs to ("TskA"), and of the format of its tables.
APPLICATION, FORMAT = 0x54736B41, 2
#: Seconds to wait while another process writes, and after which the wait is told.
PATIENCE, SILENCE = 60, 5
#: Seconds after which the time of last use is written again, so that reading seldom writes.
USED_EVERY = 60
#: Pairs of one query to SQLite, which takes 999 values at most before version 3.32.
AT_ONCE = 900

_TABLES = (
    # AUTOINCREMENT: a number that was cleared is never another setting's.
    "CREATE TABLE settings (number INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE, ranker TEXT NOT NULL, "
    "weights TEXT NOT NULL, scorer TEXT NOT NULL, used REAL NOT NULL)",
    "CREATE TABLE scores (setting INTEGER NOT NULL, pair BLOB NOT NULL, score BLOB NOT NULL, "
    "PRIMARY KEY (setting, pair)) WITHOUT ROWID",
)

#: What SQLite's errors mean for a cache, by their primary code.
_REASONS = {
    sqlite3.SQLITE_FULL: "the disk is full, or a limit on the file's size is reached; make room (taskarith cache "
                         "--clear) or name another folder. What was kept before is still there",
    sqlite3.SQLITE_READONLY: "the file or its folder cannot be written to; name a folder of your own",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened or made; may this user write to the folder?",
    sqlite3.SQLITE_PERM: "the file cannot be opened or made; may this user write to the folder?",
    sqlite3.SQLITE_NOTADB: "the file is not an SQLite database; name another, or remove the file if nobody needs it",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; remove it, and the scores are computed again",
    sqlite3.SQLITE_BUSY: f"another process has kept the file locked for {PATIENCE} s; is it stopped?",
    sqlite3.SQLITE_IOERR: "the disk failed to read or write; SQLite needs a local disk, not a network folder",
}

logger = logging.getLogger("pyterrier_taskarith")


@dataclass(frozen=True)
class CachedSetting:
    """What a score depends on beside query and text.

    Attributes:
        key: A hash of weights, α and the scorer's facts.
        ranker: Θ_T, as it was named.
        weights: Which weights, in words: "Θ_T", or "Θ_T + 0.7·(org/domain − org/base)".
        scorer: How they score, in words.
    """

    key: bytes
    ranker: str = ""
    weights: str = ""
    scorer: str = ""


@dataclass(frozen=True)
class CachedScores:
    """A setting in the cache.

    Attributes:
        number: Its number in this cache, which is never used again for another setting.
        ranker: See CachedSetting.
        weights: See CachedSetting.
        scorer: See CachedSetting.
        scores: How many scores it has.
        used: When it was last read or written (seconds since 1970), to a minute or so.
    """

    number: int
    ranker: str
    weights: str
    scorer: str
    scores: int
    used: float


class ScoreCache:
    """A folder of scores, keyed by weights, α, query and text; processes of one machine share it safely.

    pyterrier_caching's scorer cache is keyed by (query, docno), so that another α or an edited text would get the old
    score; these keys are hashes of everything a score depends on.

    Scores are written in one transaction a call: a process that is killed leaves all of a call's scores or none. The
    file is SQLite's with a write-ahead log, which does not work in a folder shared over a network. Each score has a
    checksum: one that was altered on the disk is dropped, told and computed again.
    """

    def __init__(self, folder: str | Path, name: str = FILE) -> None:
        """Opens the cache, or makes one.

        Args:
            folder: Where; holds one SQLite file.
            name: The file's name.

        Raises:
            CacheError: If it cannot be made or opened, or the file is not a cache.
        """
        self.path = Path(folder).expanduser() / name
        self._used: dict[bytes, float] = {}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:  # ValueError: a null character
            raise CacheError(f"{self.path.parent}: the folder cannot be made ({error}); name another "
                             "folder for the scores") from None
        with self._connect():
            pass

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        # A connection a call: connections cross neither threads nor forks. Writers queue from their first word on.
        connection = None
        told = threading.Timer(SILENCE, logger.warning, (
            "%s: waiting for the file; has another process locked it? (up to %s s)", self.path, PATIENCE))
        told.daemon = True
        told.start()
        try:
            connection = self._opened()
            if _marks(connection) != (APPLICATION, FORMAT):  # new, or removed while we were running
                self._make(connection)
            yield connection
        except sqlite3.Error as error:
            reason = _REASONS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "SQLite cannot use the file")
            raise CacheError(f"{self.path}: {reason} ({error})") from error
        finally:
            told.cancel()
            if connection is not None:
                connection.close()

    def _opened(self) -> sqlite3.Connection:
        """Opens the file; one in a folder that cannot be written to, without its log."""
        try:
            connection = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level="IMMEDIATE")
            connection.execute("PRAGMA synchronous=NORMAL")
            _marks(connection)
            return connection
        except sqlite3.OperationalError:
            if os.access(self.path.parent, os.W_OK) or not os.access(self.path, os.R_OK):
                raise
            return sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)

    def _make(self, connection: sqlite3.Connection) -> None:
        """Makes the tables where the file holds nothing.

        Raises:
            CacheError: If it holds other tables.
        """
        with connection:
            connection.execute("BEGIN IMMEDIATE")  # what is read below must be of one moment
            marks = _marks(connection)
            if marks == (APPLICATION, FORMAT):  # another process made it
                return
            tables = [name for name, in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            if marks[0] == APPLICATION or (marks == (0, 0) and tables == ["scores"]):
                raise CacheError(f"{self.path} has scores in format {marks[1]}, and this version reads format "
                                 f"{FORMAT}; name another folder, or remove the file, and the scores are computed "
                                 "again")
            if tables or marks != (0, 0):
                raise CacheError(f"{self.path} is a database of another program (tables {', '.join(tables[:3])}); name "
                                 "another folder")
            for table in _TABLES:
                connection.execute(table)
            connection.execute(f"PRAGMA application_id={APPLICATION}")
            connection.execute(f"PRAGMA user_version={FORMAT}")
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            # Another process is using the file already: the cache works without the log, more slowly.

    def get(self, setting: CachedSetting, pairs: Sequence[bytes]) -> dict[bytes, float]:
        """Returns the stored scores of pairs; those whose checksum fails are left out, and told.

        Args:
            setting: What they were scored with; only its key is used.
            pairs: Keys of query and text.
        """
        found: dict[bytes, float] = {}
        damaged = 0
        with self._connect() as connection:
            row = connection.execute("SELECT number FROM settings WHERE key = ?", (setting.key,)).fetchone()
            if row is None:
                return found
            ordered = sorted(pairs)  # as they lie in the file
            for start in range(0, len(ordered), AT_ONCE):
                part = ordered[start:start + AT_ONCE]
                marks = ",".join("?" * len(part))
                rows = connection.execute(
                    f"SELECT pair, score FROM scores WHERE setting = ? AND pair IN ({marks})", (row[0], *part))
                for pair, sealed in rows:
                    score = _opened(setting.key, pair, sealed)
                    if score is None:
                        damaged += 1
                    else:
                        found[pair] = score
            if damaged:
                warnings.warn(f"{self.path}: {damaged} kept scores were damaged on the disk; they are computed again",
                              stacklevel=2)
            if found and time.monotonic() - self._used.get(setting.key, -USED_EVERY) >= USED_EVERY:
                with suppress(sqlite3.OperationalError), connection:  # a cache that can only be read
                    connection.execute("UPDATE settings SET used = ? WHERE number = ?", (time.time(), row[0]))
                self._used[setting.key] = time.monotonic()
        return found

    def put(self, setting: CachedSetting, scores: Iterable[tuple[bytes, float]]) -> None:
        """Stores scores in one transaction; a new score replaces an old one.

        Args:
            setting: What they were scored with.
            scores: Pairs of the key of query and text, and the score.

        Raises:
            CacheError: If they cannot be written.
        """
        with self._connect() as connection, connection:
            connection.execute(
                "INSERT INTO settings (key, ranker, weights, scorer, used) VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) "
                "DO UPDATE SET ranker = excluded.ranker, weights = excluded.weights, scorer = excluded.scorer, "
                "used = excluded.used",
                (setting.key, setting.ranker, setting.weights, setting.scorer, time.time()))
            number, = connection.execute("SELECT number FROM settings WHERE key = ?", (setting.key,)).fetchone()
            connection.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?)",
                                   ((number, pair, _sealed(setting.key, pair, score))
                                    for pair, score in sorted(scores)))
        self._used[setting.key] = time.monotonic()

    def entries(self) -> list[CachedScores]:
        """Returns every setting, by ranker and weights."""
        with self._connect() as connection:
            return [CachedScores(*row) for row in connection.execute(
                "SELECT number, ranker, weights, scorer, COUNT(scores.setting), used FROM settings LEFT JOIN scores "
                "ON scores.setting = settings.number GROUP BY number ORDER BY ranker, weights, number")]

    def clear(self, numbers: Sequence[int] | None = None) -> int:
        """Deletes scores and gives their space back to the disk, unless another process is using the file.

        Args:
            numbers: Settings' numbers; None: all.

        Returns:
            The number of deleted scores.

        Raises:
            CacheError: If there is no setting with such a number; nothing is deleted then.
        """
        with self._connect() as connection:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                known = [number for number, in connection.execute("SELECT number FROM settings ORDER BY number")]
                asked = known if numbers is None else list(dict.fromkeys(numbers))
                unknown = [number for number in asked if number not in known]
                if unknown:
                    raise CacheError(f"{self.path} has no setting {', '.join(map(str, unknown))}; it has "
                                     f"{', '.join(map(str, known)) or 'none'}")
                gone = sum(connection.execute("DELETE FROM scores WHERE setting = ?", (number,)).rowcount
                           for number in asked)
                connection.executemany("DELETE FROM settings WHERE number = ?", [(number,) for number in asked])
            try:
                connection.execute("PRAGMA busy_timeout=1000")
                connection.execute("VACUUM")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.OperationalError as error:
                # The pages are free for new scores all the same.
                if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL):
                    raise
        return gone

    @property
    def size(self) -> int:
        """Bytes that the cache takes on disk."""
        return sum(path.stat().st_size for path in self.path.parent.glob(f"{glob.escape(self.path.name)}*"))

    def __len__(self) -> int:
        with self._connect() as connection:
            return int(connection.execute("SELECT COUNT(*) FROM scores").fetchone()[0])


def _sealed(key: bytes, pair: bytes, score: float) -> bytes:
    """Returns a score with a checksum of it, its pair and its setting."""
    packed = struct.pack("<d", score)
    return packed + hashlib.blake2b(key + pair + packed, digest_size=8).digest()


def _opened(key: bytes, pair: object, sealed: object) -> float | None:
    """Returns the score, or None where score, pair or setting were altered."""
    if not isinstance(pair, bytes) or not isinstance(sealed, bytes) or len(sealed) != 16:
        return None
    score: float = struct.unpack("<d", sealed[:8])[0]
    return score if _sealed(key, pair, score) == sealed else None


def _marks(connection: sqlite3.Connection) -> tuple[int, int]:
    """Returns the ids of the program and the format that a file is marked with."""
    application, = connection.execute("PRAGMA application_id").fetchone()
    version, = connection.execute("PRAGMA user_version").fetchone()
    return application, version
