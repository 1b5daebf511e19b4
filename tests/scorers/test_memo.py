"""The memo keeps what was used last, within its bytes."""

import inspect
import random
import tracemalloc

import numpy as np

from pyterrier_taskarith.scorers import Memo


def test_the_longest_unused_goes_first():
    memo: Memo[str] = Memo(30, entry_overhead=0)
    for key in "abc":
        memo.put(key, key.upper(), 10)
    assert memo.get("a") == "A"
    memo.put("d", "D", 10)
    assert memo.get("b") is None
    assert [memo.get(key) for key in "acd"] == ["A", "C", "D"]


def test_a_value_put_again_counts_once():
    memo: Memo[str] = Memo(30, entry_overhead=0)
    for _ in range(10):
        memo.put("a", "A", 10)
    memo.put("b", "B", 20)
    assert memo.get("a") == "A" and memo.get("b") == "B" and len(memo) == 2


def test_a_value_larger_than_the_memo_is_not_kept():
    memo: Memo[str] = Memo(30, entry_overhead=0)
    memo.put("a", "A", 10)
    memo.put("b", "B", 31)
    assert memo.get("b") is None and len(memo) == 0


def test_entries_count_beside_their_values():
    memo: Memo[str] = Memo(1000, entry_overhead=100)
    for number in range(100):
        memo.put(number, "", 0)
    assert len(memo) == 10


def taken() -> int:
    """The memory that the memo's module and this one hold; other threads of the process allocate too."""
    ours = [tracemalloc.Filter(True, inspect.getfile(Memo)), tracemalloc.Filter(True, __file__)]
    return sum(each.size for each in tracemalloc.take_snapshot().filter_traces(ours).statistics("filename"))


def test_what_it_counts_is_what_it_takes():
    generator = random.Random(0)
    tracemalloc.start()
    try:
        scores: Memo[float] = Memo(2**21, entry_overhead=340)  # as the scores' memo is made
        for number in range(20_000):
            scores.put(number.to_bytes(48, "big"), generator.random(), 8)
        assert 2**20 < taken() < 1.15 * 2**21
        embeddings: Memo[np.ndarray] = Memo(2**22)
        before = taken()
        for number in range(20_000):
            row, text = np.zeros(64, dtype=np.float32), f"{number} {'text ' * 20}"
            embeddings.put(("w", "document", text), row, row.nbytes + len(text) + 50)
        assert 2**21 < taken() - before < 1.15 * 2**22
    finally:
        tracemalloc.stop()
