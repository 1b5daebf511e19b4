"""What is told while a table is made."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest

from experiments import progress
from experiments.progress import Energy, Progress, hardware, in_words, processor, versions


@pytest.fixture
def told(tmp_path):
    made = Progress(tmp_path / "log.txt", quiet=True)
    yield made, lambda: [line[20:] for line in (tmp_path / "log.txt").read_text().splitlines()]
    made.close()


def test_the_time_left_is_of_the_runs_that_are_missing(told):
    made, lines = told
    for _ in range(4):
        made.expect(100.0)
    made.expect(1000.0)
    made.has(100.0)
    made.made("small", 20, 100.0, 10.0)
    made.made("another", 20, 100.0, 20.0)
    made.made("large", 20, 1000.0, 165.0)
    assert lines() == ["[2/5] small: 20 pairs in 10.0 s; 2 min left", "[3/5] another: 20 pairs in 20.0 s; 3 min left",
                       "[4/5] large: 20 pairs in 165.0 s; 16 s left"]


def test_the_log_goes_on_where_another_process_stopped(told, tmp_path):
    made, lines = told
    made.say("one")
    again = Progress(tmp_path / "log.txt", quiet=True)
    again.say("two")
    again.close()
    assert lines() == ["one", "two"]


def test_energy_is_measured_where_codecarbon_is_installed(told, monkeypatch):
    made, lines = told
    calls = []

    class Tracker:
        final_emissions_data = SimpleNamespace(energy_consumed=0.25)

        def __init__(self, **options) -> None:
            calls.append(options["save_to_file"])

        def start(self) -> None:
            calls.append("start")

        def stop(self) -> None:
            calls.append("stop")

    module = ModuleType("codecarbon")
    module.EmissionsTracker, module.__spec__ = Tracker, ModuleSpec("codecarbon", None)
    monkeypatch.setitem(sys.modules, "codecarbon", module)
    with Energy(made):
        calls.append("work")
    assert calls == [False, "start", "work", "stop"]
    assert lines() == ["energy: 0.250000 kWh, as codecarbon estimates it"]


def test_without_codecarbon_the_log_says_so(told, monkeypatch):
    made, lines = told
    monkeypatch.setattr(progress, "find_spec", lambda name: None)
    with Energy(made):
        pass
    assert lines() == ["energy: not measured (pip install codecarbon measures it)"]


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5300, "88 min"),
                                               (5400, "1 h 30 min"), (36300, "10 h 05 min")])
def test_durations(seconds, text):
    assert in_words(seconds) == text


def test_versions_and_hardware_are_told():
    assert {"torch", "transformers", "pyterrier"} <= versions().keys()
    assert processor() in hardware() and "cores" in hardware()
