"""What suggest_alpha chooses without labels, and what that costs: python -m experiments.suggest_alpha.

The demo's collection and models always; SciFact too where TASKARITH_SHARED names a folder with data/collections/scifact
and models/{ranker,domain,base}. Writes results/suggest_alpha.md beside this file. With --cache, a run that was killed
goes on.
"""

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyterrier as pt
from ir_measures import nDCG

from experiments.suggestion import SUGGESTED, Suggestion, suggest_alpha
from pyterrier_taskarith import TaskArithReranker
from pyterrier_taskarith.demo import demo_models, open_demo, versions

OUT = Path(__file__).parent / "results" / "suggest_alpha.md"
MEASURE = nDCG @ 10
FIXED = (0.0, 0.3, 0.5, 1.0)

NO_MEMORY = ("Θ_D saw docstrings of other packages only; those that share 13 consecutive words with this collection "
             "were left out of its training. B is sound here.")
UNKNOWN = ("Θ_D was adapted to biomedical text without labels. It is not stated whether these abstracts were among "
           "that text. If they were, B rewards memory: see the row without B, A + C.")
FOREIGN = "Θ_D was adapted to Python docstrings, and saw none of these abstracts: a vector of the wrong domain."


@dataclass(frozen=True)
class Case:
    """A collection and three models.

    Attributes:
        name: The heading.
        collection: The collection's folder; None: the demo's.
        models: ``ranker``, ``domain`` and ``base``.
        note: What Θ_D was trained on, as far as is known.
    """

    name: str
    collection: Path | None
    models: dict[str, str]
    note: str


def cases() -> Iterator[Case]:
    """Yields what can be run here."""
    packaged = demo_models()
    yield Case("Docstrings, packaged models", None, packaged, NO_MEMORY)
    if "TASKARITH_SHARED" in os.environ:
        shared = Path(os.environ["TASKARITH_SHARED"])
        biomedical = {name: str(shared / "models" / name) for name in ("ranker", "domain", "base")}
        scifact = shared / "data" / "collections" / "scifact"
        yield Case("SciFact, general ranker, biomedical vector", scifact, biomedical, UNKNOWN)
        yield Case("SciFact, packaged ranker, biomedical vector", scifact,
                   {**biomedical, "ranker": packaged["ranker"]}, UNKNOWN)
        yield Case("SciFact, packaged ranker, docstring vector", scifact, packaged, FOREIGN)


def section(case: Case, cache: Path | None) -> str:
    """Returns the Markdown of one case."""
    data, first = open_demo(case.collection)
    # All queries of SciFact's folder are its 300 test queries, which open_demo would divide into halves.
    splits = ["test"] if case.collection is None else list(data.topics)
    topics, qrels = (pd.concat([part[split] for split in splits], ignore_index=True)
                     for part in (data.topics, data.qrels))
    run = first(topics)
    reranker = TaskArithReranker(**case.models, verbose=False)  # type: ignore[arg-type]
    print(f"{case.name}: {data.documents.count} documents, {len(topics)} test queries", flush=True)
    suggestions = suggest(reranker, data.documents.head(), run)
    truth = curve(reranker.copy(cache=cache), run, topics, qrels)
    means = truth.mean(axis=1)
    main = next(iter(suggestions.values()))
    return "\n".join([
        f"## {case.name}", "", f"{data.documents.count} documents, {len(topics)} test queries. {case.note}", "",
        table(chosen(suggestions, means)), "",
        f"The best α on the test queries is {means.idxmax():g}. The suggestion of the whole recipe, {main.alpha:g}, "
        f"against fixed values:", "", table(against(main.alpha, truth)), "", "The curves:", "",
        table(main.curve.assign(**{"true nDCG@10": means.to_numpy()}).map(lambda value: f"{value:.3f}")
              .assign(alpha=[f"{alpha:g}" for alpha in main.curve["alpha"]])), ""])


