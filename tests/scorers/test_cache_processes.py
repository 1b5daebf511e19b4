"""Processes share a cache, one that is killed leaves it usable, and what goes wrong on disk says what to do."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from pyterrier_taskarith import _score_cache as module
from pyterrier_taskarith._score_cache import CachedSetting, CacheError, ScoreCache

SETTING = CachedSetting(b"T" * 16, "org/ranker", "Θ_T", "BiEncoder, float32")

#: Loads the cache's module alone: a process then starts in a tenth of a second.
LOAD = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("cache", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules["cache"] = module
spec.loader.exec_module(module)
setting = module.CachedSetting(b"T" * 16, "org/ranker", "Θ_T", "BiEncoder, float32")
"""

#: Opens the cache when all are ready, writes pairs of its own and one that all write, and reads its own back.
SHARING = LOAD + """
import pathlib, time
ready = pathlib.Path(sys.argv[2]).parent / "ready"
(ready / sys.argv[3]).touch()
while len(list(ready.iterdir())) < 4:
    time.sleep(0.001)
cache = module.ScoreCache(sys.argv[2])
for turn in range(15):
    mine = {f"{sys.argv[3]}-{turn}-{i}".encode(): i / 7 for i in range(25)}
    cache.put(setting, {**mine, b"shared": 0.5}.items())
    assert cache.get(setting, [*mine, b"shared"]) == {**mine, b"shared": 0.5}
"""

#: Writes a thousand scores a turn until it is killed, and says when the first are there.
ENDLESS = LOAD + """
cache, turn = module.ScoreCache(sys.argv[2]), 0
while True:
    cache.put(setting, [(f"{turn}-{i}".encode(), float(turn)) for i in range(1000)])
    if turn == 0:
        print("there", flush=True)
    turn += 1
"""


def started(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script, module.__file__, *map(str, arguments)], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_four_processes_make_write_and_read_one_cache_at_once(tmp_path):
    (tmp_path / "ready").mkdir()
    running = [started(SHARING, tmp_path / "scores", name) for name in "abcd"]
    for process in running:
        _, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
    cache = ScoreCache(tmp_path / "scores")
    (entry,) = cache.entries()
    assert len(cache) == entry.scores == 4 * 15 * 25 + 1
    assert cache.get(SETTING, [b"c-14-3", b"shared"]) == {b"c-14-3": 3 / 7, b"shared": 0.5}


