"""Threads that work through one list of jobs, each with buffers of its own."""

import threading
from collections.abc import Callable, Iterable

import torch

from pyterrier_taskarith.arithmetic._chunks import Scratch

#: One piece of work: uses the thread's buffers, returns how many bytes of the output it made.
Job = Callable[[Scratch], int]
#: Threads, at most: more than these wait for memory, not for a core.
MOST_WORKERS = 16


def work_through(jobs: Iterable[Job], done: Callable[[int], None] | None = None) -> None:
    """Does all jobs, as many at a time as PyTorch has threads; reading, writing and arithmetic release the GIL.

    Args:
        jobs: Taken in this order; they may finish in another.
        done: Told each job's bytes; one call at a time.

    Raises:
        BaseException: The first that a job raised; jobs that were not begun are left then.
    """
    pending, lock = iter(jobs), threading.Lock()
    failed: list[BaseException] = []

    def work() -> None:
        torch.set_num_threads(1)
        scratch = Scratch()
        while not failed:
            try:
                with lock:
                    job = next(pending, None)
                if job is None:
                    return
                made = job(scratch)
                if done is not None:
                    with lock:
                        done(made)
            except BaseException as error:  # noqa: BLE001 - carried to the caller's thread
                failed.append(error)

    threads = torch.get_num_threads()
    crew = [threading.Thread(target=work, name="taskarith", daemon=True) for _ in range(min(threads, MOST_WORKERS))]
    try:
        for thread in crew:
            thread.start()
        for thread in crew:
            thread.join()
    except BaseException as error:
        failed.append(error)
        raise
    finally:
        for thread in crew:
            if thread.ident is not None:
                thread.join()
        torch.set_num_threads(threads)  # a thread's own number, but also what threads made later start with
    if failed:
        raise failed[0]
