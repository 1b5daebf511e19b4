"""The best α and weight on a development set, or on the average of several."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from ir_measures import Measure

from pyterrier_taskarith.data import first_few
from pyterrier_taskarith.errors import DataError, TaskArithError
from pyterrier_taskarith.evaluation import highest, parse_measures
from pyterrier_taskarith.fusion import Mix
from pyterrier_taskarith.reranker import TaskArithReranker
from pyterrier_taskarith.tuning._development import AVERAGE, Frames, developments
from pyterrier_taskarith.tuning._sweep import (
    ALPHAS,
    WEIGHTS,
    Alphas,
    alpha_grid,
    checked_weights,
    interpolated,
    make_curves,
    scored,
    sweep,
)

#: In which order α and the weight are chosen.
ORDERS = ("joint", "alpha-first")
#: Which of equal settings is chosen.
PREFERRED = ("smallest", "largest")


@dataclass(frozen=True)
class Tuned:
    """What tuning chose, and why.

    Attributes:
        alpha: The chosen α; by vector, where each had values of its own.
        weight: The chosen weight of the re-ranker in the mix.
        measure: The label of the measure.
        value: Its mean at the chosen setting, on the development set, or on average over several; never interpolated.
        reranker: The re-ranker at the chosen α; it shares its model with the one that was tuned.
        evidence: The sweep it was read from, as :func:`sweep` returns it.
        error: Where values of α were interpolated, how far off scores were with one node left out: what
            ``AlphaCurve.error`` returns, with a column ``collection`` where there are several; else None.
    """

    alpha: Any
    weight: float
    measure: str
    value: float
    reranker: TaskArithReranker
    evidence: pd.DataFrame
    error: pd.DataFrame | None = None

    def among(self, *, alphas: Alphas | None = None, weights: Sequence[float] | None = None,
              prefer: str = "smallest") -> "Tuned":
        """Returns the best setting of a part of the grid, read from the evidence: nothing is scored.

        Args:
            alphas: Values of α that may be chosen, by vector where they were swept so; None: all that were swept.
            weights: Weights that may be chosen; ``[1.0]`` is the re-ranker alone.
            prefer: As in :func:`tune`.

        Raises:
            ValueError: If the sweep has none of them.
        """
        chosen = best_setting(self.evidence, alphas=alphas, weights=weights, prefer=prefer)
        return _tuned(self.reranker, chosen, self.evidence, self.error)

    @property
    def mix(self) -> Mix:
        """The fusion at the chosen weight, to put behind the first stage."""
        return Mix(self.reranker, weight=self.weight)

    def __str__(self) -> str:
        rows = counted(self.evidence)
        text = f"α = {_in_words(self.alpha)}, weight = {self.weight:g}: {self.measure} {self.value:.4f}"
        if "collection" in self.evidence.columns:
            text += f" on average over {self.evidence['collection'].nunique() - 1} development sets"
        tied = int(highest(rows["value"]).sum())
        notes = [f"{tied} of {len(rows)} settings tie"] if tied > 1 else []
        if self.weight == 0:
            notes.append("weight 0: the first stage alone, the re-ranker is not used")
        edges = [column for column in alpha_columns(rows) if rows[column].nunique() > 1
                 and _of(self.alpha, column) in (rows[column].min(), rows[column].max())]
        notes += [f"{column.replace('alpha', 'α', 1)} is at the edge of the grid" for column in edges]
        if self.error is not None:
            notes.append(f"other α interpolated: with one node left out, Kendall τ {self.error['kendall'].min():.3f} "
                         "at worst")
        return f"{text} ({'; '.join(notes)})" if notes else text


def tune(reranker: TaskArithReranker, run: Frames, qrels: Frames, *, alphas: Alphas = ALPHAS,
         weights: Sequence[float] = WEIGHTS, measure: str | Measure = "nDCG@10", order: str = "joint",
         prefer: str = "smallest", topics: Frames | None = None, nodes: Sequence[float] | None = None,
         resume: str | Path | None = None, verbose: bool = True, ties: str | None = None) -> Tuned:
    """Chooses α and the mix's weight for the highest mean of a measure on a development set.

    The weight often matters more than α: with a weak re-ranker, .5/.5 can be below the first stage at every α.
    Both are therefore tuned together by default.

    Args:
        reranker: The re-ranker to tune; its own α is left as it is.
        run: The first stage's results on the development queries; of several sets a dict, see :func:`sweep`. The
            average over the sets is then what counts, each set the same.
        qrels: Their judgements.
        alphas: Values of α, or by the vectors' names values for each.
        weights: Weights of the re-ranker; ``[1.0]`` tunes the re-ranker alone.
        measure: What to maximise.
        order: "joint", or "alpha-first": α by the re-ranker alone, then the weight at that α (the paper's order).
        prefer: Of equal means, "smallest" takes the smallest |α| (of several vectors, the smallest sum of them), then
            the smallest weight; "largest" takes the largest.
        topics: The queries that were asked; see :func:`sweep`.
        nodes: See :func:`sweep`. The run is then scored once more at the α that comes out best; its value, and the
            choice of the weight, are exact.
        resume: See :func:`sweep`.
        verbose: Whether to show progress.
        ties: The old name of ``prefer``.

    Raises:
        TypeError: As :func:`sweep`.
        ValueError: As :func:`sweep`, or if ``order`` or ``prefer`` is unknown, or there are several measures.
    """
    if ties is not None:
        warnings.warn("tune(ties=…) is called prefer=… now", DeprecationWarning, stacklevel=2)
        prefer = ties
    check_choice(order, prefer)
    if len(labels := parse_measures(measure)) > 1:
        raise TaskArithError(f"measure={measure!r} stands for {len(labels)} measures ({first_few(labels.values())}): "
                             "give the one to maximise")
    weights = checked_weights(weights)
    asked = weights if order == "joint" or 1.0 in weights else [*weights, 1.0]
    if nodes is None:
        evidence = sweep(reranker, run, qrels, alphas=alphas, weights=asked, measures=measure, topics=topics,
                         resume=resume, verbose=verbose)
        return _tuned(reranker, best_setting(evidence, weights=weights, order=order, prefer=prefer), evidence, None)
    if resume is not None or isinstance(alphas, Mapping):
        sweep(reranker, run, qrels, alphas=alphas, nodes=nodes, resume=resume, topics=topics)  # says why not
    grid, sets = alpha_grid(reranker, alphas), developments(run, qrels, topics, measure, reranker.columns)
    curves = make_curves(reranker, sets, nodes, verbose)
    evidence = interpolated(grid, asked, sets, curves, False)
    alpha = float(best_setting(evidence, weights=weights, order=order, prefer=prefer)["alpha"])
    if not all(alpha in curve.nodes for curve in curves.values()):
        rows = scored(reranker.copy(alpha=alpha), sets, asked, False)
        evidence.loc[evidence["alpha"] == alpha, "value"] = [row[-1] for row in rows]
        evidence.loc[evidence["alpha"] == alpha, "interpolated"] = False
    errors = pd.concat([curve.error if name == "" else curve.error.assign(collection=name)
                        for name, curve in curves.items()], ignore_index=True)
    chosen = best_setting(evidence, alphas=[alpha], weights=weights, order=order, prefer=prefer)
    return _tuned(reranker, chosen, evidence, errors)


def best_setting(evidence: pd.DataFrame, *, alphas: Alphas | None = None, weights: Sequence[float] | None = None,
                 order: str = "joint", prefer: str = "smallest") -> pd.Series:
    """Returns the row of a sweep with the highest value; nothing is scored.

    Args:
        evidence: What :func:`sweep` or :func:`sweep_runs` returned, in one measure.
        alphas: Values of α that may be chosen, by vector where they were swept so; None: all that were swept.
        weights: Weights that may be chosen; ``[1.0]`` is the re-ranker alone; None: all that were swept.
        order: "joint", or "alpha-first": α by the re-ranker alone (weight 1), then the weight at that α.
        prefer: Of equal values (but for the last bits, ``MEAN_TOLERANCE``), "smallest" takes the smallest |α| (of
            several vectors, the smallest sum of them), then the smallest weight; "largest" takes the largest.

    Raises:
        TaskArithError: If ``order`` or ``prefer`` is unknown.
        DataError: If the sweep has no such setting.
    """
    check_choice(order, prefer)
    rows = counted(evidence)
    asked = {"alpha": alphas} if not isinstance(alphas, Mapping) else {
        f"alpha.{name}": values for name, values in alphas.items()}
    for column, values in asked.items():
        if values is not None:
            rows = rows[rows[column].isin(list(map(float, values)))] if column in rows.columns else rows[:0]
    if order == "alpha-first":
        columns = alpha_columns(rows)
        alone = _best(rows[rows["weight"] == 1.0], prefer, alphas, [1.0])
        rows = rows[(rows[columns] == alone[columns]).all(axis=1)]
    if weights is not None:
        rows = rows[rows["weight"].isin(list(map(float, weights)))]
    return _best(rows, prefer, alphas, weights)


def _best(rows: pd.DataFrame, prefer: str, alphas: Alphas | None, weights: Sequence[float] | None) -> pd.Series:
    if not len(rows):
        raise DataError(f"the sweep has no setting with alphas={alphas} and weights={weights}")
    best = rows[highest(rows["value"])]
    sizes = best.assign(size=best[alpha_columns(best)].abs().sum(axis=1).round(12))
    return sizes.sort_values(["size", "weight"], ascending=prefer == "smallest", kind="stable").iloc[0]


def check_choice(order: str, prefer: str) -> None:
    """Refuses unknown words.

    Raises:
        TaskArithError: If one is unknown.
    """
    if order not in ORDERS or prefer not in PREFERRED:
        raise TaskArithError(f"order={order!r}, prefer={prefer!r}: choose order from {ORDERS} and prefer from "
                             f"{PREFERRED}")


def counted(evidence: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows that are chosen from: of several development sets, their average."""
    return evidence[evidence["collection"] == AVERAGE] if "collection" in evidence.columns else evidence


def alpha_columns(rows: pd.DataFrame) -> list[str]:
    """Returns the columns that hold α: ``alpha``, or ``alpha.name`` for each vector."""
    return [column for column in rows.columns if column == "alpha" or column.startswith("alpha.")]


def _tuned(reranker: TaskArithReranker, chosen: pd.Series, evidence: pd.DataFrame,
           error: pd.DataFrame | None) -> Tuned:
    columns = alpha_columns(evidence)
    alpha: float | dict[str, float] = float(chosen["alpha"]) if columns == ["alpha"] else {
        column.removeprefix("alpha."): float(chosen[column]) for column in columns}
    return Tuned(alpha, float(chosen["weight"]), str(chosen["measure"]), float(chosen["value"]),
                 reranker.copy(alpha=alpha), evidence, error)


def _of(alpha: float | dict[str, float], column: str) -> float:
    return alpha[column.removeprefix("alpha.")] if isinstance(alpha, dict) else alpha


def _in_words(alpha: float | dict[str, float]) -> str:
    if isinstance(alpha, dict):
        return ", ".join(f"{value:g} {name}" for name, value in alpha.items())
    return f"{alpha:g}"
