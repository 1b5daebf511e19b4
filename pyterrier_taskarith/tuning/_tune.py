"""The best α and weight on a development set."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from ir_measures import Measure

from pyterrier_taskarith.fusion import Mix
from pyterrier_taskarith.reranker import TaskArithReranker
from pyterrier_taskarith.tuning._sweep import ALPHAS, WEIGHTS, sweep

ORDERS = ("joint", "alpha-first")
TIES = ("smallest", "largest")


@dataclass(frozen=True)
class Tuned:
    """What tuning chose, and why.

    Attributes:
        alpha: The chosen α.
        weight: The chosen weight of the re-ranker in the mix.
        measure: The label of the measure.
        value: Its mean at the chosen setting, on the development set.
        reranker: The re-ranker at the chosen α; it shares its model with the one that was tuned.
        evidence: The sweep it was read from: alpha, weight, measure, value.
    """

    alpha: float
    weight: float
    measure: str
    value: float
    reranker: TaskArithReranker
    evidence: pd.DataFrame

    def among(self, *, alphas: Sequence[float] | None = None, weights: Sequence[float] | None = None,
              ties: str = "smallest") -> "Tuned":
        """Returns the best setting of a part of the grid, read from the evidence: nothing is scored.

        Args:
            alphas: Values of α that may be chosen; None: all that were swept.
            weights: Weights that may be chosen; ``[1.0]`` is the re-ranker alone.
            ties: As in :func:`tune`.

        Raises:
            ValueError: If the sweep has none of them.
        """
        rows = self.evidence
        for column, values in (("alpha", alphas), ("weight", weights)):
            rows = rows if values is None else rows[rows[column].isin([float(value) for value in values])]
        if not len(rows):
            raise ValueError(f"the sweep has no setting with alphas={alphas} and weights={weights}")
        return _tuned(self.reranker, _best(rows, ties), self.evidence)

    @property
    def mix(self) -> Mix:
        """The fusion at the chosen weight, to put behind the first stage."""
        return Mix(self.reranker, weight=self.weight)

    def __str__(self) -> str:
        text = f"α = {self.alpha:g}, weight = {self.weight:g}: {self.measure} {self.value:.4f}"
        tied = int((self.evidence["value"] == self.value).sum())
        notes = [f"{tied} of {len(self.evidence)} settings tie"] if tied > 1 else []
        if self.weight == 0:
            notes.append("weight 0: the first stage alone, the re-ranker is not used")
        swept = self.evidence["alpha"]
        if swept.nunique() > 1 and self.alpha in (swept.min(), swept.max()):
            notes.append("α is at the edge of the grid")
        return f"{text} ({'; '.join(notes)})" if notes else text


def tune(reranker: TaskArithReranker, run: pd.DataFrame, qrels: pd.DataFrame, *, alphas: Sequence[float] = ALPHAS,
         weights: Sequence[float] = WEIGHTS, measure: str | Measure = "nDCG@10", order: str = "joint",
         ties: str = "smallest", topics: pd.DataFrame | None = None, verbose: bool = True) -> Tuned:
    """Chooses α and the mix's weight for the highest mean of a measure on a development set.

    The weight often matters more than α: with a weak re-ranker, .5/.5 can be below the first stage at every α.
    Both are therefore tuned together by default.

    Args:
        reranker: The re-ranker to tune; its own α is left as it is.
        run: The first stage's results on the development queries; see :func:`sweep`.
        qrels: Their judgements.
        alphas: Values of α.
        weights: Weights of the re-ranker; ``[1.0]`` tunes the re-ranker alone.
        measure: What to maximise.
        order: "joint", or "alpha-first": α by the re-ranker alone, then the weight at that α (the paper's order).
        ties: Of equal means, "smallest" takes the smallest |α|, then the smallest weight; "largest" the largest.
        topics: The queries that were asked; see :func:`sweep`.
        verbose: Whether to show progress.

    Raises:
        ValueError: As :func:`sweep`, or if ``order`` or ``ties`` is unknown.
    """
    if order not in ORDERS or ties not in TIES:
        raise ValueError(f"order={order!r}, ties={ties!r}: choose order from {ORDERS} and ties from {TIES}")
    weights = [float(weight) for weight in weights]
    asked = weights if order == "joint" or 1.0 in weights else [*weights, 1.0]
    evidence = sweep(reranker, run, qrels, alphas=alphas, weights=asked, measures=measure, topics=topics,
                     verbose=verbose)
    if order == "alpha-first":
        alpha = _best(evidence[evidence["weight"] == 1.0], ties)["alpha"]
        chosen = _best(evidence[(evidence["alpha"] == alpha) & evidence["weight"].isin(weights)], ties)
    else:
        chosen = _best(evidence, ties)
    return _tuned(reranker, chosen, evidence)


def _tuned(reranker: TaskArithReranker, chosen: pd.Series, evidence: pd.DataFrame) -> Tuned:
    alpha = float(chosen["alpha"])
    return Tuned(alpha, float(chosen["weight"]), str(chosen["measure"]), float(chosen["value"]),
                 reranker.copy(alpha=alpha), evidence)


def _best(rows: pd.DataFrame, ties: str) -> pd.Series:
    """Returns the row with the highest value, ties resolved."""
    best = rows[rows["value"] == rows["value"].max()]
    order = best.assign(size=best["alpha"].abs()).sort_values(["size", "weight"], ascending=ties == "smallest",
                                                              kind="stable")
    return order.iloc[0]
