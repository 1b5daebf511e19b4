"""Jobs side by side, and PyTorch's number of threads, which they leave as it was."""

import threading
from functools import partial

import pytest
import torch

from pyterrier_taskarith._parallel import run_parallel


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def of_a_new_thread() -> int:
    """PyTorch's number of threads in a thread that starts now."""
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return seen[0]


def test_every_job_is_done_once_and_told():
    told: list[int] = []
    run_parallel((partial(int, size) for size in range(20)), told.append)
    assert sorted(told) == list(range(20))


def test_a_failed_job_stops_the_others_and_is_raised():
    begun = []

    def job(number):
        begun.append(number)
        if number == 5:
            raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        run_parallel(partial(job, number) for number in range(1000))
    assert 5 in begun and len(begun) < 50


@pytest.mark.parametrize("workers, share", [(None, 1), (1, 2), (2, 1), (4, 1)])
def test_workers_share_pytorchs_threads(workers, share):
    seen: list[int] = []
    run_parallel([torch.get_num_threads] * 8, seen.append, workers=workers)
    assert seen == [share] * 8


def test_threads_stay_as_they_were_while_jobs_run_and_after_a_failure():
    seen: list[int] = []
    run_parallel([of_a_new_thread] * 4, seen.append)
    with pytest.raises(ZeroDivisionError):
        run_parallel([lambda: 1 / 0])
    assert [*seen, of_a_new_thread(), torch.get_num_threads()] == [2] * 6


def test_overlapping_runs_leave_later_threads_as_they_were():
    # The second begins while the first one's workers are at work, in a thread made meanwhile, and ends after it.
    first, second, began = threading.Event(), threading.Event(), threading.Event()
    inner: list[int] = []

    def run_first():
        run_parallel([lambda: (began.set(), first.wait(20))])

    def run_second():
        run_parallel([lambda: (inner.append(torch.get_num_threads()), began.set(), second.wait(20))])
        inner.append(torch.get_num_threads())

    threads = [threading.Thread(target=run_first), threading.Thread(target=run_second)]
    for thread in threads:
        thread.start()
        assert began.wait(20)
        began.clear()
    first.set()
    threads[0].join()
    second.set()
    threads[1].join()
    assert inner == [1, 2] and of_a_new_thread() == torch.get_num_threads() == 2
