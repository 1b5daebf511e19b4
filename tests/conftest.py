"""Small models are fastest on one thread, most of all where other processes want the cores too."""

import gc
import os

import pytest
import torch


@pytest.fixture(autouse=True)
def few_threads():
    """One thread for torch, or as many as TASKARITH_TEST_THREADS says: what is tested holds for any number."""
    before = torch.get_num_threads()
    torch.set_num_threads(int(os.environ.get("TASKARITH_TEST_THREADS", "1")))
    yield
    torch.set_num_threads(before)


def pytest_collection_modifyitems(items):
    """Puts the longest tests, which have a time limit of their own, first: else all cores but one wait for the last."""
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


def pytest_collection_finish():
    """Keeps what the libraries hold out of garbage collection: some tests ask for one, which takes a second else."""
    gc.collect()
    gc.freeze()
