"""What the tables hold, whatever they are written in: means with best and star, and the tests behind the stars."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyterrier_taskarith.evaluation._procedure import percent
from pyterrier_taskarith.evaluation._significance import MEAN_TOLERANCE

if TYPE_CHECKING:
    from pyterrier_taskarith.evaluation._comparison import Comparison


@dataclass(frozen=True)
class Cell:
    """One entry of a table."""

    text: str
    bold: bool = False
    star: bool = False


@dataclass(frozen=True)
class Table:
    """A table before it is written in a format.

    Attributes:
        header: Column titles.
        rows: Cells, as many to a row as there are titles.
        notes: Sentences below the table.
        n_labels: How many columns, from the left, hold names; the others hold numbers.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...]
    n_labels: int = 1


def means_table(comparison: Comparison) -> Table:
    """The paper's table: systems as rows, measures as columns, the best in bold, significant improvements starred."""
    tests = comparison.tests
    starred = set(tests.loc[tests["significant"] & (tests["difference"] > 0), ["system", "measure"]]
                  .itertuples(index=False, name=None))
    best = comparison.means.max() - MEAN_TOLERANCE
    rows = tuple(
        (Cell(one_line(system)), *(Cell(decimal(value), bool(value >= best[measure]), (system, measure) in starred)
                                    for measure, value in means.items()))
        for system, means in comparison.means.iterrows()
    )
    n = comparison.n_queries
    notes = [f"* significantly better than {_baselines(comparison.baselines)}: {comparison.procedure}, "
             f"{n} {'query' if n == 1 else 'queries'}."]
    if left_out := comparison.n_unjudged:
        notes.append(f"{left_out} {'query' if left_out == 1 else 'queries'} without judgements left out.")
    return Table(("", *map(one_line, comparison.means.columns)), rows, tuple(notes))


def tests_table(comparison: Comparison) -> Table:
    """The tests: mean difference to the best baseline, its interval, p values, wins/ties/losses, effect size."""
    procedure = comparison.procedure
    level = percent(procedure.interval_confidence)
    header = ("", "measure", "best baseline", "difference", f"{level} interval", "p", "corrected p", "wins/ties/losses",
              "d_z")
    rows = tuple(
        (Cell(one_line(test.system)), Cell(one_line(test.measure)), Cell(one_line(test.baseline)),
         Cell(decimal(test.difference, sign=True), star=test.significant and test.difference > 0),
         Cell(interval(test.ci_low, test.ci_high)), Cell(p_value(test.p)), Cell(p_value(test.p_corrected)),
         Cell(f"{test.wins}/{test.ties}/{test.losses}"), Cell(decimal(test.effect_size, 2)))
        for test in comparison.tests.itertuples()
    )
    share = f", {percent(procedure.confidence)} over all comparisons of a measure" if procedure.correction else ""
    follows = "" if procedure.interval == "t" else "; the star follows the test, not the interval"
    notes = (f"{procedure.interval_label} of the mean difference, at {level} each{share}{follows}; d_z: mean "
             "difference over the standard deviation of the differences.",)
    return Table(header, rows, notes, n_labels=3)


def one_line(given: object) -> str:
    """Writes a system's or a measure's name on one line: a line break would end the row."""
    return " ".join(str(given).split())


def decimal(value: float, digits: int = 3, *, sign: bool = False) -> str:
    """Writes a number as the paper does, without a leading zero: .701, -.012, 1.000; "n/a" for NaN."""
    if math.isnan(value):
        return "n/a"
    # Noise in the last bits of a mean such as .3325 must not decide its third decimal.
    text = f"{round(abs(value), 10):.{digits}f}"
    minus = "-" if value < 0 and float(text) != 0 else "+" if sign else ""
    return minus + text.removeprefix("0")


def p_value(p: float) -> str:
    """Writes a p value to four decimals; what would be .0000 is written <.0001."""
    return "<.0001" if p < 0.00005 else decimal(p, 4)


def interval(low: float, high: float) -> str:
    """Writes an interval as [-.002, +.010]."""
    return "n/a" if math.isnan(low) else f"[{decimal(low, sign=True)}, {decimal(high, sign=True)}]"


def _baselines(baselines: tuple[str, ...]) -> str:
    names = [one_line(each) for each in baselines]
    if len(names) == 1:
        return names[0]
    return f"the best of {', '.join(names[:-1])} and {names[-1]} in that measure"
