"""Each test has a cache folder of its own."""

import pytest


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("TASKARITH_HOME", str(tmp_path / "home"))
