"""The tests of the demo have a cache folder of their own."""

import pytest


@pytest.fixture(autouse=True, scope="session")
def own_home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TASKARITH_HOME", str(tmp_path_factory.mktemp("home")))
        yield
