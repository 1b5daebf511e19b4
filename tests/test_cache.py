"""Scores on disk: exact, many, and shared by processes."""

import subprocess
import sys
import threading

import numpy as np

from pyterrier_taskarith import cache as module
from pyterrier_taskarith.cache import ScoreCache

#: A process that opens the cache, writes its own keys and one that all write, and reads them back.
WRITER = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("cache", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
cache = module.ScoreCache(sys.argv[2])
for turn in range(20):
    mine = {f"{sys.argv[3]}-{turn}-{i}".encode(): i / 7 for i in range(25)}
    cache.put({**mine, b"shared": 0.5}.items())
    assert cache.get(list(mine)) == mine
"""


def test_scores_come_back_exactly(tmp_path):
    cache = ScoreCache(tmp_path / "new" / "folder")
    scores = np.random.default_rng(0).normal(size=1234).astype(np.float32)
    keys = [bytes([i % 256, i // 256]) * 24 for i in range(len(scores))]
    cache.put(zip(keys, map(float, scores), strict=True))
    found = ScoreCache(tmp_path / "new" / "folder").get([*keys, b"unknown"])
    assert len(cache) == len(found) == 1234
    assert np.array_equal(np.array([found[key] for key in keys], dtype=np.float32), scores)


def test_a_key_put_again_has_its_last_score(tmp_path):
    cache = ScoreCache(tmp_path)
    cache.put([(b"a", 1.0)])
    cache.put([(b"a", 2.0), (b"b", 3.0)])
    assert cache.get([b"a", b"b"]) == {b"a": 2.0, b"b": 3.0} and len(cache) == 2
    assert cache.get([]) == {}


def test_a_folder_under_home_may_be_named_so(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    ScoreCache("~/scores").put([(b"a", 1.0)])
    assert ScoreCache(tmp_path / "scores").get([b"a"]) == {b"a": 1.0}


def test_processes_share_a_cache(tmp_path):
    running = [subprocess.Popen([sys.executable, "-c", WRITER, module.__file__, str(tmp_path), name],
                                stderr=subprocess.PIPE, text=True) for name in "abcd"]
    for process in running:
        assert process.wait(60) == 0, process.stderr.read()
        process.stderr.close()
    assert len(ScoreCache(tmp_path)) == 4 * 20 * 25 + 1


def test_threads_share_a_cache(tmp_path):
    cache, errors = ScoreCache(tmp_path), []

    def write(name: int) -> None:
        try:
            for turn in range(10):
                cache.put([(b"%d %d" % (name, turn), 1.0)])
                cache.get([b"%d %d" % (name, turn)])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and len(cache) == 40
