"""The four tables' rehearsals, killed at random moments: python -m benchmarks.killed_tables.

Each command rehearses once undisturbed, and once killed (SIGKILL) several times, each after a random run, before
it may end; both folders must then hold the same bytes, but for the log, the indexes and what stands in.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TABLES = ("table1", "table2", "table3", "layers")
#: Parts of a folder that say when it was made, or are made anew from the same seed.
OTHER = ("rehearsal", "indexes", "log.txt")


def command(table, folder):
    """Returns a rehearsal's command line."""
    return [sys.executable, "-m", f"experiments.{table}", "--rehearse", "--folder", str(folder), "--device", "cpu"]


def contents(folder):
    """Returns the files that count."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*")
            if path.is_file() and path.relative_to(folder).parts[0] not in OTHER and not path.name.endswith(".lock")}


def start(table, folder):
    """Starts a rehearsal without a word."""
    return subprocess.Popen(command(table, folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                            start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def made(folder):
    """Returns how many runs a folder has; those that are being written are in folders that come and go."""
    return sum(name.endswith(".json") for at, _, names in os.walk(folder / "runs") if not at.endswith(".tmp")
               for name in names)


def killed(table, folder, chance, runs, kills):
    """Kills a rehearsal a random while after a random run, and lets it end; returns the runs that each kill left."""
    there = []
    for left in range(kills, 0, -1):
        process = start(table, folder)
        goal = made(folder) + chance.randint(1, max(1, (runs - made(folder)) // (left + 1)))
        while process.poll() is None and made(folder) < goal:
            time.sleep(0.001)
        time.sleep(chance.random() * 0.05)
        if process.poll() is not None:
            raise SystemExit(f"{table} was not killed, but ended with {process.returncode}")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        there.append(made(folder))
    if start(table, folder).wait():
        raise SystemExit(f"{table} did not end well after {kills} kills")
    return there


def main():
    """Prints a row for each command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    print("| command | undisturbed, s | runs there after each kill | runs | files | of the same bytes |\n"
          "|---|---|---|---|---|---|")
    wrong = False
    for table in TABLES:
        with tempfile.TemporaryDirectory() as scratch:
            whole, broken = Path(scratch) / "whole", Path(scratch) / "broken"
            begin = time.monotonic()
            if start(table, whole).wait():
                raise SystemExit(f"{table} did not end well")
            seconds = time.monotonic() - begin
            runs = made(whole)
            there = killed(table, broken, chance, runs, given.kills)
            expected, found = contents(whole), contents(broken)
            same = sum(found.get(name) == content for name, content in expected.items())
            wrong |= same != len(expected) or found.keys() != expected.keys()
            print(f"| {table} | {seconds:.0f} | {', '.join(map(str, there))} | {runs} | "
                  f"{len(expected)} | {same} |", flush=True)
    if wrong:
        raise SystemExit("not the same bytes")


if __name__ == "__main__":
    main()
