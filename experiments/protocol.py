"""The paper's protocol on stored runs: α first, then λ. Nothing is scored for λ: a run is mixed as it is."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import pyterrier as pt
from ir_measures import AP, P, nDCG

from experiments.datasets import Dataset
from experiments.loading import DEVELOPMENT
from experiments.paper import TUNED, printed_curves
from experiments.scoring import Workbench
from experiments.systems import System
from pyterrier_taskarith import Mix
from pyterrier_taskarith.tuning import aligned, best_setting, sweep_runs

MEASURES = (P @ 10, nDCG @ 3, nDCG @ 10, AP @ 100)
#: What α and λ are chosen by.
TUNED_BY = nDCG @ 10
ALPHAS: tuple[float, ...] = tuple(step / 10 for step in range(1, 11))
#: λ is BM25's weight, as in the paper; Mix's weight is 1 − λ.
LAMBDAS: tuple[float, ...] = tuple(step / 10 for step in range(11))
UNTUNED_LAMBDA = 0.5
#: How Θ' may be scored while α is chosen, which the paper does not say -> λ.
READINGS = {"alone": 0.0, "half": 0.5}


@dataclass(frozen=True, eq=False)
class Choice:
    """The α of a system, and what it was read from.

    Attributes:
        system: The system's name.
        reading: How Θ' was scored: "alone" or "half".
        alpha: The α with the highest average over the development sets.
        curves: Columns reading, dataset, alpha, value: nDCG@10 on the development sets.
    """

    system: str
    reading: str
    alpha: float
    curves: pd.DataFrame

    def alpha_of(self, reading: str) -> float:
        """Returns the α of a reading."""
        return best_alpha(averages(self.curves, reading))

    def distance(self, reading: str) -> float:
        """Returns how far a reading is from the paper's Table 3: the mean of |ours − paper's| over its figures.

        NaN where the paper has no such system.
        """
        theirs = printed_curves()
        ours = self.curves[self.curves["reading"] == reading].merge(
            theirs[theirs["system"] == self.system], on=["dataset", "alpha"], suffixes=("", "_paper"))
        return float((ours["value"] - ours["value_paper"]).abs().mean())


def averages(curves: pd.DataFrame, reading: str) -> pd.Series:
    """Returns the average over the development sets for each α, of one reading."""
    rows = curves[curves["reading"] == reading]
    return rows.pivot(index="alpha", columns="dataset", values="value").mean(axis=1, skipna=False)


def best_alpha(means: pd.Series) -> float:
    """Returns the α with the highest mean; of equal ones the largest.

    The paper's rule: its DistilBERT has the same average at .1 and .5, and the paper .5.

    Args:
        means: α -> mean; NaN is never chosen.
    """
    rows = pd.DataFrame({"alpha": means.index, "weight": 1.0, "value": means.to_numpy()})
    return float(best_setting(rows, prefer="largest")["alpha"])


def choose_alpha(bench: Workbench, system: System, developments: Sequence[Dataset], reading: str,
                 alphas: Sequence[float] = ALPHAS) -> Choice:
    """Chooses α for the highest average of nDCG@10 over the development sets, each counting the same.

    Args:
        bench: Where runs are.
        system: The system.
        developments: The datasets whose development queries count.
        reading: A key of :data:`READINGS`.
        alphas: What to choose from.
    """
    rows = []
    for dataset in developments:
        runs = {alpha: bench.neural(system, dataset, DEVELOPMENT, TUNED, alpha) for alpha in alphas}
        found = evaluated(bench, dataset, runs, READINGS.values())
        rows += [(name, dataset.name, alpha, value) for (name, alpha), value in zip(
            ((name, alpha) for alpha in alphas for name in READINGS), found["value"], strict=True)]
    curves = pd.DataFrame(rows, columns=["reading", "dataset", "alpha", "value"])
    return Choice(system.name, reading, best_alpha(averages(curves, reading)), curves)


def choose_lambda(bench: Workbench, system: System, dataset: Dataset, variant: str, alpha: float | None,
                  ) -> tuple[float, pd.Series]:
    """Chooses λ for one system, variant and dataset, by nDCG@10 on the dataset's development queries.

    Of equal values the largest λ is taken, which leans on the re-ranker least. Where the dataset tunes none it is .5.

    Returns:
        λ, and λ -> nDCG@10 (empty where nothing was tuned).
    """
    if not dataset.tunes_weight:
        return UNTUNED_LAMBDA, pd.Series(dtype="float64")
    run = bench.neural(system, dataset, DEVELOPMENT, variant, alpha)
    found = evaluated(bench, dataset, {1.0: run}, LAMBDAS)
    chosen = best_setting(found, prefer="smallest")  # Mix's weight is 1 − λ
    return LAMBDAS[int(chosen.name)], pd.Series(found["value"].to_numpy(), index=pd.Index(LAMBDAS, name="λ"))


def evaluated(bench: Workbench, dataset: Dataset, runs: Mapping[float, pd.DataFrame],
              lambdas: Iterable[float]) -> pd.DataFrame:
    """Returns nDCG@10 on a dataset's development queries for each α and, within it, each λ: see ``sweep_runs``.

    Args:
        bench: Where the first stage's run is.
        dataset: The dataset.
        runs: α -> a re-ranker's run.
        lambdas: BM25's weights.
    """
    loaded = bench.data(dataset)
    return sweep_runs(runs, bench.first(dataset, DEVELOPMENT), loaded.qrels[DEVELOPMENT],
                      weights=[1 - weight for weight in lambdas], measures=TUNED_BY, topics=loaded.topics[DEVELOPMENT])


def values(bench: Workbench, dataset: Dataset, run: pd.DataFrame, lambdas: Iterable[float]) -> list[float]:
    """Returns nDCG@10 of a run on the development queries, mixed with the first stage, for each λ."""
    return [float(value) for value in evaluated(bench, dataset, {1.0: run}, lambdas)["value"]]


def mixed(first: pd.DataFrame, run: pd.DataFrame, weight_of_bm25: float) -> pd.DataFrame:
    """Returns λ·minmax(BM25) + (1 − λ)·minmax(run), with ranks.

    Args:
        first: The first stage's run.
        run: A re-ranker's run of the same rows, in any order.
        weight_of_bm25: λ.
    """
    return Mix(_Stored(run), weight=1 - weight_of_bm25)(first[["qid", "docno", "score"]])


class _Stored(pt.Transformer):
    """Scores rows as a run of the same rows does."""

    def __init__(self, run: pd.DataFrame) -> None:
        self.run = run

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        pt.validate.result_frame(inp, context=self)
        return inp.assign(score=aligned(self.run, inp).to_numpy() if len(inp) else [])
