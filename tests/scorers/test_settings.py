"""No setting of a folder changes the score of its authors' library and not ours: followed, or refused by name."""

import collections
import functools
import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.scorers.settings import KINDS, changed, changes, our_scores, outcome, pairs

#: What may become of a folder with one setting changed.
FINE = {"followed", "unchanged", "refused", "reference fails"}
#: Examples of each kind of folder; benchmarks/settings.py tries all.
EXAMPLES = 3


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Returns the folder of a kind, its reference's scores and all changes, made once."""
    @functools.cache
    def make(name):
        folder = KINDS[name].make(tmp_path_factory.mktemp("settings") / "made")
        return folder, KINDS[name].reference(folder, *pairs()), list(changes(folder))
    return make


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.filterwarnings("ignore")
def test_a_changed_setting_is_followed_or_refused(name, made, tmp_path_factory):
    folder, plain, every = made(name)
    assert abs(our_scores(folder, *pairs()) - plain).max() < 1e-5
    counts = collections.Counter()

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
              suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(every))
    def follows_or_refuses(change):
        what, words = outcome(KINDS[name], changed(folder, change, tmp_path_factory.getbasetemp() / "changed"), plain)
        counts[what] += 1
        assert what in FINE, f"{name}: {change}: {what}: {words}"

    logging.disable(logging.ERROR)
    try:
        follows_or_refuses()
    finally:
        logging.disable(logging.NOTSET)
    print(f"{name}: {dict(counts)}")
    assert counts.total() >= EXAMPLES / 2
