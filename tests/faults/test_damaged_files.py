"""A damaged file is read right or refused by an error that names it; benchmarks/faults.py damages each many times."""

import pytest

from tests.faults.mutations import FINE, KINDS, Trial

#: Damaged files of each kind.
ROUNDS = 12


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_file_is_read_right_or_named(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TASKARITH_HOME", str(tmp_path / "home"))
    trial = Trial(name, tmp_path / "trial")
    for seed in range(ROUNDS):
        what, words = trial.outcome(seed)
        assert what in FINE, f"{name}, seed {seed}: {what}: {words}"
