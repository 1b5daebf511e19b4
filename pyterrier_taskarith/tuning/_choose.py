"""The best setting of a sweep: which rows count, and which of equal settings is chosen."""

from collections.abc import Mapping, Sequence

import pandas as pd

from pyterrier_taskarith.errors import DataError, TaskArithError
from pyterrier_taskarith.evaluation import highest
from pyterrier_taskarith.tuning._development import AVERAGE
from pyterrier_taskarith.tuning._settings import Alphas

#: In which order α and the weight are chosen.
ORDERS = ("joint", "alpha-first")
#: Which of equal settings is chosen.
PREFERRED = ("smallest", "largest")


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
