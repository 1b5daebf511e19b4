"""Small triples for the command line, and a cache folder of the test's own."""

import pytest

from pyterrier_taskarith.cli import main
from testing import Triple, bert_triple


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("TASKARITH_HOME", str(tmp_path / "taskarith-home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def triple(tmp_path_factory) -> Triple:
    """Two masked BERTs and a sentence-transformers ranker; read only."""
    return bert_triple(tmp_path_factory.mktemp("cli"))


@pytest.fixture(scope="session")
def further(tmp_path_factory) -> Triple:
    """Another domain and base of the same shapes and tokens; read only."""
    return bert_triple(tmp_path_factory.mktemp("further"), seed=5)


@pytest.fixture(scope="session")
def models(triple) -> list[str]:
    """The options that name `triple`."""
    return ["--ranker", str(triple.ranker), "--domain", str(triple.domain), "--base", str(triple.base)]


@pytest.fixture
def printed(capsys):
    """Runs a command line and returns its exit status, what it printed, and what it printed to stderr."""
    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as exit_:
            status = int(exit_.code or 0)
        out, err = capsys.readouterr()
        return status, out, err

    return run
