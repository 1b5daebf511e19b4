"""The conclusion of a comparison in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pyterrier_taskarith.evaluation._procedure import percent
from pyterrier_taskarith.evaluation.tables import decimal, interval, one_line, p_value

if TYPE_CHECKING:
    from pyterrier_taskarith.evaluation._comparison import Comparison

# Verdict → words before the measures, word before the baseline; in the order in which they are told.
VERDICTS = {
    "better": ("significantly better in", "than"),
    "worse": ("significantly worse in", "than"),
    "undecided": ("not significantly different in", "from"),
    "equal": ("identical for every query in", "to"),
    "untested": ("untested for want of queries in", "against"),
}


def conclusion(comparison: Comparison, measures: Sequence[str] | None = None) -> str:
    """Says which systems are significantly better or worse than the best baseline, and in which measures.

    Args:
        comparison: A comparison.
        measures: The labels to speak of; None: all.

    Returns:
        One sentence: procedure, then for each tested system its verdicts, each with the baseline, the mean difference,
        the corrected p value and the confidence interval.
    """
    procedure, n = comparison.procedure, comparison.n_queries
    clauses = []
    rows = comparison.tests
    if measures is not None:
        rows = rows[rows["measure"].isin(measures)]
    for system, tests in rows.groupby("system", sort=False):
        told: dict[str, list[str]] = {verdict: [] for verdict in VERDICTS}
        for test in tests.itertuples():
            verdict = _verdict(test, n)
            told[verdict].append(f"{one_line(test.measure)} ({VERDICTS[verdict][1]} {one_line(test.baseline)}"
                                 f"{_evidence(test, verdict)})")
        parts = [f"{VERDICTS[verdict][0]} {_listed(measures)}" for verdict, measures in told.items() if measures]
        clauses.append(f"{one_line(system)} is {', and '.join(parts)}")
    kind = "" if procedure.interval == "t" else f"{procedure.interval} "
    p, level = "corrected p" if procedure.correction else "p", percent(procedure.interval_confidence)
    return (f"By a {procedure}, on {n} {'query' if n == 1 else 'queries'} (in parentheses: mean difference, {p}, "
            f"{level} {kind}confidence interval), {'; '.join(clauses)}.")


def _verdict(test: Any, n_queries: int) -> str:  # noqa: ANN401 (a row of DataFrame.itertuples)
    if test.significant:
        return "better" if test.difference > 0 else "worse"
    if n_queries == 1:
        return "untested"
    return "equal" if test.ties == n_queries else "undecided"


def _evidence(test: Any, verdict: str) -> str:  # noqa: ANN401 (a row of DataFrame.itertuples)
    if verdict == "equal":
        return ""
    if verdict == "untested":
        return f": {decimal(test.difference, sign=True)}"
    p = p_value(test.p_corrected)
    p = f"p < {p[1:]}" if p.startswith("<") else f"p = {p}"
    return f": {decimal(test.difference, sign=True)}, {p}, {interval(test.ci_low, test.ci_high)}"


def _listed(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
