"""tune_layers with and without kept hidden states, in alternated rounds: python -m benchmarks.layers.

Random weights of published shapes (time does not depend on the values), real texts. Both must see and choose the very
same; the exit status tells.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch
import transformers

from benchmarks._texts import pairs
from benchmarks.scoring import gflops
from pyterrier_taskarith import TaskArithReranker, tune_layers
from pyterrier_taskarith.tuning import LAYER_ALPHAS, REUSE_BYTES, layer_groups
from testing import bert_triple, cross_encoder_triple, t5_triple

#: Model -> how it is made, and by which groups it is tuned.
MODELS = {
    "bi-encoder, MiniLM-L6's shape": (
        lambda folder: bert_triple(folder, hidden=384, layers=6, heads=12, max_seq_length=256), ("thirds", "layers")),
    "cross-encoder, MiniLM-L6's shape": (
        lambda folder: cross_encoder_triple(folder, hidden=384, layers=6, heads=12), ("thirds", "layers")),
    "T5-small's shape": (
        lambda folder: t5_triple(folder, d_model=512, layers=6, heads=8, d_kv=64, d_ff=2048), ("thirds",)),
}


def development(count):
    """Returns a run of 20 texts a query, and judgements: every fourth text is relevant."""
    rows = [(str(n // 20), query, f"d{n}", text, -float(n)) for n, (query, text) in enumerate(pairs(count))]
    run = pd.DataFrame(rows, columns=["qid", "query", "docno", "text", "score"])
    return run, run[["qid", "docno"]][::4].assign(label=1)


def forget(model):
    """Makes a living model compute everything again, as a fresh one would."""
    for memo in (model._memo, model.scorer._tokens, getattr(model.scorer, "_embeddings", None)):
        if memo is not None:
            memo.clear()


def timed(reranker, run, qrels, groups, reuse_bytes):
    forget(reranker.model)
    reranker.copy(alpha=-1.0).transform(run.head(1))  # both begin with other weights than their first
    start = time.perf_counter(), time.process_time()
    # One round from a given start, so that no chance decides how many settings there are.
    tuned = tune_layers(reranker, run, qrels, groups=groups, start=0.5, rounds=1, reuse_bytes=reuse_bytes,
                        verbose=False)
    return time.perf_counter() - start[0], time.process_time() - start[1], tuned


def most_kept(reranker, run, groups):
    """Returns the bytes of hidden states that one group's steps keep."""
    places = [group.first for group in layer_groups(reranker, groups).groups if group.first]
    forget(reranker.model)
    with reranker.model.reusing(places[-1], REUSE_BYTES) as kept:
        reranker.copy(alpha=0.25).transform(run)
    return kept.bytes


def race(reranker, run, qrels, groups, rounds):
    """Prints a row of the table; returns whether both saw the same."""
    wall, processor, seen = {0: [], REUSE_BYTES: []}, {0: [], REUSE_BYTES: []}, {}
    for number in range(rounds):
        for reuse_bytes in list(wall)[::-1 if number % 2 else 1]:
            seconds, busy, seen[reuse_bytes] = timed(reranker, run, qrels, groups, reuse_bytes)
            wall[reuse_bytes].append(seconds)
            processor[reuse_bytes].append(busy)
    scorings = seen[0].scorings
    cells = [f"{statistics.median(taken):.1f} ({', '.join(f'{t:.1f}' for t in taken)})" for taken in wall.values()]
    for times in (wall, processor):
        ratios = [without / kept for without, kept in zip(*times.values(), strict=True)]
        cells.append(f"{statistics.median(ratios):.2f} ({', '.join(f'{ratio:.2f}' for ratio in ratios)})")
    same = seen[0].evidence.equals(seen[REUSE_BYTES].evidence)
    print(f"| {groups} | {scorings} | {' | '.join(cells)} | {most_kept(reranker, run, groups) / 1e6:.0f} MB "
          f"| {'the same' if same else 'DIFFERENT'} |", flush=True)
    return same


def main():
    """Prints a table for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--device", help="such as cuda; None: a GPU where there is one")
    given = parser.parse_args()
    transformers.logging.set_verbosity_error()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32 product {gflops():.0f} GFLOP/s; "
          f"{given.pairs} pairs, {given.rounds} alternated rounds of tune_layers over α = "
          f"{', '.join(f'{alpha:g}' for alpha in LAYER_ALPHAS)}, one round of steps from α = 0.5")
    run, qrels = development(given.pairs)
    same = True
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, (make, partitions)) in enumerate(MODELS.items()):
            triple = make(Path(folder) / str(number))
            reranker = TaskArithReranker(triple.ranker, triple.domain, triple.base, device=given.device,
                                         resident="memory", verbose=False)
            print(f"\n{name}, {reranker.model.options.device or 'default device'}\n\n| groups | scorings "
                  "| seconds without | with kept states | times faster | times less processor time | kept | evidence |")
            print("|---|---|---|---|---|---|---|---|")
            for groups in partitions:
                same &= race(reranker, run, qrels, groups, given.rounds)
    if not same:
        sys.exit("kept states changed what was seen")


if __name__ == "__main__":
    main()
