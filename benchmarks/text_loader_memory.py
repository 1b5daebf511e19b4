"""Memory of re-ranking with texts from a document store: python -m benchmarks.text_loader_memory.

Every pair has a document of its own, real text of the demo's collection with a number in it, in a file on disk; the
frame has ids alone. The bound is 200 MB above what the same process takes for a tenth of the pairs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

#: MB.
BOUND = 200


def write(folder, count):
    """Writes a documents file of ``count`` texts."""
    from benchmarks._texts import pairs

    texts = [text for _, text in pairs(2000)]
    with (folder / "docs.jsonl").open("w", encoding="utf-8") as out:
        for number in range(count):
            out.write(json.dumps({"docno": f"d{number}", "text": f"{number} {texts[number % 2000]}"}) + "\n")


def measure(folder, count, family, loaded):
    """Re-ranks ``count`` pairs in this process, at two values of α."""
    import pandas as pd

    from pyterrier_taskarith import TaskArithReranker
    from pyterrier_taskarith.data import StoredTexts
    from testing import bert_triple, t5_triple

    make = {"bi-encoder": bert_triple, "T5": t5_triple}[family]

    documents = StoredTexts(folder, folder / "place")
    run = pd.DataFrame({"qid": [f"q{row // 1000}" for row in range(count)],
                        "query": [f"return a sorted copy of array {row // 1000}" for row in range(count)],
                        "docno": [f"d{row}" for row in range(count)]})
    models = vars(make(folder / f"{family}-{count}-{loaded}"))
    options = {"text_loader": documents} if loaded else {}
    reranker = TaskArithReranker(**models, alpha=0.5, verbose=False, max_length=32, **options)
    start = time.perf_counter()
    for alpha in (0.5, 0.7):
        reranker.alpha = alpha
        reranker.transform(run if loaded else documents(run))
    seconds = time.perf_counter() - start
    # Not getrusage's: a process starts with its parent's.
    peak, = (int(line.split()[1]) / 1024 for line in Path("/proc/self/status").read_text().splitlines()
             if line.startswith("VmHWM:"))
    print(peak, seconds)


def main():
    """Measures each case in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--measure", nargs=4, metavar=("FOLDER", "PAIRS", "FAMILY", "LOADED"))
    given = parser.parse_args()
    if given.measure:
        folder, count, family, loaded = given.measure
        measure(Path(folder), int(count), family, loaded == "yes")
        return
    print(f"| model | texts | pairs | peak, MB | above {given.pairs // 10:,} pairs, MB | bound, MB | seconds |\n"
          "|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write(folder, given.pairs)
        for family, loaded in (("bi-encoder", "yes"), ("T5", "yes"), ("bi-encoder", "no")):
            few = None
            for count in (given.pairs // 10, given.pairs):
                done = subprocess.run([sys.executable, "-m", "benchmarks.text_loader_memory", "--measure", folder,
                                       str(count), family, loaded], check=True, capture_output=True, text=True)
                peak, seconds = map(float, done.stdout.split()[-2:])
                above = "" if few is None else f"{peak - few:.0f}"
                few = peak if few is None else few
                print(f"| {family} | {'text_loader' if loaded == 'yes' else 'in the frame'} | {count:,} | {peak:.0f} | "
                      f"{above} | {BOUND if above and loaded == 'yes' else ''} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
