"""Memory of pt.Experiment over the four variants of one re-ranker: python -m benchmarks.variants_memory.

The bound is three float32 models (live weights, Θ_T, τ) and 300 MB, above what the same experiment takes with a tiny
model: the libraries' code, the tokenizer and the frames.
"""

import argparse
import math
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

MB = 2**20


def measure(tiny, folder):
    """Runs the experiment in this process, with a tiny triple and then with the one to measure."""
    import pandas as pd
    import pyterrier as pt
    from ir_measures import nDCG

    from pyterrier_taskarith import TaskArithReranker
    from testing import passages, questions

    texts, queries = passages(200, seed=1, longest=100), questions(10, seed=1)
    run = pd.DataFrame([(str(q), query, f"d{n}", text, float(-n)) for q, query in enumerate(queries)
                        for n, text in enumerate(texts[20 * q:20 * q + 20])],
                       columns=["qid", "query", "docno", "text", "score"])
    qrels = run.groupby("qid").head(3)[["qid", "docno"]].assign(label=1)

    def experiment(models):
        reranker = TaskArithReranker(models / "ranker", models / "domain", models / "base", alpha=0.5, verbose=False)
        variants = reranker.variants()
        systems = [pt.Transformer.from_df(run) >> variant for variant in variants.values()]
        pt.Experiment(systems, run[["qid", "query"]].drop_duplicates(), qrels, [nDCG @ 10], names=list(variants))
        return reranker.model, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    _, before = experiment(tiny)
    model, after = experiment(folder)
    size = 4 * sum(math.prod(shape) for shape in model.plan.ranker.shapes.values())
    print(f"{size / MB:.0f} {(after - before) / MB:.0f} {model.weights.switches} {model.residence.choice}")


def main():
    """Makes a triple of BERT-base's shape and measures in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", type=Path, nargs=2, metavar=("TINY", "FOLDER"))
    given = parser.parse_args()
    if given.measure:
        measure(*given.measure)
        return
    from testing import bert_triple

    print("| files | float32 model, MB | peak above the tiny model's, MB | bound (3 models + 300), MB | models "
          "| switches |\n|---|---|---|---|---|---|")
    for layout in ("safetensors", "bin"):
        with tempfile.TemporaryDirectory() as folder:
            tiny, real = Path(folder) / "tiny", Path(folder) / "real"
            bert_triple(tiny, layout=layout)
            bert_triple(real, hidden=768, layers=12, heads=12, vocab=30522, layout=layout)
            done = subprocess.run([sys.executable, "-m", "benchmarks.variants_memory", "--measure", tiny, real],
                                  check=True, capture_output=True, text=True)
            size, peak, switches, resident = done.stdout.split()[-4:]
            print(f"| {layout}, {resident} | {size} | {peak} | {3 * int(size) + 300} | {int(peak) / int(size):.2f} "
                  f"| {switches} |")


if __name__ == "__main__":
    main()
