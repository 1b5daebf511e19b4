"""Scores kept on disk between processes."""

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path


class ScoreCache:
    """A folder of scores, keyed by weights, query and text; safe to share between processes.

    pyterrier_caching's scorer cache is keyed by (query, docno), so that another α or an edited text would get the old
    score; these keys are hashes of everything a score depends on.
    """

    def __init__(self, folder: str | Path) -> None:
        """Opens or makes the cache.

        Args:
            folder: Where; holds one SQLite file.
        """
        self.path = Path(folder).expanduser() / "scores.sqlite3"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._connect() as connection, connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("CREATE TABLE IF NOT EXISTS scores (key BLOB PRIMARY KEY, score REAL) WITHOUT ROWID")

    def _connect(self) -> closing[sqlite3.Connection]:
        # A connection a call: connections cross neither threads nor forks.
        return closing(sqlite3.connect(self.path, timeout=60))

    def get(self, keys: Sequence[bytes]) -> dict[bytes, float]:
        """Returns the scores that are known."""
        found: dict[bytes, float] = {}
        with self._connect() as connection:
            for start in range(0, len(keys), 500):
                part = keys[start:start + 500]
                marks = ",".join("?" * len(part))
                found.update(connection.execute(f"SELECT key, score FROM scores WHERE key IN ({marks})", part))
        return found

    def put(self, scores: Iterable[tuple[bytes, float]]) -> None:
        """Keeps scores."""
        with self._connect() as connection, connection:
            connection.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?)", scores)

    def __len__(self) -> int:
        with self._connect() as connection:
            return int(connection.execute("SELECT COUNT(*) FROM scores").fetchone()[0])
