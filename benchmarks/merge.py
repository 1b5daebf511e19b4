"""Merging to disk against mergekit and plain state dicts, as whole processes: python -m benchmarks.merge."""

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks import _mergekit
from benchmarks._precision import misrounded
from benchmarks._processes import timed
from testing import llama_triple, t5_triple

GB = 1e9
ALPHA = 0.7
#: What every system here must do before its first line of work, and none can make faster.
TORCH = "`import torch` alone"
PEERS = ("mergekit", "plain state dicts")
OURS = """
import sys
from pyterrier_taskarith import Checkpoint, TaskVector
ranker, domain, base, alpha, out, dtype = sys.argv[1:]
(Checkpoint(ranker) + float(alpha) * TaskVector(domain, base)).save(out, dtype=dtype or None)
"""
#: The merged model in memory instead of on disk: its weights are set from the three models' files, then set again.
LIVE = """
import sys, time
import pandas as pd
from pyterrier_taskarith import TaskArithReranker
ranker, domain, base = sys.argv[1:]
r = TaskArithReranker(ranker, domain, base, alpha=0.7, dtype="bfloat16", weights="disk", verbose=False)
pair = pd.DataFrame({"qid": ["1"], "query": ["the text"], "docno": ["d"], "text": ["a text"]})
r(pair)
start = time.perf_counter()
r.alpha = 0.3
r.model.weights.set(r.setting)
print(f"another α took {time.perf_counter() - start:.1f} s")
"""
#: What one writes without a library for it: three state dicts in memory, float32 arithmetic, one rounding.
PLAIN = """
import shutil, sys
from pathlib import Path
from safetensors.torch import load_file, save_file
ranker, domain, base, alpha, out = sys.argv[1:]
def load(folder):
    return {name: tensor for path in sorted(Path(folder).glob("*.safetensors"))
            for name, tensor in load_file(path).items()}
T, D, B = load(ranker), load(domain), load(base)
merged = {name: (t.float() + float(alpha) * (D[name].float() - B[name].float())).to(t.dtype) for name, t in T.items()}
Path(out).mkdir()
save_file(merged, Path(out) / "model.safetensors", metadata={"format": "pt"})
for path in Path(ranker).iterdir():
    if path.suffix != ".safetensors" and not path.name.endswith("index.json"):
        shutil.copyfile(path, Path(out) / path.name)
"""


def t5(folder, version):
    """Writes T5-base's shape in float32: 248M parameters in version 1.1, 223M in 1.0."""
    shape = {"d_model": 768, "layers": 12, "heads": 12, "d_kv": 64, "rows_extra": 31500}
    if version == "1.0":
        return t5_triple(folder, d_ff=3072, **shape)
    triple = t5_triple(folder, kind="mt5", d_ff=2048, **shape)
    for path in (triple.ranker, triple.domain, triple.base):  # mT5's layout is T5 1.1's
        config = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps({**config, "model_type": "t5",
                                                      "architectures": ["T5ForConditionalGeneration"]}))
    return triple


def llama(folder):
    """Writes a Llama of 1.74 billion parameters in bfloat16, in shards with different boundaries."""
    return llama_triple(folder, hidden=2048, layers=32, heads=32, intermediate=5632, vocab=32000, dtype=torch.bfloat16)


def large(folder):
    """Writes Llama-2-7B's shape in bfloat16: 13.5 GB each."""
    return llama_triple(folder, hidden=4096, layers=32, heads=32, intermediate=11008, vocab=32000,
                        dtype=torch.bfloat16, shards={"base": 14, "domain": 15, "ranker": 16})


