"""Reports of a comparison: the paper's table, the tests behind its stars, and the conclusion in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from pyterrier_taskarith.evaluation._significance import Procedure, highest
from pyterrier_taskarith.tables import Cell, Table, decimal, interval, one_line, p_value, percent

# Verdict → words before the measures, word before the baseline; in the order in which they are told.
VERDICTS = {
    "better": ("significantly better in", "than"),
    "worse": ("significantly worse in", "than"),
    "undecided": ("not significantly different in", "from"),
    "equal": ("identical for every query in", "to"),
    "untested": ("untested for want of queries in", "against"),
}


def means_table(means: pd.DataFrame, tests: pd.DataFrame, procedure: Procedure, baselines: Sequence[str],
                n_queries: int, n_unjudged: int) -> Table:
    """Returns the paper's table: systems by measures, the best in bold, significant improvements starred.

    The arguments are the attributes of a :class:`Comparison`.
    """
    starred = set(tests.loc[tests["significant"] & (tests["difference"] > 0), ["system", "measure"]]
                  .itertuples(index=False, name=None))
    best = means.apply(highest)
    rows = tuple((Cell(one_line(system)), *(Cell(decimal(value), bool(best.loc[system, measure]),
                                                 (system, measure) in starred) for measure, value in values.items()))
                 for system, values in means.iterrows())
    notes = [f"* significantly better than {_best_of(baselines)}: {procedure}, {_queries(n_queries)}."]
    if n_unjudged:
        notes.append(f"{_queries(n_unjudged)} without judgements left out.")
    return Table(("", *map(one_line, means.columns)), rows, tuple(notes))


def tests_table(tests: pd.DataFrame, procedure: Procedure) -> Table:
    """Returns the tests: difference to the best baseline, interval, p values, wins/ties/losses, effect size."""
    level = percent(procedure.interval_confidence)
    header = ("", "measure", "best baseline", "difference", f"{level} interval", "p", "corrected p", "wins/ties/losses",
              "d_z")
    rows = tuple(
        (Cell(one_line(test.system)), Cell(one_line(test.measure)), Cell(one_line(test.baseline)),
         Cell(decimal(test.difference, sign=True), star=test.significant and test.difference > 0),
         Cell(interval(test.ci_low, test.ci_high)), Cell(p_value(test.p)), Cell(p_value(test.p_corrected)),
         Cell(f"{test.wins}/{test.ties}/{test.losses}"), Cell(decimal(test.effect_size, 2)))
        for test in tests.itertuples()
    )
    share = f", {percent(procedure.confidence)} over all comparisons of a measure" if procedure.correction else ""
    follows = "" if procedure.interval == "t" else "; the star follows the test, not the interval"
    notes = (f"{procedure.interval_label} of the mean difference, at {level} each{share}{follows}; d_z: mean "
             "difference over the standard deviation of the differences.",)
    return Table(header, rows, notes, n_labels=3)


def conclusion(tests: pd.DataFrame, procedure: Procedure, n_queries: int) -> str:
    """Returns one sentence on `Comparison.tests`: the procedure, then what each tested system is better and worse in.

    Each verdict has the baseline, the mean difference, the corrected p value and the confidence interval.
    """
    clauses = []
    for system, rows in tests.groupby("system", sort=False):
        told: dict[str, list[str]] = {verdict: [] for verdict in VERDICTS}
        for test in rows.itertuples():
            verdict = _verdict(test, n_queries)
            told[verdict].append(f"{one_line(test.measure)} ({VERDICTS[verdict][1]} {one_line(test.baseline)}"
                                 f"{_evidence(test, verdict)})")
        parts = [f"{VERDICTS[verdict][0]} {_listed(measures)}" for verdict, measures in told.items() if measures]
        clauses.append(f"{one_line(system)} is {', and '.join(parts)}")
    kind = "" if procedure.interval == "t" else f"{procedure.interval} "
    p, level = "corrected p" if procedure.correction else "p", percent(procedure.interval_confidence)
    return (f"By a {procedure}, on {_queries(n_queries)} (in parentheses: mean difference, {p}, {level} {kind}"
            f"confidence interval), {'; '.join(clauses)}.")


def _verdict(test: Any, n_queries: int) -> str:
    if test.significant:
        return "better" if test.difference > 0 else "worse"
    if n_queries == 1:
        return "untested"
    return "equal" if test.ties == n_queries else "undecided"


def _evidence(test: Any, verdict: str) -> str:
    if verdict == "equal":
        return ""
    if verdict == "untested":
        return f": {decimal(test.difference, sign=True)}"
    p = p_value(test.p_corrected)
    p = f"p < {p[1:]}" if p.startswith("<") else f"p = {p}"
    return f": {decimal(test.difference, sign=True)}, {p}, {interval(test.ci_low, test.ci_high)}"


def _listed(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _best_of(baselines: Sequence[str]) -> str:
    names = list(map(one_line, baselines))
    return names[0] if len(names) == 1 else f"the best of {_listed(names)} in that measure"


def _queries(count: int) -> str:
    return f"{count} {'query' if count == 1 else 'queries'}"
