"""The demo: BM25, Θ_0, Θ_D, Θ_T and Θ' on one collection, with significance and the α curve."""

import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pyterrier as pt

from pyterrier_taskarith._files import home
from pyterrier_taskarith.data import Collection, read_collection
from pyterrier_taskarith.demo._collection import build_collection
from pyterrier_taskarith.demo._models import demo_models
from pyterrier_taskarith.evaluation import Comparison, compare
from pyterrier_taskarith.reranker import TaskArithReranker
from pyterrier_taskarith.terrier import first_stage
from pyterrier_taskarith.tuning import BASELINES, FIRST_STAGE, FIXED, TUNED, Tuned, line_up, plot_alpha, tune_each

MEASURES = ["nDCG@10", "nDCG@3", "RR@10", "AP@100"]


@dataclass(frozen=True)
class DemoResult:
    """What the demo found.

    Attributes:
        collection: What it ran on.
        tuned: For each system, what was chosen on the development queries: weight, and for :data:`TUNED` α too.
        alone: The tuned re-ranker when it is not mixed with BM25.
        neural: The comparison of the re-rankers alone, on the test queries.
        fused: The comparison of the mixes, on the test queries.
        plot: The α curve's file.
        source: The collection's folder, or None for the docstrings.
    """

    collection: Collection
    tuned: dict[str, Tuned]
    alone: Tuned
    neural: Comparison
    fused: Comparison
    plot: Path
    source: str | Path | None


def open_demo(collection: str | Path | None = None, *,
              development: str | Path | None = None,
              fields: Sequence[str] = ()) -> tuple[Collection, pt.Transformer]:
    """Returns a collection and its first stage: BM25's top 100 with texts. What was built before is used again.

    Args:
        collection: A folder for :func:`read_collection`; None: the docstring collection.
        development: See :func:`read_collection`.
        fields: See :func:`read_collection`.
    """
    place = home() / "demo"
    data = build_collection(place) if collection is None else read_collection(collection, development=development,
                                                                              fields=fields)
    return data, first_stage(data.documents, place / "indexes")


def run_demo(collection: str | Path | None = None, *, development: str | Path | None = None,
             models: dict[str, str] | None = None, out: str | Path | None = None, verbose: bool = True) -> DemoResult:
    """Tunes on the development queries and compares on the test queries.

    Each system's weight in the mix is tuned for itself; α and weight of the tuned Θ' are tuned together.

    Args:
        collection: A folder for :func:`read_collection`; None: the docstring collection, built where it is absent.
        development: See :func:`read_collection`.
        models: ``ranker``, ``domain`` and ``base``; None: the package's own.
        out: Folder for the plot; None: in the package's cache.
        verbose: Whether to show progress.

    Raises:
        SetupError: If there is no Java.
        MissingPackageError: If numpydoc is not installed.
        TaskArithError: If the collection or the models are not as they should be.
    """
    data, first = open_demo(collection, development=development)
    if verbose:
        print(f"{data!r}\n{data.report}\n", flush=True)
    runs = {split: first(data.topics[split]) for split in ("dev", "test")}
    reranker = TaskArithReranker(**(models or demo_models()), alpha=1.0, verbose=verbose)  # type: ignore[arg-type]
    tuned = tune_each(reranker, runs["dev"], data.qrels["dev"], topics=data.topics["dev"], verbose=verbose)
    best = tuned[TUNED]
    alone = best.among(weights=[1.0])

    neural = line_up({**tuned, TUNED: alone}, runs["test"], weight=1.0, first_stage=None)
    fused = line_up(tuned, runs["test"])
    folder = Path(out) if out is not None else home() / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    plot = folder / f"alpha_curve_{data.name}.png"
    level = float(best.evidence.loc[best.evidence["weight"] == 0, "value"].iloc[0])
    plot_alpha(best.evidence, levels={FIRST_STAGE: level}, chosen=(best.alpha, best.weight), path=plot,
               title=f"{data.name}: {len(data.topics['dev'])} development queries")
    compared = [compare(systems, data.qrels["test"], MEASURES, topics=data.topics["test"],
                        baselines=[name for name in BASELINES if name in systems]) for systems in (neural, fused)]
    return DemoResult(data, tuned, alone, compared[0], compared[1], plot, collection)


def report(result: DemoResult) -> str:
    """Returns what the demo prints: two tables, what is significant, the plot, and the line to paste."""
    best = result.tuned[TUNED]
    chosen = pd.DataFrame([(name, f"{tuned.alpha:g}" if name in (FIXED, TUNED) else "", f"{tuned.weight:g}")
                           for name, tuned in result.tuned.items()], columns=["system", "α", "weight"])
    sizes = f"{len(result.collection.topics['test'])} test queries of {result.collection.name!r}"
    return "\n".join([
        f"1. Re-rankers alone, {sizes}. Tuned alone, Θ' has α = {result.alone.alpha:g}.",
        "", result.neural.to_text(details=True), "", result.neural.in_words(MEASURES[:1]), "",
        f"2. Mixed with BM25 (weight·minmax(re-ranker) + (1 − weight)·minmax(BM25)), {sizes}.",
        "", result.fused.to_text(details=True), "", result.fused.in_words(MEASURES[:1]), "",
        f"Chosen on {len(result.collection.topics['dev'])} development queries, by nDCG@10 (weight 0 is BM25 alone):",
        "", chosen.to_string(index=False), "", f"Θ' (α tuned): {best}.", "",
        f"α curve: {result.plot}", "", "In your own pipeline:", "", paste_line(best, result.source), "", versions()])


def paste_line(best: Tuned, collection: str | Path | None = None) -> str:
    """Returns the code of the tuned pipeline."""
    reranker = best.reranker
    packaged = demo_models()
    given = {"ranker": reranker.ranker, "domain": reranker.domain, "base": reranker.base}
    sources = ", ".join(f"{name}={value!r}" for name, value in given.items())
    arguments = "**demo_models()" if given == packaged else sources
    names = "demo_models, open_demo" if given == packaged else "open_demo"
    place = f"{str(collection)!r}" if collection is not None else ""
    lines = ["from pyterrier_taskarith import Mix, TaskArithReranker",
             f"from pyterrier_taskarith.demo import {names}",
             f"data, first = open_demo({place})       # first: BM25's top 100 with their texts; or a pipeline of yours",
             f"r = TaskArithReranker({arguments}, alpha={best.alpha:g})",
             f"pipeline = first >> Mix(r, weight={best.weight:g})"]
    return "\n".join(f"    {line}" for line in lines)


def versions() -> str:
    """Returns one line naming what the figures depend on."""
    names = ("pyterrier_taskarith", "pyterrier", "torch", "transformers", "numpy", "scipy", "pandas")
    return f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in names)


def main(collection: str | None, development: str | None, models: dict[str, str] | None, out: str | None) -> None:
    """Runs the demo and prints its report."""
    start = time.perf_counter()
    result = run_demo(collection, development=development, models=models, out=out)
    print(report(result))
    print(f"\n{time.perf_counter() - start:.0f} s in all.")
