"""A disk that is full while something is written is an error that names the file, and nothing is left behind."""

import os
import signal

import pytest

from pyterrier_taskarith import TaskVector
from pyterrier_taskarith._files import new_file, new_folder
from pyterrier_taskarith.errors import CacheError, TaskArithError
from pyterrier_taskarith.scorers import ScoreCache
from tests.faults.kills import OPERATIONS

resource = pytest.importorskip("resource")


@pytest.mark.parametrize("name", ["saved vector", "index of texts", "unpacked zip", "merge to disk"])
@pytest.mark.filterwarnings("ignore")
def test_a_file_that_grows_too_large_is_named_and_nothing_is_left(name, tmp_path, monkeypatch):
    """As on a full disk: the system lets no file of this process grow beyond 3,000 bytes."""
    monkeypatch.setenv("TASKARITH_HOME", str(tmp_path / "home"))
    OPERATIONS[name].make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        with pytest.raises((OSError, TaskArithError), match=str(tmp_path)):
            OPERATIONS[name].run(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before and path.is_file()] == []


def test_a_path_with_a_null_character_is_named(tmp_path):
    path = tmp_path / "a\0b"
    for writer in (new_file, new_folder):
        with pytest.raises(OSError, match="null character"), writer(path):
            raise AssertionError("it was opened")
    with pytest.raises(CacheError, match="null"):
        ScoreCache(path)
    with pytest.raises(TaskArithError, match="null"):
        TaskVector.load(path)
    assert os.listdir(tmp_path) == []
