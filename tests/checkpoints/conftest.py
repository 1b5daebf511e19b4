"""Small triples that tests only read, a cache folder of the test's own, and no network."""

import pytest

from testing import Triple, bert_triple, t5_triple
from tests.checkpoints.by_hand import offline_hub


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """Hashes remembered by one test are unknown to the next."""
    monkeypatch.setenv("TASKARITH_HOME", str(tmp_path / "taskarith-home"))
    return tmp_path / "taskarith-home"


@pytest.fixture
def hub(tmp_path):
    """The hub's cache folder, empty; huggingface_hub is offline, as with HF_HUB_OFFLINE=1."""
    with offline_hub(tmp_path / "hub") as cache:
        yield cache


@pytest.fixture(scope="session")
def bert(tmp_path_factory) -> Triple:
    """Two masked BERTs and a sentence-transformers ranker; read only."""
    return bert_triple(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def t5(tmp_path_factory) -> Triple:
    """Three T5s; read only."""
    return t5_triple(tmp_path_factory.mktemp("t5"))
