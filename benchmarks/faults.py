"""Operations killed and files damaged at random, many times: python -m benchmarks.faults [--kills N] [--rounds N].

First each operation that writes is killed at random moments: how many kills came before its end, and how often
something was left in part or a second run did not end right. Then each kind of file is damaged: how many gave the same
result, another one or an error that names the file; the last four columns must be 0, and what is not is listed.
"""

import argparse
import collections
import logging
import os
import tempfile
import time
import warnings
from pathlib import Path

import torch
import transformers

from tests.faults.kills import OPERATIONS, Kills
from tests.faults.mutations import FINE, KINDS, OUTCOMES, Trial


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kinds", nargs="*", help="parts of kinds' names; all if left out")
    parser.add_argument("--rounds", type=int, default=300, help="damaged files of each kind; 300 if left out")
    parser.add_argument("--kills", type=int, default=60, help="kills of each operation before its end; 60 if left out")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    print(f"transformers {transformers.__version__}, torch {torch.__version__}\n")
    found = []
    print("| operation | its seconds | kills | before its end | wrong |\n|---|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["TASKARITH_HOME"] = f"{scratch}/home"
        for name in OPERATIONS:
            if given.kinds and not any(part in name for part in given.kinds):
                continue
            killing = Kills(name, Path(scratch) / name)
            killed = wrong = seed = 0
            while killed < given.kills:
                early, words = killing.outcome(seed)
                killed, wrong = killed + early, wrong + bool(words)
                if words:
                    found.append(f"- {name}, kill {seed}: {words}")
                seed += 1
            print(f"| {name} | {killing.seconds:.2f} | {seed} | {killed} | {wrong} |", flush=True)
    print(f"\n| file | tried | {' | '.join(OUTCOMES)} | longest |\n|---|---:|{'---:|' * (len(OUTCOMES) + 1)}")
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
