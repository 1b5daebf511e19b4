"""Two systems query by query: which pair is meant, and the table of its differences, best or worst queries first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from pyterrier_taskarith.evaluation._significance import highest

if TYPE_CHECKING:
    from pyterrier_taskarith.evaluation._comparison import Comparison

# Which queries come first → the key to sort the differences by, ascending.
ORDERS = {"best": lambda differences: -differences, "worst": lambda differences: differences,
          "changed": lambda differences: -differences.abs()}


@dataclass(frozen=True)
class Pair:
    """A system and the baseline that it is held against, in one measure."""

    system: str
    baseline: str
    measure: str

    def differences(self, comparison: Comparison) -> pd.Series:
        """System − baseline for each query: index qid, float64, in the order of the qids."""
        values = query_values(comparison, self.measure)
        return values[self.system] - values[self.baseline]


def pair_of(comparison: Comparison, system: str | None, measure: str | None, baseline: str | None) -> Pair:
    """Fills in what is not named.

    Args:
        comparison: A comparison.
        system: None: the tested system with the highest mean in that measure (the first of the table, in a tie).
        measure: None: the first.
        baseline: Any other system; None: the best baseline in that measure.

    Raises:
        ValueError: A name that the comparison does not have, or a system that is held against itself.
    """
    means, tests = comparison.means, comparison.tests
    measure = str(means.columns[0]) if measure is None else measure
    if measure not in means.columns:
        raise ValueError(f"the comparison has no measure {measure!r}; it has {list(means.columns)}")
    for name in (system, baseline):
        if name is not None and name not in means.index:
            raise ValueError(f"the comparison has no system {name!r}; it has {list(means.index)}")
    in_measure = tests[tests["measure"] == measure]
    if system is None:
        tested = means.loc[in_measure["system"], measure]
        system = str(tested.index[highest(tested)][0])
    if baseline is None:
        baseline = str(in_measure["baseline"].iloc[0])
    if system == baseline:
        raise ValueError(f"{system!r} would be held against itself in {measure}: name another system= or baseline=")
    return Pair(system, baseline, measure)


def query_values(comparison: Comparison, measure: str) -> pd.DataFrame:
    """One measure as a table: queries (index qid) × systems, float64."""
    rows = comparison.per_query[comparison.per_query["measure"] == measure]
    table = rows.pivot(index="qid", columns="system", values="value")[list(comparison.means.index)]
    return table.rename_axis(columns=None)


def queries_table(comparison: Comparison, pair: Pair, first: str) -> pd.DataFrame:
    """The queries with every system's value and the difference of a pair.

    Args:
        comparison: A comparison.
        pair: Whose difference it is.
        first: A key of `ORDERS`.

    Raises:
        ValueError: An unknown order, or a system called "query" or "difference", as the table's own columns are.
    """
    if first not in ORDERS:
        raise ValueError(f"first={first!r}: choose one of {', '.join(map(repr, ORDERS))}")
    table = query_values(comparison, pair.measure)
    if taken := [name for name in ("query", "difference") if name in table.columns]:
        raise ValueError(f"a system is called {taken[0]!r}, as a column of this table is: give it another name")
    table["difference"] = pair.differences(comparison)
    if comparison.texts is not None:
        table.insert(0, "query", comparison.texts.reindex(table.index))
    # Stable, so that queries of equal difference stay in the order of their ids.
    return table.sort_values("difference", kind="stable", key=ORDERS[first])
