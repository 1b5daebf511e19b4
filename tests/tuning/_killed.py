"""A long run of the tuning room in a process of its own, killed after some scorings."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from testing import Triple

#: Says each scoring, and waits, so that the kill falls between two.
PROGRAM = textwrap.dedent("""
    import importlib, sys, time
    from pathlib import Path
    from testing import Triple
    from pyterrier_taskarith.tuning import _sweep
    original = _sweep.rows_of
    def slow(*arguments):
        rows = original(*arguments)
        print("scored", flush=True)
        time.sleep(0.3)
        return rows
    _sweep.rows_of = slow
    module, function, folder, file, *more = sys.argv[1:]
    triple = Triple(*(Path(folder) / role for role in ("ranker", "domain", "base")))
    getattr(importlib.import_module(module), function)(triple, file, *more)
""")


def killed_after(scorings: int, function, triple: Triple, file: Path, *more: str) -> int:
    """Runs ``function(triple, file, *more)`` and kills it; returns how many scorings the file holds.

    Args:
        scorings: How many it has made by then.
        function: Of a test module, resuming from the file.
        triple: Folders named ranker, domain and base.
        file: Where finished scorings are kept.
        more: Further arguments.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, function.__module__, function.__name__, str(triple.ranker.parent), str(file),
         *more], stdout=subprocess.PIPE, cwd=os.getcwd(), env={**os.environ, "PYTHONPATH": os.getcwd()})
    for _ in range(scorings):
        assert process.stdout.readline() == b"scored\n"
    deadline = time.monotonic() + 10
    while len(file.read_bytes().splitlines()) < scorings and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    return file.read_bytes().count(b"\n") - 1