def suggest(reranker: TaskArithReranker, documents: pd.DataFrame, run: pd.DataFrame) -> dict[str, Suggestion]:
    """Returns the suggestions of the whole recipe and of its parts."""
    return {
        "A + B + C: corpus and queries": suggest_alpha(reranker, documents, run),
        "A + C: Θ_D was trained on the corpus": suggest_alpha(reranker, documents, run, trained_on_corpus=True),
        "A + B: no queries": suggest_alpha(reranker, documents, None),
        "C: no corpus": suggest_alpha(reranker, None, run),
    }


def curve(reranker: TaskArithReranker, run: pd.DataFrame, topics: pd.DataFrame, qrels: pd.DataFrame) -> pd.DataFrame:
    """Returns nDCG@10 of the re-ranker alone, scored exactly: a row for each α, a column for each query."""
    rows = {}
    for alpha in SUGGESTED:
        ranked = reranker.copy(alpha=alpha).transform(run)
        values = pt.Experiment([ranked], topics, qrels, [MEASURE], perquery=True)
        rows[alpha] = values.set_index("qid")["value"]
        print(f"  α = {alpha:g}: {rows[alpha].mean():.4f}", flush=True)
    return pd.DataFrame(rows).T


def chosen(suggestions: dict[str, Suggestion], means: pd.Series) -> pd.DataFrame:
    """Returns a row for each suggestion: α, its spread, the quality there and the loss against the best α."""
    loss = 1000 * (means.max() - means)
    rows = []
    for name, found in suggestions.items():
        again = float(found.curve["share"].to_numpy() @ loss.to_numpy())
        rows.append((name, ", ".join(map(str, found.queries.values())), f"{found.alpha:g}",
                     f"{found.deviation:.2f}", f"{found.low:g} to {found.high:g}",
                     f"{means[found.alpha]:.4f}", f"{loss[found.alpha]:.1f}", f"{again:.1f}"))
    return pd.DataFrame(rows, columns=["criteria", "queries of each", "α", "s.d.", "95 % interval", "nDCG@10",
                                       "loss × 1000", "mean loss over resamples × 1000"])


def against(alpha: float, truth: pd.DataFrame) -> pd.DataFrame:
    """Returns a row for each fixed α: its quality, its loss, and the suggestion's gain over it with its error."""
    means = truth.mean(axis=1)
    rows = []
    for name, fixed in [*((f"{fixed:g}", fixed) for fixed in FIXED), (f"{means.idxmax():g} (best)", means.idxmax())]:
        gain = 1000 * (truth.loc[alpha] - truth.loc[fixed])
        error = gain.std(ddof=1) / np.sqrt(len(gain))
        rows.append((name, f"{means[fixed]:.4f}", f"{1000 * (means.max() - means[fixed]):.1f}",
                     f"{gain.mean():+.1f} ± {error:.1f}"))
    return pd.DataFrame(rows, columns=["α", "nDCG@10", "loss × 1000", "gain of the suggestion × 1000 ± s.e."])


def table(frame: pd.DataFrame) -> str:
    """Returns a Markdown table."""
    lines = [list(frame.columns), ["---"] * frame.shape[1], *frame.astype(str).values.tolist()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


HEAD = """\
# α without labels

`python -m experiments.suggest_alpha`: what `suggest_alpha` chose, and nDCG@10 of the re-ranker alone on the test
queries, which were read for this report only (their words, without judgements, served criterion C). The loss is against
the best α of 0, 0.1 … 1.2 *on the test queries*, which nobody could have known; it is × 1000. s.e.: standard error of
the mean difference over queries. Over resamples: the loss averaged over what the bootstrap chose.
"""


def main() -> None:
    """Runs every case and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT, help="the Markdown file (%(default)s)")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="keep the scores of the true curve in this folder")
    given = parser.parse_args()
    parts = [HEAD, *(section(case, given.cache) for case in cases()), versions(), ""]
    given.out.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
