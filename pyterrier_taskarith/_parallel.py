"""Jobs that run side by side in threads, each with its own share of PyTorch's threads."""

import os
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

import torch

T = TypeVar("T")

#: Workers by default, at most: more than these wait for memory, not for a core.
MOST_WORKERS = 16
#: Held while workers start: the number of threads that a new thread gets is the last that any thread set.
_STARTING = threading.Lock()


def _after_fork() -> None:
    global _STARTING
    _STARTING = threading.Lock()  # another thread of the parent may have held it


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_after_fork)


def run_parallel(jobs: Iterable[Callable[[], T]], done: Callable[[T], object] | None = None, *,
                 workers: int | None = None) -> None:
    """Runs jobs in threads; for work that releases the GIL: reading, writing, PyTorch's operations.

    PyTorch's number of threads is left as it was, for this thread and for threads made later, also where several
    calls overlap.

    Args:
        jobs: Started in this order; they may end in another.
        done: Called with what each job returned, by one thread at a time.
        workers: How many run at a time, each with an equal share of PyTorch's threads. None: as many as PyTorch has
            threads, at most :data:`MOST_WORKERS`, each with one.

    Raises:
        BaseException: The first that a job raised; jobs that were not started are then left out.
    """
    pending, lock, begin = iter(jobs), threading.Lock(), threading.Event()
    failed: list[BaseException] = []

    def work(share: int, ready: threading.Event) -> None:
        torch.set_num_threads(share)
        torch.get_num_threads()  # its first use takes the last number that any thread set, and keeps it
        ready.set()
        begin.wait()
        while not failed:
            try:
                with lock:
                    job = next(pending, None)
                if job is None:
                    return
                made = job()
                if done is not None:
                    with lock:
                        done(made)
            except BaseException as error:
                failed.append(error)

    threads: list[threading.Thread] = []
    try:
        with _STARTING:
            total = torch.get_num_threads()
            count, share = (min(total, MOST_WORKERS), 1) if workers is None else (workers, max(1, total // workers))
            try:
                for _ in range(count):
                    ready = threading.Event()
                    threads.append(threading.Thread(target=work, args=(share, ready), name="taskarith", daemon=True))
                    threads[-1].start()
                    ready.wait()
            finally:
                torch.set_num_threads(total)
        begin.set()
        for thread in threads:
            thread.join()
    except BaseException as error:
        failed.append(error)
        raise
    finally:
        begin.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
    if failed:
        raise failed[0]
