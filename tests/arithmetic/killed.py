"""Merges as processes that a test may kill or stop: ``python -m tests.arithmetic.killed TRIPLE``.

The package is imported once, and each merge is a fork. Reads one command a line, answers with one line: ``begin
TARGET`` with the process's number, ``end NUMBER``, which waits for it, with its exit status.
"""

import os
import sys
from pathlib import Path

from pyterrier_taskarith.arithmetic import TaskVector
from pyterrier_taskarith.arithmetic.save._merge import save_merge
from pyterrier_taskarith.checkpoints import Checkpoint


def begin(triple: Path, target: Path) -> int:
    """Starts a process that writes the merge; returns its number."""
    process = os.fork()
    if process == 0:
        try:
            save_merge(Checkpoint(triple / "ranker") + 0.7 * TaskVector(triple / "domain", triple / "base"), target,
                       shard_size="16MB")
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    return process


def main(triple: Path) -> None:
    """Obeys until its input ends."""
    for line in sys.stdin:
        command, _, given = line.strip().partition(" ")
        if command == "begin":
            print(begin(triple, Path(given)), flush=True)
        else:
            print(os.waitstatus_to_exitcode(os.waitpid(int(given), 0)[1]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
