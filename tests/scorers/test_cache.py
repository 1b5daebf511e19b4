"""Scores on disk: exact, many, told apart by setting, and counted and cleared by setting."""

import threading
import time

import numpy as np
import pytest

from pyterrier_taskarith import _score_cache as module
from pyterrier_taskarith._score_cache import CachedSetting, ScoreCache

RANKER = CachedSetting(b"T" * 16, "org/ranker", "Θ_T", "BiEncoder, float32")
MERGED = CachedSetting(b"M" * 16, "org/ranker", "Θ_T + 0.7·(org/domain − org/base)", "BiEncoder, float32")


def counts(cache: ScoreCache) -> dict[str, int]:
    return {entry.weights: entry.scores for entry in cache.entries()}


def test_scores_come_back_exactly(tmp_path):
    cache = ScoreCache(tmp_path / "new" / "folder")
    scores = np.random.default_rng(0).normal(size=12_345).astype(np.float32)
    pairs = [i.to_bytes(4, "big") * 8 for i in range(len(scores))]
    cache.put(RANKER, zip(pairs, map(float, scores), strict=True))
    found = ScoreCache(tmp_path / "new" / "folder").get(RANKER, [*pairs, b"unknown"])
    assert len(cache) == len(found) == 12_345
    assert np.array_equal(np.array([found[pair] for pair in pairs], dtype=np.float32), scores)


def test_a_pair_put_again_has_its_last_score(tmp_path):
    cache = ScoreCache(tmp_path)
    cache.put(RANKER, [(b"a", 1.0)])
    cache.put(RANKER, [(b"a", 2.0), (b"b", 3.0)])
    assert cache.get(RANKER, [b"a", b"b", b"c"]) == {b"a": 2.0, b"b": 3.0} and len(cache) == 2
    assert cache.get(RANKER, []) == {}


def test_a_pair_has_a_score_for_each_setting(tmp_path):
    cache = ScoreCache(tmp_path)
    cache.put(RANKER, [(b"a", 1.0)])
    assert cache.get(MERGED, [b"a"]) == {}
    cache.put(MERGED, [(b"a", 2.0)])
    assert cache.get(RANKER, [b"a"]) == {b"a": 1.0} and cache.get(MERGED, [b"a"]) == {b"a": 2.0}


def test_the_key_alone_decides_and_the_words_are_the_last_given(tmp_path):
    cache = ScoreCache(tmp_path)
    cache.put(RANKER, [(b"a", 1.0)])
    moved = CachedSetting(RANKER.key, "elsewhere/ranker", "Θ_T", "BiEncoder, float32")
    assert cache.get(moved, [b"a"]) == {b"a": 1.0}
    cache.put(moved, [(b"b", 2.0)])
    (entry,) = cache.entries()
    assert (entry.ranker, entry.scores) == ("elsewhere/ranker", 2)


def test_a_folder_under_home_may_be_named_so(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    ScoreCache("~/scores").put(RANKER, [(b"a", 1.0)])
    assert ScoreCache(tmp_path / "scores").get(RANKER, [b"a"]) == {b"a": 1.0}


def test_entries_tell_what_is_kept_and_when_it_was_used(tmp_path, monkeypatch):
    cache, start = ScoreCache(tmp_path), time.time()
    assert cache.entries() == [] and len(cache) == 0
    cache.put(MERGED, [(bytes([i]), 0.5) for i in range(7)])
    cache.put(RANKER, [(b"a", 1.0)])
    ranker, merged = cache.entries()
    assert (ranker.number, ranker.ranker, ranker.weights, ranker.scores) == (2, "org/ranker", "Θ_T", 1)
    assert (merged.number, merged.weights, merged.scorer, merged.scores) == (1, MERGED.weights, MERGED.scorer, 7)
    assert start <= merged.used <= ranker.used <= time.time()
    monkeypatch.setattr(module.time, "time", lambda: start + 1000)
    cache.get(MERGED, [bytes([0])])
    assert cache.entries()[1].used == merged.used  # it wrote the time a moment ago
    ScoreCache(tmp_path).get(MERGED, [bytes([0])])
    assert cache.entries()[1].used == start + 1000


def test_clear_forgets_the_settings_named_or_all_and_shrinks_the_file(tmp_path):
    cache = ScoreCache(tmp_path)
    for setting in (RANKER, MERGED):
        cache.put(setting, [(i.to_bytes(32, "big"), 0.5) for i in range(20_000)])
    before = cache.size
    assert before == sum(path.stat().st_size for path in tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"has no setting 9; it has 1, 2"):
        cache.clear([1, 9])
    assert len(cache) == 40_000
    assert cache.clear([1, 1]) == 20_000 and counts(cache) == {MERGED.weights: 20_000}
    assert cache.size < 0.7 * before
    assert cache.clear() == 20_000 and cache.entries() == [] and cache.size < 50_000
    assert cache.clear() == 0
    cache.put(RANKER, [(b"a", 1.0)])
    assert [entry.number for entry in cache.entries()] == [3]  # a number that was cleared is not given again


def test_a_cache_that_is_removed_while_it_is_used_starts_again(tmp_path):
    cache = ScoreCache(tmp_path)
    cache.put(RANKER, [(b"a", 1.0)])
    for path in tmp_path.iterdir():
        path.unlink()
    assert cache.get(RANKER, [b"a"]) == {}
    cache.put(RANKER, [(b"a", 2.0)])
    assert cache.get(RANKER, [b"a"]) == {b"a": 2.0}


def test_a_hundred_thousand_scores_take_less_than_seconds(tmp_path):
    # About 0.25 s each on one core of 2023; the bound is for slow and busy ones.
    cache, pairs = ScoreCache(tmp_path), [(i * 7919 % 2**32).to_bytes(4, "big") * 8 for i in range(100_000)]
    start = time.process_time()
    cache.put(RANKER, ((pair, 0.5) for pair in pairs))
    assert len(cache.get(RANKER, pairs)) == 100_000
    assert time.process_time() - start < 5


def test_threads_share_a_cache(tmp_path):
    cache, errors = ScoreCache(tmp_path), []

    def write(name: int) -> None:
        try:
            for turn in range(10):
                cache.put(RANKER, [(b"%d %d" % (name, turn), 1.0)])
                cache.get(RANKER, [b"%d %d" % (name, turn)])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and len(cache) == 40
