"""Speed of scoring, against pyterrier_t5 and sentence-transformers in the same run: python -m benchmarks.scoring."""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pyterrier_t5 import MonoT5ReRanker
from sentence_transformers import SentenceTransformer

from benchmarks._texts import pairs
from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.demo import demo_models
from pyterrier_taskarith.scorers import ScorerOptions, make_scorer
from testing import t5_triple


def frame(given):
    """Returns a PyTerrier frame of the pairs."""
    return pd.DataFrame([(str(n // 20), f"d{n}", query, text) for n, (query, text) in enumerate(given)],
                        columns=["qid", "docno", "query", "text"])


def gflops(size=1024, rounds=5):
    """Returns the float32 matrix product's speed on all threads: what bounds every figure here."""
    left, right = torch.randn(size, size), torch.randn(size, size)
    left @ right
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        left @ right
        times.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(times) / 1e9


def race(name, systems, count, rounds):
    """Runs the systems in turn, several rounds, and prints medians and ratios to the first."""
    times = {label: [] for label in systems}
    scores = {}
    for _ in range(rounds):
        for label, run in systems.items():
            start = time.perf_counter()
            scores[label] = np.asarray(run())
            times[label].append(time.perf_counter() - start)
    first = next(iter(systems))
    print(f"\n{name}: {count} pairs, {rounds} alternated rounds\n")
    print(f"| system | seconds (median) | pairs/s | × {first} | largest score difference |")
    print("|---|---|---|---|---|")
    for label, taken in times.items():
        median = statistics.median(taken)
        ratio = statistics.median(a / b for a, b in zip(times[first], taken, strict=True))
        difference = np.abs(scores[label] - scores[first]).max()
        print(f"| {label} | {median:.2f} | {count / median:.1f} | {ratio:.2f} | {difference:.1e} |")


def t5(rounds, count, folder):
    """T5-small's shape (60M parameters), random weights."""
    triple = t5_triple(folder, d_model=512, layers=6, heads=8, d_kv=64, d_ff=2048, rows_extra=31000)
    given = pairs(count)
    options = ScorerOptions(torch.float32, torch.device("cpu"))
    ours = make_scorer(Checkpoint(triple.ranker), "seq2seq", options)
    rows = frame(given)

    def score():
        ours._tokens.clear()
        return ours.score([query for query, _ in given], [text for _, text in given], "Θ_T")

    systems = {}
    for size in (4, 1, 16):
        peer = MonoT5ReRanker(tok_model=str(triple.ranker), model=str(triple.ranker), batch_size=size, verbose=False,
                              device="cpu")
        systems[f"pyterrier_t5, batch {size}"] = lambda peer=peer: peer.transform(rows)["score"]
    race("T5-small's shape", {**systems, "pyterrier_taskarith": score}, count, rounds)


def bi_encoder(rounds, count):
    """The demo's ranker: 4.4M parameters, real weights."""
    given = pairs(count)
    ranker = demo_models()["ranker"]
    ours = make_scorer(Checkpoint(ranker), "bi-encoder", ScorerOptions(torch.float32, torch.device("cpu")))
    peer = SentenceTransformer(ranker, device="cpu", model_kwargs={"dtype": torch.float32})
    queries, texts = [query for query, _ in given], [text for _, text in given]

    def score():
        ours._tokens.clear()
        ours._embeddings.clear()
        return ours.score(queries, texts, "Θ_T")

    def peers(size):
        left, right = (peer.encode(part, batch_size=size, convert_to_tensor=True) for part in (queries, texts))
        return torch.cosine_similarity(left, right).numpy()

    race("Bi-encoder, the demo's", {"sentence-transformers, batch 32": lambda: peers(32),
                                    "sentence-transformers, batch 128": lambda: peers(128),
                                    "pyterrier_taskarith": score}, count, rounds)


def main():
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--t5-pairs", type=int, default=160)
    parser.add_argument("--bi-encoder-pairs", type=int, default=2000)
    given = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32 product {gflops():.0f} GFLOP/s")
    bi_encoder(given.rounds, given.bi_encoder_pairs)
    with tempfile.TemporaryDirectory() as folder:
        t5(given.rounds, given.t5_pairs, Path(folder))


if __name__ == "__main__":
    main()
