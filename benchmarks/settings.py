"""Every setting of every kind of folder changed, one at a time: python -m benchmarks.settings [KIND ...].

Each changed folder is scored by its authors' library and by this package. Prints how many were followed, left the score
unchanged or were refused, and each one that came out differently. A kind is a part of a name in tests.scorers.settings.
"""

import argparse
import collections
import logging
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path

import torch
import transformers

from tests.scorers.settings import KINDS, changed, changes, outcome, pairs

#: What may become of a changed folder, in the order of the table.
OUTCOMES = ("followed", "unchanged", "refused", "reference fails", "WRONG", "TRACEBACK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kinds", nargs="*", help="parts of kinds' names; all if left out")
    wanted = parser.parse_args().kinds
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    print(f"transformers {transformers.__version__}, sentence-transformers {version('sentence-transformers')}\n")
    print(f"| folder | changes | {' | '.join(OUTCOMES)} |\n|---|---:|{'---:|' * len(OUTCOMES)}")
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        for number, (name, kind) in enumerate(KINDS.items()):
            if wanted and not any(part in name for part in wanted):
                continue
            folder = kind.make(Path(scratch) / str(number))
            plain, counts = kind.reference(folder, *pairs()), collections.Counter[str]()
            for change in changes(folder):
                what, words = outcome(kind, changed(folder, change, Path(scratch) / "changed"), plain)
                counts[what] += 1
                if what in OUTCOMES[3:]:
                    found.append(f"- {what}: {name}: `{change}`: {' '.join(words.split())[:160]}")
            row = " | ".join(str(counts[what]) for what in OUTCOMES)
            print(f"| {name} | {counts.total()} | {row} |", flush=True)
    print("", *found, sep="\n")


if __name__ == "__main__":
    main()
