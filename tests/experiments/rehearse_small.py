"""A small table 1 in a process of its own, to be killed: python -m tests.experiments.rehearse_small FOLDER."""

import sys
from pathlib import Path

from experiments.command import run
from experiments.table1 import table1
from tests.experiments.small import overlap, rehearsal

if __name__ == "__main__":
    request = rehearsal(Path(sys.argv[1]), systems=["DistilBERT"], datasets=["SciFact", "SCIDOCS"], limit=4)
    run("table1", table1, request, first=overlap)
