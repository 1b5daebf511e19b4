"""Tuning α × weight against pt.GridSearch around a plain re-ranker: python -m benchmarks.sweep.

Prints the times on the demo's collection (or on --timed FOLDER) and, for each collection, how far scores interpolated
in α through five nodes are from the exact ones. SciFact joins where TASKARITH_SHARED names a folder with
data/collections/scifact in it. Every measurement is a forked process of its own, so that nothing is remembered from
round to round; imports are done before. Needs fork (Linux).
"""

import argparse
import contextlib
import io
import multiprocessing
import os
import statistics
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import ir_measures
import numpy as np
import pandas as pd
import pyterrier as pt
import torch
import transformers
import transformers.models.bert.modeling_bert
from ir_measures import nDCG

from benchmarks._peer import PlainReranker
from benchmarks.scoring import gflops
from pyterrier_taskarith import Mix, TaskArithReranker, tune
from pyterrier_taskarith.demo import demo_models, open_demo
from pyterrier_taskarith.fusion import minmax
from pyterrier_taskarith.tuning import ALPHAS, NODES, WEIGHTS, AlphaCurve, kendall

MEASURE = nDCG @ 10
QUERIES, DEEP = 50, 100


@dataclass
class Development:
    """A stored first stage: BM25's top 100 with texts for 50 judged queries."""

    name: str
    topics: pd.DataFrame
    qrels: pd.DataFrame
    run: pd.DataFrame

    def top(self, depth):
        """Returns it with the best documents of each query."""
        run = self.run[self.run["rank"] < depth].reset_index(drop=True)
        return Development(self.name, self.topics, self.qrels, run)


def apart(function, *arguments):
    """Returns what a function returns in a forked process of its own; what it prints goes to stderr."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)

    def work():
        with contextlib.redirect_stdout(io.StringIO()):
            theirs.send(function(*arguments))

    process = context.Process(target=work)
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        sys.exit(f"{function.__name__} failed; see above")
    finally:
        process.join()


def first_stage(folder):
    """Returns the development queries of a collection with BM25's results; needs Java."""
    data, first = open_demo(folder)
    topics = data.topics["dev"].head(QUERIES)
    # pt.GridSearch averages over all queries of the qrels.
    qrels = data.qrels["dev"][data.qrels["dev"]["qid"].isin(topics["qid"])]
    return Development(data.name, topics, qrels, first(topics))


def reranker():
    return TaskArithReranker(**demo_models(), verbose=False)


# Systems: each returns (α, weight, nDCG@10, scorings of the run).

def peer_grid(dev):
    system = PlainReranker(**demo_models())
    return (*grid_search(system, dev), system.scorings)


def our_grid(dev):
    system = reranker()
    return (*grid_search(system, dev), scorings(system, dev))


def grid_search(system, dev):
    mix = Mix(system)
    value, setting = pt.GridSearch(
        pt.Transformer.from_df(dev.run) >> mix, {system: {"alpha": list(ALPHAS)}, mix: {"weight": list(WEIGHTS)}},
        dev.topics, dev.qrels, "ndcg_cut_10", return_type="best_setting")
    chosen = {name: value for _, name, value in setting}
    return chosen["alpha"], chosen["weight"], value


def exact(dev):
    system = reranker()
    tuned = tune(system, dev.run, dev.qrels, topics=dev.topics, measure=MEASURE, verbose=False)
    return tuned.alpha, tuned.weight, tuned.value, scorings(system, dev)


def nodes(dev):
    system = reranker()
    tuned = tune(system, dev.run, dev.qrels, topics=dev.topics, measure=MEASURE, nodes=NODES, verbose=False)
    return tuned.alpha, tuned.weight, tuned.value, scorings(system, dev)


def scorings(system, dev):
    """Returns how many times each distinct query and text was embedded."""
    return system.model.scorer.texts_embedded / (dev.run["query"].nunique() + dev.run["text"].nunique())


BY_NODES = "tune, five nodes"
SYSTEMS = {"pt.GridSearch, plain re-ranker": peer_grid, "tune, exact": exact, BY_NODES: nodes,
           "pt.GridSearch, TaskArithReranker": our_grid}


def timed(name, dev):
    torch.set_num_threads(torch.get_num_threads())  # also starts the threads
    start = time.perf_counter()
    found = SYSTEMS[name](dev)
    return time.perf_counter() - start, found


class Evaluator:
    """nDCG@10 of mixes of one stored run."""

    def __init__(self, dev):
        self.qids, self.docnos = dev.run["qid"], dev.run["docno"].tolist()
        self.first = minmax(self.qids, dev.run["score"])
        self.rows = dev.run.groupby("qid").indices
        self.evaluator = ir_measures.evaluator([MEASURE], pt.model.to_ir_measures(dev.qrels))

    def mean(self, weight, scores):
        """Returns nDCG@10 of the re-ranker's scores, mixed with the first stage's by a weight."""
        mixed = weight * minmax(self.qids, pd.Series(scores)) + (1 - weight) * self.first
        run = {qid: {self.docnos[row]: float(mixed[row]) for row in rows} for qid, rows in self.rows.items()}
        return self.evaluator.calc_aggregate(run)[MEASURE]


