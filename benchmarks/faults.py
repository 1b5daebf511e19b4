"""Every kind of file damaged at random, many times: python -m benchmarks.faults [--rounds N] [KIND ...].

Prints for each kind how many damaged files gave the same result, another one or an error that names the file, and each
one that did not; the last four columns must be 0. A kind is a part of a name in tests.faults.mutations.
"""

import argparse
import collections
import logging
import tempfile
import time
import warnings
from pathlib import Path

import torch
import transformers

from tests.faults.mutations import FINE, KINDS, OUTCOMES, Trial


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kinds", nargs="*", help="parts of kinds' names; all if left out")
    parser.add_argument("--rounds", type=int, default=300, help="damaged files of each kind; 300 if left out")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    print(f"transformers {transformers.__version__}, torch {torch.__version__}\n")
    print(f"| file | tried | {' | '.join(OUTCOMES)} | longest |\n|---|---:|{'---:|' * (len(OUTCOMES) + 1)}")
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        for number, name in enumerate(KINDS):
            if given.kinds and not any(part in name for part in given.kinds):
                continue
            trial, counts, longest = Trial(name, Path(scratch) / str(number)), collections.Counter[str](), 0.0
            for seed in range(given.rounds):
                start = time.perf_counter()
                what, words = trial.outcome(seed)
                longest = max(longest, time.perf_counter() - start)
                counts[what] += 1
                if what not in FINE:
                    found.append(f"- {what}: {name}, seed {seed}: {' '.join(words.split())[:200]}")
            row = " | ".join(str(counts[what]) for what in OUTCOMES)
            print(f"| {name} | {counts.total()} | {row} | {longest:.1f} s |", flush=True)
    print("", *found, sep="\n")


if __name__ == "__main__":
    main()
