"""Whole processes, timed, with the peak of their anonymous memory."""

import os
import subprocess
import time
from pathlib import Path


def timed(command, environment=None, log=None):
    """Runs a command.

    Args:
        command: The command line.
        environment: Variables beside the present ones.
        log: A file for its output; None: nowhere.

    Returns:
        Exit status, seconds from start to end, and the largest RssAnon in bytes, read every 5 ms.
    """
    with open(log or os.devnull, "w") as output:
        os.sync()  # what the last one wrote should not be written on this one's time
        start = time.perf_counter()
        process = subprocess.Popen(list(map(str, command)), stdout=output, stderr=subprocess.STDOUT,
                                   env={**os.environ, **(environment or {})})
        peak = 0
        while process.poll() is None:
            peak = max(peak, anonymous(process.pid))
            time.sleep(0.005)
        return process.returncode, time.perf_counter() - start, peak


def anonymous(pid):
    """Returns a process's anonymous resident memory in bytes: its own, without files that it maps."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return 0
