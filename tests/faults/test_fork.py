"""A forked child can score, whatever the parent's threads were doing at that moment."""

import os
import threading
import time

import numpy as np
import pytest
import torch

from pyterrier_taskarith._parallel import run_parallel
from tests.reranking import frame, reranker

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(scope="module")
def triple(tmp_path_factory):
    from testing import bert_triple

    return bert_triple(tmp_path_factory.mktemp("fork"))


def ends(work, seconds: float = 20) -> bool:
    """Forks, and returns whether the child has done its work in time."""
    child = os.fork()
    if not child:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.02)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return False


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_child_that_was_forked_while_another_thread_scored_scores_as_the_parent(triple):
    r = reranker(triple, alpha=0.7)
    expected = r.copy(alpha=0.3)(frame())["score"].to_numpy()
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            r.model.forget()
            r(frame())
            r.copy(alpha=0.1)(frame())

    def work() -> None:
        np.testing.assert_array_equal(r.copy(alpha=0.3)(frame())["score"].to_numpy(), expected)

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        for _ in range(4):
            time.sleep(0.05)
            assert ends(work)
    finally:
        stop.set()
        thread.join()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_child_scores_where_the_parent_has_scored_with_two_threads(triple):
    r = reranker(triple, alpha=0.7)
    torch.set_num_threads(2)  # the fixture of all tests puts it back
    torch.randn(500, 500) @ torch.randn(500, 500)
    r(frame())

    def work() -> None:
        r.model.forget()
        r(frame())
        assert torch.get_num_threads() == 1
        run_parallel([lambda: torch.randn(500, 500) @ torch.randn(500, 500)] * 2)

    assert ends(work)
    assert torch.get_num_threads() == 2
