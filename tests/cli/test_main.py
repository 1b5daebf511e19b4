"""Exit statuses: 0 done, 1 the user can mend it (one line), 2 the command line is wrong, 130 interrupted."""

import os
import subprocess
import sys
from importlib.metadata import entry_points, version

import pytest

from pyterrier_taskarith.cli import _inspect, main
from pyterrier_taskarith.errors import CheckpointError, MissingPackageError, TaskArithError, WrongTypeError

COMMAND = [sys.executable, "-m", "pyterrier_taskarith.cli"]


@pytest.mark.parametrize("arguments, message", [
    ([], "the following arguments are required: command"),
    (["mrge"], "invalid choice: 'mrge'"),
    (["inspect", "--domain", "b", "--base", "c"], "the following arguments are required: --ranker"),
    (["inspect", "--ranker", "a"], "give --domain and --base, or --vector NAME=DOMAIN,BASE"),
    (["inspect", "--ranker", "a", "--domain", "b"], "give --domain and --base, or --vector"),
    (["inspect", "--ranker", "a", "--base", "c", "--vector", "v=b,c"], "give either --domain and --base, or --vector"),
    (["inspect", "--ranker", "a", "--vector", "b,c"], "'b,c': give NAME=DOMAIN,BASE"),
    (["inspect", "--ranker", "a", "--vector", "v=b,"], "'v=b,': give NAME=DOMAIN,BASE"),
    (["inspect", "--ranker", "a", "--vector", "v=b,c,d"], "'v=b,c,d': give NAME=DOMAIN,BASE"),
    (["inspect", "--ranker", "a", "--vector", "v:0=b,c"], "'v:0=b,c': give NAME=DOMAIN,BASE"),
    (["inspect", "--ranker", "a", "--vector", "v=b,c", "--vector", "v=d,e"], "each needs a name of its own"),
    (["inspect", "--ranker", "a", "--domain", "b", "--base", "c", "--alpha", "much"], "'much' has no number"),
    (["inspect", "--ranker", "a", "--domain", "b", "--base", "c", "--alpha", "0=x"], "'0=x' has no number"),
    (["inspect", "--ranker", "a", "--domain", "b", "--base", "c", "--alpha", "1", "--alpha", "default=2"],
     "--alpha is given twice for default"),
    (["inspect", "--ranker", "a", "--domain", "b", "--base", "c", "--alpha", "1", "--alpha", "2"],
     "--alpha is given twice for all layers"),
    (["inspect", "--ranker", "a", "--vector", "v=b,c", "--alpha", "w:0=1"], "--alpha w:0=1: the vectors are v"),
    (["inspect", "--ranker", "a", "--domain", "b", "--base", "c", "--dtype", "int8"], "invalid choice: 'int8'"),
    (["merge", "--ranker", "a", "--domain", "b", "--base", "c"], "the following arguments are required: --out"),
    (["demo", "--ranker", "a"], "give --ranker, --domain and --base together"),
])
def test_a_wrong_command_line_is_explained_with_its_usage(printed, arguments, message):
    status, out, err = printed(*arguments)
    assert status == 2 and out == ""
    assert err.startswith("usage: taskarith") and message in err.replace("\n", " ")


@pytest.mark.parametrize("arguments, message", [
    (["--domain", "nowhere/at/all"], "nowhere/at/all: no such folder or file"),
    (["--alpha", "nan"], "alpha of domain is nan: it must be a finite real number"),
    (["--alpha", "embeddings=1"], "give the α of all other layers too, as 'default'"),
    (["--alpha", "1", "--alpha", "0-1=1", "--alpha", "1=0"], "twice: in '0-1' and in '1'"),
    (["--alpha", "1", "--alpha", "layers 9=1"], "selects no parameter that is merged"),
    (["--layers", "first"], "'first' is not a layer"),
    (["--layers", "99"], "selects no parameter of Θ_T"),
    (["--csv", "/nowhere/at/all.csv"], "non-existent directory: '/nowhere/at'"),
])
def test_what_the_user_can_mend_is_one_line(printed, models, arguments, message):
    status, _, err = printed("inspect", *models, *arguments)
    assert status == 1
    (line,) = err.splitlines()
    assert line.startswith("taskarith: ") and message in line


def test_an_error_of_several_lines_becomes_one(printed, models, monkeypatch):
    def fail(_):
        raise OSError("first\n  second\n")

    monkeypatch.setattr(_inspect, "merge_of", fail)
    assert printed("inspect", *models) == (1, "", "taskarith: first second\n")


@pytest.mark.parametrize("error", [AssertionError("ours"), KeyError("ours"), ValueError("ours"), RuntimeError("ours")])
def test_an_error_of_the_program_shows_its_traceback_and_asks_for_a_report(printed, models, monkeypatch, error):
    def fail(_):
        raise error

    monkeypatch.setattr(_inspect, "merge_of", fail)
    status, out, err = printed("inspect", *models)
    assert (status, out) == (70, "")
    assert err.startswith("Traceback") and f"{type(error).__name__}: " in err
    assert err.splitlines()[-1].startswith("taskarith: this is an error of the program") and "report" in err


@pytest.mark.parametrize("error", [TaskArithError("bad α"), CheckpointError("bad α"), WrongTypeError("bad α"),
                                   MissingPackageError("bad α"), OSError("bad α")])
@pytest.mark.parametrize("where", ["before", "after", "nowhere"])
def test_debug_before_or_after_the_subcommand_shows_the_traceback(printed, models, monkeypatch, error, where):
    def fail(_):
        raise error

    monkeypatch.setattr(_inspect, "merge_of", fail)
    before, after = ["--debug"] * (where == "before"), ["--debug"] * (where == "after")
    status, out, err = printed(*before, "inspect", *models, *after)
    assert (status, out) == (1, "") and err.splitlines()[-1] == "taskarith: bad α"
    assert err.startswith("Traceback") if where != "nowhere" else err == "taskarith: bad α\n"


def test_the_version_is_that_of_the_installed_package(printed):
    assert printed("--version") == (0, f"taskarith {version('pyterrier_taskarith')}\n", "")


def test_an_interrupt_prints_no_traceback(printed, models, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(_inspect, "merge_of", interrupt)
    assert printed("inspect", *models) == (130, "", "taskarith: interrupted\n")


def test_help_names_every_command_and_needs_no_model_library(tmp_path):
    script = ("import sys\nfrom pyterrier_taskarith.cli import main\n"
              "try:\n    main(['--help'])\nexcept SystemExit as done:\n    assert done.code == 0\n"
              "assert not set(sys.modules) & {'torch', 'transformers', 'pyterrier', 'pandas'}\n")
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    commands = ("inspect", "merge", "sweep", "compare", "cache", "demo")
    assert all(f"\n    {command} " in done.stdout for command in commands)


def test_the_installed_command_is_this_one():
    (command,) = entry_points(group="console_scripts", name="taskarith")
    assert command.load() is main


@pytest.mark.slow
def test_a_reader_that_stops_early_is_no_error(models):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        done = subprocess.run([*COMMAND, "inspect", *models], stdout=closed, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 141 and done.stderr == b""
