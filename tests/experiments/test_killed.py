"""A table that was killed, or stopped at any write, ends in the same bytes as an undisturbed one."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments import runs
from experiments.command import run
from experiments.table1 import table1
from tests.experiments.small import overlap, rehearsal

ROOT = Path(__file__).parents[2]
KILLS = 3


def contents(folder: Path) -> dict[str, bytes]:
    """Returns the files that a table leaves, but for the log and what it was made from."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: content for name, content in found.items()
            if name != "log.txt" and not name.startswith("rehearsal/") and not name.endswith(".lock")}


def small(folder: Path) -> str:
    request = rehearsal(folder, systems=["DistilBERT"], datasets=["SciFact", "SCIDOCS"], limit=4)
    return run("table1", table1, request, first=overlap)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    small(folder)
    return contents(folder)


@pytest.mark.slow
def test_the_files_are_runs_with_recipes_and_reports(undisturbed):
    endings = {name.partition(".")[2] for name in undisturbed if name.startswith("table1")}
    assert endings == {"txt", "md", "tex", "html"}
    names = {name for name in undisturbed if name.startswith("runs_first_4/")}
    # 10 α on both sets and Θ_0, Θ_D, Θ_T on SciFact; two tests of 4 or, with α tuned, 5 systems; 4 first stages.
    assert 23 + 2 * 4 + 4 <= sum(name.endswith(".json") for name in names) <= 23 + 2 * 5 + 4
    assert sum(name.endswith(".run.gz") for name in names) == sum(name.endswith(".json") for name in names)


def made(folder: Path) -> int:
    """Returns how many runs are there; those that are being written are in folders that come and go."""
    return sum(name.endswith(".json") for at, _, names in os.walk(folder / "runs_first_4") if not at.endswith(".tmp")
               for name in names)


@pytest.mark.slow
@pytest.mark.long
def test_killed_at_random_moments_it_ends_in_the_same_bytes(tmp_path, undisturbed):
    chance = random.Random(6)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.experiments.rehearse_small", str(tmp_path)]
    killed = 0
    for _ in range(KILLS):
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
        goal = made(tmp_path) + chance.randint(1, 6)
        while process.poll() is None and made(tmp_path) < goal:
            time.sleep(0.002)
        time.sleep(chance.random() * 0.05)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
    assert killed == KILLS
    assert made(tmp_path) < sum(name.endswith(".json") for name in undisturbed)
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stderr=subprocess.DEVNULL)
    found = contents(tmp_path)
    assert found.keys() == undisturbed.keys()
    assert [name for name, content in found.items() if content != undisturbed[name]] == []


class Stopped(BaseException):
    """What stops a table at a write."""


@pytest.mark.slow
@pytest.mark.parametrize("write", [1, 2, 13, 30])
@pytest.mark.parametrize("renamed", [False, True])
def test_stopped_at_a_write_it_ends_in_the_same_bytes(tmp_path, undisturbed, monkeypatch, write, renamed):
    count, original = iter(range(1, 10_000)), runs.replace

    def stops(path: Path, content: bytes) -> None:
        if next(count) != write:
            return original(path, content)
        if renamed:
            original(path, content)
        else:
            left = path.with_name(f".{path.name}.0123abcd.tmp")  # as a killed writer of the file leaves it
            left.mkdir(parents=True)
            (left / path.name).write_bytes(content[:len(content) // 2])
            left.with_suffix(".lock").touch()
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(runs, "replace", stops)
        with pytest.raises(Stopped):
            small(tmp_path)
    small(tmp_path)
    assert contents(tmp_path) == undisturbed


@pytest.mark.slow
def test_a_second_time_nothing_is_scored_and_a_changed_recipe_only_what_it_concerns(tmp_path, monkeypatch):
    small(tmp_path)
    scored = []
    from experiments import scoring

    original = scoring.Workbench._at
    monkeypatch.setattr(scoring.Workbench, "_at", lambda bench, system, target, variant, alpha: scored.append(
        (variant, alpha)) or original(bench, system, target, variant, alpha))
    before = contents(tmp_path)
    small(tmp_path)
    assert scored == []
    assert contents(tmp_path) == before
    for path in tmp_path.glob("runs_first_4/scidocs/test/distilbert/theta_d.run.gz"):
        path.write_bytes(path.read_bytes()[:-9])
    small(tmp_path)
    assert scored == [("Θ_D", None)]
    assert contents(tmp_path) == before