def test_a_writer_that_is_killed_leaves_whole_calls_and_a_usable_cache(tmp_path):
    for after in (0, 0.005, 0.02, 0.05):
        process = started(ENDLESS, tmp_path / f"{after}")
        assert process.stdout.readline() == "there\n"
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        cache = ScoreCache(tmp_path / f"{after}")
        count = len(cache)
        assert count >= 1000 and count % 1000 == 0
        assert cache.get(SETTING, [f"{count // 1000 - 1}-999".encode()]) == {
            f"{count // 1000 - 1}-999".encode(): float(count // 1000 - 1)}
        cache.put(SETTING, [(b"new", 1.0)])
        assert len(cache) == count + 1


def test_readers_do_not_wait_for_a_writer_and_writers_give_up_with_a_reason(tmp_path, monkeypatch):
    cache = ScoreCache(tmp_path)
    cache.put(SETTING, [(b"a", 1.0)])
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    other = sqlite3.connect(cache.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        assert cache.get(SETTING, [b"a"]) == {b"a": 1.0}
        with pytest.raises(CacheError, match=r"scores\.sqlite3: another process .* locked"):
            cache.put(SETTING, [(b"b", 1.0)])
    finally:
        other.close()
    cache.put(SETTING, [(b"b", 1.0)])


# what goes wrong on disk ---------------------------------------------------------------------------------------------

def test_a_full_disk_is_an_error_that_keeps_what_was_there(tmp_path, monkeypatch):
    cache = ScoreCache(tmp_path)
    cache.put(SETTING, [(b"a", 1.0)])
    connect = sqlite3.connect

    def full(*arguments, **options):
        connection = connect(*arguments, **options)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages + 2}")  # SQLite's own answer to a disk with no room
        return connection

    monkeypatch.setattr(module.sqlite3, "connect", full)
    with pytest.raises(CacheError, match=r"scores\.sqlite3: the disk is full.*--clear"):
        cache.put(SETTING, [(b"%d" % i, 1.0) for i in range(10_000)])
    assert cache.get(SETTING, [b"a"]) == {b"a": 1.0} and len(cache) == 1


def test_a_folder_that_cannot_be_written_to_is_an_error(tmp_path, monkeypatch):
    ScoreCache(tmp_path).put(SETTING, [(b"a", 1.0)])
    connect = sqlite3.connect

    def read_only(path, **options):
        return connect(f"file:{path}?mode=ro", uri=True, **options)

    monkeypatch.setattr(module.sqlite3, "connect", read_only)  # as for a user without rights; root has them all
    with pytest.raises(CacheError, match=r"scores\.sqlite3: .*cannot be written to; name a folder of your own"):
        ScoreCache(tmp_path).put(SETTING, [(b"b", 1.0)])
    with pytest.raises(CacheError, match=r"scores\.sqlite3: the file cannot be opened or made"):
        ScoreCache(tmp_path / "new")


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in ("file", "file/below"):
        with pytest.raises(CacheError, match=r"file.*: the folder cannot be made"):
            ScoreCache(tmp_path / folder)


@pytest.mark.parametrize("content, message", [
    (b"no database, but a text that somebody wrote here\n" * 30, "the file is not an SQLite database"),
    (b"SQLite format 3\x00" + b"\xff" * 5000, "scores.sqlite3: .*(damaged|not an SQLite database)"),
])
def test_a_file_that_is_something_else_is_an_error_and_stays(tmp_path, content, message):
    path = tmp_path / module.FILE
    path.write_bytes(content)
    with pytest.raises(CacheError, match=message):
        ScoreCache(tmp_path)
    assert path.read_bytes() == content


def test_an_empty_file_becomes_a_cache(tmp_path):
    (tmp_path / module.FILE).touch()
    cache = ScoreCache(tmp_path)
    cache.put(SETTING, [(b"a", 1.0)])
    assert cache.get(SETTING, [b"a"]) == {b"a": 1.0}


@pytest.mark.parametrize("statements, message", [
    (["CREATE TABLE scores (key BLOB PRIMARY KEY, score REAL) WITHOUT ROWID"], "in format 0, and this version reads"),
    (["CREATE TABLE other (x)", f"PRAGMA application_id={module.APPLICATION}", "PRAGMA user_version=1"],
     "in format 1, and this version reads format 2"),
    (["CREATE TABLE bookmarks (url)"], "a database of another program .tables bookmarks."),
])
def test_another_format_and_another_database_are_errors_and_stay(tmp_path, statements, message):
    with sqlite3.connect(tmp_path / module.FILE) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    before = (tmp_path / module.FILE).read_bytes()
    with pytest.raises(CacheError, match=message):
        ScoreCache(tmp_path)
    assert (tmp_path / module.FILE).read_bytes() == before


def test_altered_scores_are_left_out_and_told(tmp_path):
    """An altered score, one moved to another pair, one moved to another setting, and one of another type."""
    cache = ScoreCache(tmp_path)
    other = CachedSetting(b"M" * 16)
    cache.put(SETTING, [(bytes([i]), float(i)) for i in range(6)])
    cache.put(other, [(b"a", 1.0)])
    with sqlite3.connect(cache.path) as connection:
        (score,), = connection.execute("SELECT score FROM scores WHERE pair = x'01'")
        changed = bytes([score[0] ^ 1]) + score[1:]
        connection.execute("UPDATE scores SET score = ? WHERE pair = x'01'", (changed,))
        connection.execute("UPDATE scores SET score = ? WHERE pair = x'02'", (score,))
        connection.execute("UPDATE scores SET score = 3.0 WHERE pair = x'03'")
        connection.execute("UPDATE scores SET setting = 1 WHERE pair = ?", (b"a",))
    connection.close()
    with pytest.warns(UserWarning, match=r"scores\.sqlite3: 4 kept scores were damaged on the disk"):
        assert cache.get(SETTING, [*map(bytes, ([i] for i in range(6))), b"a"]) == {
            bytes([i]): float(i) for i in (0, 4, 5)}
    cache.put(SETTING, [(bytes([1]), 1.0)])
    assert cache.get(SETTING, [bytes([1])]) == {bytes([1]): 1.0}


def test_a_wait_is_told(tmp_path, monkeypatch, caplog):
    cache = ScoreCache(tmp_path)
    monkeypatch.setattr(module, "SILENCE", 0.05)
    other = sqlite3.connect(cache.path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    threading.Timer(0.5, other.rollback).start()
    cache.put(SETTING, [(b"a", 1.0)])
    other.close()
    assert "scores.sqlite3: waiting for the file; has another process locked it?" in caplog.text


def test_a_cache_in_a_folder_that_cannot_be_written_to_is_read(tmp_path, monkeypatch):
    ScoreCache(tmp_path).put(SETTING, [(b"a", 1.0)])
    connect = sqlite3.connect

    def without_rights(path, **options):  # as for a user without rights; root has them all
        if not options.get("uri"):
            raise sqlite3.OperationalError("unable to open database file")
        return connect(path, **options)

    monkeypatch.setattr(module.sqlite3, "connect", without_rights)
    monkeypatch.setattr(module.os, "access", lambda path, mode: mode == os.R_OK)
    cache = ScoreCache(tmp_path)
    assert cache.get(SETTING, [b"a", b"b"]) == {b"a": 1.0}
    with pytest.raises(CacheError, match="the file or its folder cannot be written to"):
        cache.put(SETTING, [(b"b", 1.0)])


def test_a_damaged_page_is_an_error_that_says_so(tmp_path):
    cache = ScoreCache(tmp_path)
    cache.put(SETTING, [(i.to_bytes(32, "big"), 1.0) for i in range(5000)])
    sqlite3.connect(cache.path).execute("PRAGMA wal_checkpoint(TRUNCATE)").connection.close()
    with cache.path.open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xff" * (cache.path.stat().st_size - 3 * 4096))
    with pytest.raises(CacheError, match="damaged; remove it"):
        len(cache), cache.entries(), cache.get(SETTING, [i.to_bytes(32, "big") for i in range(5000)])