class Race:
    """The systems that merge one triple, each as a command."""

    def __init__(self, triple, folder, mergekit, dtype):
        self.triple, self.folder, self.mergekit, self.dtype = triple, folder, mergekit, dtype
        self.known, self.out = folder / "known", folder / "out"
        self.names = [TORCH, "plain state dicts", "ours, hashes known", "ours, hashes computed"]
        if mergekit:
            self.names.insert(1, "mergekit")
        self.figures = {name: [] for name in self.names}

    def run(self, name):
        """Runs one system once; returns exit status, seconds and peak of anonymous memory."""
        shutil.rmtree(self.out, ignore_errors=True)
        if name == "mergekit":
            line = _mergekit.command(self.mergekit, self.triple, ALPHA, self.dtype, self.out,
                                     self.folder / "recipe.yaml")
            return timed(line, log=self.folder / "log")
        if name == TORCH:
            return timed([sys.executable, "-c", "import torch"], log=self.folder / "log")
        if name.startswith("plain"):
            return timed([sys.executable, "-c", PLAIN, *self._models(), ALPHA, self.out], log=self.folder / "log")
        return self.ours(ALPHA, "", fresh=name.endswith("computed"))

    def ours(self, alpha, dtype, *, fresh=False):
        """Runs this package."""
        home = self.folder / "fresh" if fresh else self.known
        shutil.rmtree(self.folder / "fresh", ignore_errors=True)
        shutil.rmtree(self.out, ignore_errors=True)
        return timed([sys.executable, "-c", OURS, *self._models(), alpha, self.out, dtype],
                     {"TASKARITH_HOME": str(home)}, log=self.folder / "log")

    def live(self):
        """Scores one pair with the merged model, and sets another α."""
        return timed([sys.executable, "-c", LIVE, *self._models()], log=self.folder / "log")

    def _models(self):
        return [self.triple.ranker, self.triple.domain, self.triple.base]

    def log(self):
        """Returns the last line that a system wrote."""
        if not (self.folder / "log").is_file():
            return "it wrote nothing"
        return next((line for line in reversed((self.folder / "log").read_text().splitlines()) if line.strip()), "")

    def rounds(self, count):
        """Runs all systems in turn, after one round that fills the page cache and the hashes' memory."""
        for number in range(count + 1):
            for name in self.names:
                figures = self.run(name)
                if figures[0]:
                    raise SystemExit(f"{name} failed: {self.log()}")
                if number:
                    self.figures[name].append(figures[1:])
        shutil.rmtree(self.out, ignore_errors=True)

    def table(self):
        """Prints seconds, ratios and memory, of whole processes and of what they do beside importing torch."""
        size = sum(path.stat().st_size for path in self.triple.ranker.glob("*.safetensors"))
        least, peak = (statistics.median(column) for column in zip(*self.figures[TORCH], strict=True))
        print("| system | seconds (median) | × mergekit | × plain | seconds above `import torch` | × mergekit "
              "| × plain | GB/s, read and written | anonymous memory, GB | above `import torch` |\n"
              "|---|---|---|---|---|---|---|---|---|---|")
        for name, figures in self.figures.items():
            seconds, memory = statistics.median(first for first, _ in figures), max(second for _, second in figures)
            above = seconds - least
            cells = [f"{seconds:.2f}", *[""] * 6, f"{memory / GB:.2f}", ""] if name == TORCH else [
                f"{seconds:.2f}", *(self._ratio(peer, name) for peer in PEERS), f"{above:.2f}",
                *(self._ratio(peer, name, least) for peer in PEERS), f"{4 * size / GB / above:.2f}",
                f"{memory / GB:.2f}", f"{(memory - peak) / GB:.2f}"]
            print(f"| {' | '.join([name, *cells])} |", flush=True)

    def _ratio(self, peer, name, least=0.0):
        """Returns the median ratio of a round, each less the seconds that both spend on the same."""
        if peer not in self.figures or name in (peer, TORCH):
            return ""
        pairs = zip(self.figures[peer], self.figures[name], strict=True)
        return f"{statistics.median((theirs[0] - least) / (ours[0] - least) for theirs, ours in pairs):.2f}"


def race(title, triple, folder, given, dtype, outputs):
    """Runs and prints one race, then what the merge must keep: α = 0, and the precision of output dtypes."""
    size = sum(path.stat().st_size for path in triple.ranker.glob("*.safetensors"))
    print(f"\n### {title}: 3 × {size / GB:.2f} GB read, {size / GB:.2f} GB written\n", flush=True)
    made = Race(triple, folder, given.mergekit, dtype)
    made.rounds(given.rounds)
    made.table()
    exact(made, outputs)


def exact(made, outputs):
    """Prints whether α = 0 gives Θ_T's bytes, and how exact output dtypes are."""
    made.ours(0.0, "")
    differ = differing_tensors(made.out, made.triple.ranker)
    print(f"\nα = 0: {differ} tensors differ from Θ_T's bytes.\n")
    print(f"| output | weights not rounded to the nearest for α = {ALPHA}, % | for float32(α), % | largest distance "
          "from the rounded exact value for float32(α), units in the last place |\n|---|---|---|---|")
    for dtype in outputs:
        status, _, _ = made.ours(ALPHA, dtype)
        if status:
            raise SystemExit(f"saving in {dtype} failed: {made.log()}")
        share, share_for_32, farthest = misrounded(made.out, made.triple, ALPHA)
        print(f"| {dtype} | {100 * share:.4f} | {100 * share_for_32:.4f} | "
              f"{f'{farthest:.0f}' if dtype == 'float32' else ''} |", flush=True)
    shutil.rmtree(made.out)


