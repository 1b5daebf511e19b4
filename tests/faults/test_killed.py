"""What a killed process wrote is absent or whole, and a second run ends right; benchmarks/faults.py kills often."""

import os

import pytest

from tests.faults.kills import OPERATIONS, Kills

#: Kills of each operation.
ROUNDS = 6


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.filterwarnings("ignore")
def test_a_killed_operation_leaves_nothing_in_part_and_the_next_run_ends_right(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TASKARITH_HOME", str(tmp_path / "home"))
    kills = Kills(name, tmp_path)
    for seed in range(ROUNDS):
        _, wrong = kills.outcome(seed)
        assert not wrong, f"{name}, seed {seed}: {wrong}"
