"""Batches hold every item once, within the budget, also after running out of GPU memory."""

import threading
import time
from collections import Counter

import numpy as np
import pytest
import torch

from pyterrier_taskarith.scorers._batches import pad, run_batches, token_batches


@pytest.mark.parametrize("budget", [1, 7, 64, 10_000])
def test_batches_are_sorted_and_within_the_budget_and_hold_every_item_once(budget):
    lengths = np.random.default_rng(0).integers(0, 50, size=200)
    batches = list(token_batches(lengths, budget))
    assert sorted(position for batch in batches for position in batch) == list(range(200))
    assert all(len(batch) == 1 or len(batch) * lengths[batch].max() <= budget for batch in batches)
    visited = [lengths[position] for batch in batches for position in batch]
    assert visited == sorted(lengths, reverse=True)


def test_sorting_leaves_little_padding():
    lengths = np.random.default_rng(1).integers(5, 300, size=2000)
    padded = sum(len(batch) * lengths[batch].max() for batch in token_batches(lengths, 2048))
    assert padded < 1.02 * lengths.sum()


def test_no_items_make_no_batch():
    assert list(token_batches([], 100)) == []
    assert run_batches([], 100, lambda batch: pytest.fail("called")) == 100


def test_rows_are_padded_on_the_right():
    ids, mask = pad([np.array([5, 6, 7]), np.array([8]), np.array([], dtype=np.int64)], 9, torch.device("cpu"))
    assert ids.tolist() == [[5, 6, 7], [8, 9, 9], [9, 9, 9]] and mask.tolist() == [[1, 1, 1], [1, 0, 0], [0, 0, 0]]
    assert ids.dtype == mask.dtype == torch.int64


class SmallMemory:
    """A step that runs out of memory for more than ``fits`` padded tokens, and counts what it finished."""

    def __init__(self, lengths: np.ndarray, fits: int) -> None:
        self.lengths, self.fits = lengths, fits
        self.finished: Counter[int] = Counter()
        self.tried: list[int] = []

    def __call__(self, batch: np.ndarray) -> None:
        size = len(batch) * int(self.lengths[batch].max())
        self.tried.append(size)
        if size > self.fits:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory (simulated)")
        self.finished.update(batch.tolist())


@pytest.mark.parametrize("fits", [40, 100, 333, 1000])
def test_out_of_memory_halves_the_budget_and_scores_every_item_once(fits, caplog):
    lengths = np.random.default_rng(2).integers(1, 40, size=300)
    step = SmallMemory(lengths, fits)
    budget = run_batches(lengths, 4096, step)
    assert set(step.finished) == set(range(300)) and set(step.finished.values()) == {1}
    assert budget <= 4096 / 2 ** sum(size > fits for size in step.tried) or budget == lengths.max()
    assert len(caplog.records) == sum(size > fits for size in step.tried)
    assert f"batches of {budget} tokens" in caplog.records[-1].getMessage()


def test_memory_that_shrinks_on_the_way_costs_no_item():
    lengths = np.full(64, 10)
    step = SmallMemory(lengths, 320)
    original = step.__call__

    def shrinking(batch: np.ndarray) -> None:
        original(batch)
        step.fits = max(20, step.fits // 2)

    assert run_batches(lengths, 320, shrinking) <= 40
    assert set(step.finished) == set(range(64)) and set(step.finished.values()) == {1}


def test_a_single_item_that_does_not_fit_is_an_error():
    lengths = np.array([5, 30, 5])
    with pytest.raises(torch.cuda.OutOfMemoryError):
        run_batches(lengths, 1000, SmallMemory(lengths, 20))


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_of_a_step_is_raised_and_threads_are_as_before(workers):
    before = torch.get_num_threads()

    def step(batch: np.ndarray) -> None:
        raise RuntimeError("of the step")

    with pytest.raises(RuntimeError, match="of the step"):
        run_batches([3] * 50, 9, step, workers=workers)
    assert torch.get_num_threads() == before


def test_several_workers_finish_every_item_once():
    lengths = np.random.default_rng(3).integers(1, 40, size=500)
    step = SmallMemory(lengths, 10_000)
    run_batches(lengths, 100, step, workers=4)
    assert set(step.finished) == set(range(500)) and set(step.finished.values()) == {1}


def test_overlapping_calls_leave_later_threads_as_they_were():
    def new_thread() -> int:
        found: list[int] = []
        thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        return found[0]

    torch.set_num_threads(2)
    before, began = new_thread(), threading.Event()

    def run(seconds: float) -> None:
        run_batches([10] * 4, 10, lambda batch: (began.set(), time.sleep(seconds))[1], workers=2)

    first, second = (threading.Thread(target=run, args=(seconds,)) for seconds in (0.1, 0.2))
    first.start()
    began.wait()
    second.start()  # while the first is at work
    first.join()
    second.join()
    assert new_thread() == before == torch.get_num_threads() == 2
