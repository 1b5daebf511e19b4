"""The merge methods against mergekit's functions on the same tensors: python -m benchmarks.methods --mergekit PYTHON.

mergekit lives in an environment of its own, whose Python is given. DARE is left out: its choice is random.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from pyterrier_taskarith import TaskVector
from pyterrier_taskarith.arithmetic.methods import Breadcrumbs, Trim
from pyterrier_taskarith.checkpoints import Checkpoint
from testing import bert_triple

DENSITIES = (0.1, 0.2, 0.5, 0.9)
OUTLIERS = 0.05

#: What mergekit computes, in its own process: reads two τ of each parameter, writes one tensor for each method.
THEIRS = """
import sys
from importlib.metadata import version
import torch
from mergekit.merge_methods.generalized_task_arithmetic import get_mask
from mergekit.sparsify import magnitude, magnitude_outliers
from safetensors.torch import load_file, save_file

first, second = load_file(sys.argv[1]), load_file(sys.argv[2])
out = {}
for density in %(densities)r:
    for name in first:
        out[f"trim {density} {name}"] = magnitude(first[name], density)
        out[f"breadcrumbs {density} {name}"] = magnitude_outliers(first[name], density, gamma=%(outliers)r)
        deltas = torch.stack([magnitude(tau, density) for tau in (first[name], second[name])])
        agrees = get_mask(deltas, method="sum") & (deltas != 0)
        out[f"TIES {density} {name}"] = (deltas * agrees).sum(0) / agrees.sum(0).clamp(min=1)
save_file({name: tensor.contiguous() for name, tensor in out.items()}, sys.argv[3])
print(version("mergekit"))
"""


def main() -> None:
    """Prints one row for each method and density: weights compared, share that differs, largest difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mergekit", required=True, metavar="PYTHON")
    python = parser.parse_args().mergekit
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        vectors = []
        for seed in range(2):
            triple = bert_triple(place / str(seed), hidden=128, layers=2, seed=seed)
            vectors.append(TaskVector(triple.domain, triple.base))
        names = [name for name in Checkpoint(triple.ranker).shapes if name in vectors[0].terms[0].difference.shapes]
        taus = [{name: vector.terms[0].tensor(name) for name in names} for vector in vectors]
        files = [place / f"{part}.safetensors" for part in ("first", "second", "theirs")]
        for tau, file in zip(taus, files[:2], strict=True):
            save_file(tau, file)
        script = THEIRS % {"densities": DENSITIES, "outliers": OUTLIERS}
        ran = subprocess.run([python, "-c", script, *map(str, files)], check=True, capture_output=True, text=True)
        theirs = load_file(files[2])
        print(f"mergekit {ran.stdout.split()[-1]}, torch {torch.__version__}; two vectors of a BERT of width 128\n")
        print("| method | density | weights | differ | largest difference |\n|---|---|---|---|---|")
        for density in DENSITIES:
            ties = TaskVector.ties(*vectors, density=density).terms[0]
            ours = {"trim": lambda name, d=density: Trim(d).apply(taus[0][name].clone(), name),
                    "breadcrumbs": lambda name, d=density: Breadcrumbs(d, OUTLIERS).apply(taus[0][name].clone(), name),
                    "TIES": ties.tensor}
            for method, compute in ours.items():
                gaps = [(compute(name) - theirs[f"{method} {density} {name}"]).abs() for name in names]
                count = sum(gap.numel() for gap in gaps)
                differ = sum(int((gap > 1e-7).sum()) for gap in gaps)
                print(f"| {method} | {density} | {count} | {differ} | {max(float(gap.max()) for gap in gaps):.1e} |")


if __name__ == "__main__":
    main()
