"""A sweep's frame, read for a plot: one measure over α and weight, as means or query by query."""

from __future__ import annotations

import pandas as pd
from pandas.api.types import is_numeric_dtype

from pyterrier_taskarith.data import first_few

COLUMNS = ["alpha", "weight", "measure", "value"]


def read_evidence(evidence: pd.DataFrame, measure: str | None = None) -> tuple[str, pd.DataFrame]:
    """Takes one measure out of a sweep.

    Args:
        evidence: Columns alpha, weight, measure, value: means over queries; with a column qid, a value for each query.
        measure: A label; None: the first.

    Returns:
        The label, and its rows, sorted by α, weight and qid.

    Raises:
        TypeError: If it is no frame.
        ValueError: If it lacks a column, rows or the measure, has α that is no number, or two values for one setting.
    """
    if not isinstance(evidence, pd.DataFrame):
        raise TypeError(f"evidence is a {type(evidence).__name__}: give the DataFrame that sweep returns, or a tuned "
                        "result's evidence")
    if missing := [column for column in COLUMNS if column not in evidence.columns]:
        raise ValueError(f"evidence lacks column {first_few(missing)}: it has {list(evidence.columns)}; give what "
                         "sweep returns")
    if evidence.empty:
        raise ValueError("evidence has no rows: there is nothing to draw")
    measure = str(evidence["measure"].iloc[0]) if measure is None else measure
    rows = evidence[evidence["measure"] == measure]
    if rows.empty:
        raise ValueError(f"the sweep has no {measure!r}; it has {sorted(evidence['measure'].unique())}")
    for column in ("alpha", "weight", "value"):
        if not is_numeric_dtype(rows[column]) or rows[column].isna().any():
            raise ValueError(f"evidence has values in column {column!r} that are no numbers, such as "
                             f"{_no_number(rows[column])!r}")
    key = ["alpha", "weight", *(["qid"] if "qid" in rows.columns else [])]
    if (repeated := rows.duplicated(key)).any():
        named = ", ".join(f"{column} {value}" for column, value in rows.loc[repeated, key].iloc[0].items())
        raise ValueError(f"evidence has two values of {measure} for {named}: if it is of several development sets or "
                         "vectors, give the rows of one")
    return measure, rows.sort_values(key, ignore_index=True)


def setting_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over queries: alpha, weight, value; rows that are means already stay as they are."""
    return rows.groupby(["alpha", "weight"], as_index=False)["value"].mean()


def _no_number(values: pd.Series) -> object:
    bad = values[pd.to_numeric(values, errors="coerce").isna()].tolist()
    return bad[0] if bad else values.iloc[0]