def differing_tensors(left, right):
    """Returns how many tensors of two folders are not the same bytes."""
    from pyterrier_taskarith.checkpoints import Checkpoint

    ours, theirs = Checkpoint(left), Checkpoint(right)
    if ours.raw.keys() != theirs.raw.keys():
        raise SystemExit(f"{left} and {right} hold different names")
    return sum(not torch.equal(*(checkpoint.raw[name].tensor(name).contiguous().view(torch.uint8)
                                 for checkpoint in (ours, theirs))) for name in ours.raw)


def failure(triple, folder, given):
    """Prints what mergekit says of a model that it cannot merge."""
    made = Race(triple, folder, given.mergekit, "float32")
    status, _, _ = made.run("mergekit")
    print(f"\nmergekit on T5 1.0: {'it merges' if status == 0 else f'fails: `{made.log()}`'}", flush=True)


def seven_billion(folder, given):
    """Prints time, memory and GB/s of one real-size merge, beside cat and cp."""
    triple = large(folder / "triple")
    made = Race(triple, folder, None, "bfloat16")
    weights = {role: sorted(path.glob("*.safetensors")) for role, path in vars(triple).items()}
    size = {role: sum(path.stat().st_size for path in paths) for role, paths in weights.items()}
    read = sum(size.values())
    print(f"\n### Llama-2-7B's shape, bfloat16: {read / GB:.1f} GB read, {size['ranker'] / GB:.1f} GB written\n")
    print("| what | seconds | GB/s, read and written | anonymous memory, GB |\n|---|---|---|---|")
    every = [path for paths in weights.values() for path in paths]
    copied = folder / "copied"
    lines = [("cat, all three models", read, lambda: timed(["cat", *every])),
             ("cp, one model", 2 * size["ranker"], lambda: timed(["cp", *weights["ranker"], copied])),
             ("merge, hashes computed", read + size["ranker"], lambda: made.ours(ALPHA, "")),
             ("merge, hashes known", read + size["ranker"], lambda: made.ours(ALPHA, "")),
             ("live re-ranker, streamed: loaded, set and one pair scored", size["ranker"] + read, made.live)]
    for what, moved, run in lines:
        copied.mkdir()
        status, seconds, peak = run()
        if status:
            raise SystemExit(f"{what} failed: {made.log()}")
        shutil.rmtree(copied)
        print(f"| {what} | {seconds:.1f} | {moved / GB / seconds:.2f} | {peak / GB:.2f} |", flush=True)
    print(f"\nThe live model is {size['ranker'] / GB:.2f} GB; {made.log()}.", flush=True)


def main():
    """Prints all tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mergekit", metavar="PYTHON", help="the interpreter of an environment with mergekit")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["t5", "llama"], help="one of the two races")
    parser.add_argument("--large", action="store_true", help="a real-size 7B instead: 55 GB of disk")
    parser.add_argument("--folder", type=Path, help="where temporary files go")
    given = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores; Python {platform.python_version()}, torch "
          f"{torch.__version__}, {torch.get_num_threads()} threads. {time.strftime('%Y-%m-%d')}")
    if given.mergekit:
        print(f"Peer: {_mergekit.version(given.mergekit)}.")
    print(f"\nWhole processes, start to end, α = {ALPHA}, {given.rounds} alternated rounds after one that fills the "
          "page cache.")
    every = ("float32", "bfloat16", "float16")
    cases = [("t5", "T5 1.1 base's shape, float32", lambda folder: t5(folder, "1.1"), given.mergekit, every),
             ("t5", "T5 1.0 base's shape, float32", lambda folder: t5(folder, "1.0"), None, every),
             ("llama", "Llama's shape, 1.74 billion parameters, bfloat16, sharded", llama, given.mergekit,
              ("bfloat16",))]
    if given.large:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            seven_billion(Path(folder), given)
        return
    for name, title, make, peer, outputs in cases:
        if given.only in (None, name):
            with tempfile.TemporaryDirectory(dir=given.folder) as folder:
                triple = make(Path(folder) / "triple")
                if given.mergekit and peer is None:
                    failure(triple, Path(folder), given)
                race(title, triple, Path(folder), argparse.Namespace(**{**vars(given), "mergekit": peer}), outputs[0],
                     outputs)


if __name__ == "__main__":
    main()
