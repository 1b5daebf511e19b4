"""Work that was done is written, whatever the output can show; and the command ends by one line and its status."""

import os
import signal
import subprocess
import sys

import pytest

from pyterrier_taskarith.cli import _main, main

COMMAND = [sys.executable, "-m", "pyterrier_taskarith.cli"]


def written(folder, lines: dict[str, list[str]]):
    for name, content in lines.items():
        (folder / name).write_text("".join(f"{line}\n" for line in content))


@pytest.fixture
def comparison(tmp_path) -> list[str]:
    """A command that writes a file, and prints a table with the names that it is given."""
    written(tmp_path, {"run": [f"q{q} Q0 d{d} {d} {9 - d} t" for q in range(4) for d in range(5)],
                       "qrels": [f"q{q} 0 d{q} 1" for q in range(4)]})
    return ["compare", f"Θ'={tmp_path / 'run'}", f"Größe={tmp_path / 'run'}", "--qrels",
            str(tmp_path / "qrels"), "--csv", str(tmp_path / "out.csv")]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_characters_that_the_terminal_lacks_are_shown_by_their_codes(tmp_path, comparison, encoding, monkeypatch):
    with open(tmp_path / "shown", "w+", encoding=encoding) as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(comparison) == 0
        stream.seek(0)
        assert "\\u0398'" in stream.read()
    assert (tmp_path / "out.csv").is_file()


def test_help_is_shown_in_a_terminal_of_ascii(tmp_path, monkeypatch):
    with open(tmp_path / "shown", "w+", encoding="ascii") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(SystemExit, match="0"):
            main(["--help"])
        stream.seek(0)
        assert "\\u0398' = \\u0398_T" in stream.read()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_an_output_that_is_full_loses_no_file(tmp_path, comparison, monkeypatch, capfd):
    stream = open("/dev/full", "w")
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(comparison) == 1
    with pytest.raises(OSError, match="No space left"):
        stream.close()
    assert "No space left on device" in capfd.readouterr().err
    assert (tmp_path / "out.csv").is_file()


def test_a_closed_output_loses_no_file(tmp_path, comparison, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert main(comparison) == 0
    assert (tmp_path / "out.csv").is_file()


def test_names_in_files_do_not_steer_the_terminal(tmp_path, comparison, capfd):
    name = "\x1b[2J\x9bgone"
    comparison[1] = f"{name}={tmp_path / 'run'}"
    assert main(comparison) == 0
    assert main(["inspect", "--ranker", str(tmp_path / name), "--domain", "d", "--base", "b"]) == 1
    shown = "".join(capfd.readouterr())
    assert "\x1b" not in shown and "\x9b" not in shown
    assert shown.count("\\x1b[2J\\x9bgone") >= 2


def test_sigterm_is_one_line_and_143_and_what_is_being_written_is_removed(tmp_path, capfd):
    from pyterrier_taskarith._files import new_folder

    def action() -> None:
        with new_folder(tmp_path / "target"):
            os.kill(os.getpid(), signal.SIGTERM)
            raise AssertionError("the signal was not noticed")

    before = signal.getsignal(signal.SIGTERM)
    assert _main.exit_status("taskarith", action) == 143
    assert capfd.readouterr().err == "taskarith: terminated\n"
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGTERM) == before


JAVA = """
import os, sys
import pandas as pd
from pyterrier_taskarith.cli._main import exit_status
from pyterrier_taskarith.terrier import first_stage
docs = pd.DataFrame({"docno": [f"d{i}" for i in range(50)], "text": [f"sort list {i}" for i in range(50)]})

def action():
    found = first_stage(docs, sys.argv[1])(pd.DataFrame({"qid": ["1"], "query": ["sort"]}))
    print("ready", flush=True)
    while True:
        found = found.sort_values("score")

sys.exit(exit_status("taskarith", action))
"""


@pytest.mark.java
@pytest.mark.slow
@pytest.mark.parametrize(("sent", "status", "said"), [(signal.SIGINT, 130, "interrupted"),
                                                      (signal.SIGTERM, 143, "terminated")])
def test_signals_end_the_command_once_java_runs(tmp_path, sent, status, said):
    process = subprocess.Popen([sys.executable, "-c", JAVA, str(tmp_path / "index")], text=True, cwd=tmp_path,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while (line := process.stdout.readline()) and line.strip() != "ready":
        pass
    process.send_signal(sent)
    _, error = process.communicate(timeout=30)
    assert (process.returncode, error.strip().splitlines()[-1]) == (status, f"taskarith: {said}")
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