def fidelity(dev):
    """Returns a row for each α: how far interpolated scores are from exact ones; and the curve's own error."""
    system, evaluator, rows = reranker(), Evaluator(dev), []
    curve = AlphaCurve(system, dev.run, verbose=False)
    for alpha in ALPHAS:
        true, guessed = system.copy(alpha=alpha).transform(dev.run)["score"].to_numpy(), curve.scores(alpha)
        tau = kendall(dev.run["qid"].to_numpy(), true, guessed)
        values = np.array([[evaluator.mean(weight, scores) for scores in (true, guessed)] for weight in WEIGHTS])
        rows.append((alpha, np.nanmean(tau), np.nanmin(tau), *values[-1], values[-1, 1] - values[-1, 0],
                     np.abs(values[:, 1] - values[:, 0]).max()))
    return rows, str(curve)


def race(dev, rounds):
    """Prints the times of all systems, in turn, several rounds; they must choose the same setting."""
    texts = dev.run["text"].nunique()
    print(f"\n{dev.name}: {len(dev.topics)} queries, {len(dev.run)} pairs ({texts} distinct texts), "
          f"{len(ALPHAS)} α × {len(WEIGHTS)} weights, {rounds} alternated rounds\n", flush=True)
    times = {name: [] for name in SYSTEMS}
    chosen = {}
    for _ in range(rounds):
        for name in SYSTEMS:
            seconds, chosen[name] = apart(timed, name, dev)
            times[name].append(seconds)
            print(f"{name}: {seconds:.1f} s, {chosen[name]}", file=sys.stderr, flush=True)
    peer = next(iter(SYSTEMS))
    print("| system | seconds (median; all) | times faster (median; all) | scorings | α | weight | nDCG@10 |")
    print("|---|---|---|---|---|---|---|")
    for name, taken in times.items():
        ratios = [theirs / ours for theirs, ours in zip(times[peer], taken, strict=True)]
        alpha, weight, value, count = chosen[name]
        print(f"| {name} | {statistics.median(taken):.1f} ({', '.join(f'{t:.1f}' for t in taken)}) "
              f"| {statistics.median(ratios):.1f} ({', '.join(f'{r:.1f}' for r in ratios)}) "
              f"| {count:.0f} | {alpha:g} | {weight:g} | {value:.4f} |", flush=True)
    return chosen


def show_fidelity(dev):
    rows, error = apart(fidelity, dev)
    print(f"\n{dev.name}: interpolated against exact scores, {len(dev.topics)} queries, {len(dev.run)} pairs.")
    print(f"{error}.")
    print("\n| α | Kendall τ, mean | worst query | nDCG@10, exact | interpolated | difference "
          "| largest difference over weights |")
    print("|---|---|---|---|---|---|---|")
    for alpha, mean, worst, true, guessed, difference, largest in rows:
        print(f"| {alpha:g} | {mean:.4f} | {worst:.4f} | {true:.4f} | {guessed:.4f} | {difference:+.4f} "
              f"| {largest:.4f} |", flush=True)


def main():
    """Prints the tables; the exit status tells whether all exact systems chose the same setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--depth", type=int, default=25, help="documents of a query, for the times")
    parser.add_argument("--timed", metavar="FOLDER", help="a collection to time on, instead of the demo's")
    given = parser.parse_args()
    transformers.logging.set_verbosity_error()  # the peer's loads would each report what the base lacks
    transformers.logging.disable_progress_bar()
    start = time.perf_counter()
    shared = os.environ.get("TASKARITH_SHARED")
    folders = [None] + ([Path(shared) / "data" / "collections" / "scifact"] if shared else [])
    speed, threads = apart(lambda: (gflops(), torch.get_num_threads()))
    print(f"torch {torch.__version__}, sentence-transformers {version('sentence-transformers')}, "
          f"pyterrier {version('pyterrier')}, {threads} threads, float32 product {speed:.0f} GFLOP/s")
    chosen = race(apart(first_stage, given.timed).top(given.depth), given.rounds)
    for folder in folders:
        show_fidelity(apart(first_stage, folder).top(DEEP))
    print(f"\n{(time.perf_counter() - start) / 60:.1f} minutes in all.")
    settings = {name: found[:2] for name, found in chosen.items() if name != BY_NODES}
    if len(set(settings.values())) > 1:
        sys.exit(f"systems that are exact chose different settings (α, weight): {settings}")


if __name__ == "__main__":
    main()
