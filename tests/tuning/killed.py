"""A function of the tuning room in a process of its own, killed after some scorings."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from testing import Triple

PROGRAM = """
import importlib, sys
from pathlib import Path
from testing import Triple
module, function, folder, file, *more = sys.argv[1:]
triple = Triple(*(Path(folder) / role for role in ("ranker", "domain", "base")))
getattr(importlib.import_module(module), function)(triple, file, *more)
"""


def settings_in(file: Path) -> int:
    """Returns how many settings have scores in a file."""
    try:
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as connection:
            return connection.execute("SELECT COUNT(DISTINCT setting) FROM scores").fetchone()[0]
    except sqlite3.OperationalError:  # not made yet
        return 0


def killed_after(scorings: int, function, triple: Triple, file: Path, *more: str) -> int:
    """Runs ``function(triple, file, *more)`` and kills it; returns how many settings have scores in the file then.

    Args:
        scorings: How many have by then, at least.
        function: Of a test module, resuming from the file.
        triple: Folders named ranker, domain and base.
        file: Where scores are kept.
        more: Further arguments.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, function.__module__, function.__name__, str(triple.ranker.parent), str(file),
         *more], cwd=os.getcwd(), env={**os.environ, "PYTHONPATH": os.getcwd()})
    while settings_in(file) < scorings:
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    return settings_in(file)
