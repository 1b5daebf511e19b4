"""The result of a comparison, and how it is computed from one value per system, query and measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from pyterrier_taskarith.data import first_few
from pyterrier_taskarith.errors import DataError, TaskArithError
from pyterrier_taskarith.evaluation._report import conclusion, means_table, tests_table
from pyterrier_taskarith.evaluation._significance import Procedure, highest, paired_comparison
from pyterrier_taskarith.evaluation.plots import plot_differences
from pyterrier_taskarith.tables import Table, to_html, to_latex, to_markdown, to_text

TEST_COLUMNS = ["system", "measure", "baseline", "difference", "ci_low", "ci_high", "statistic", "p", "p_corrected",
                "significant", "wins", "ties", "losses", "effect_size"]
#: Which queries come first -> the key to sort the differences by, ascending.
ORDERS: dict[str, Callable[[pd.Series], pd.Series]] = {
    "best": lambda differences: -differences, "worst": lambda differences: differences,
    "changed": lambda differences: -differences.abs()}


@dataclass(frozen=True, repr=False, eq=False)
class Comparison:
    """Systems side by side on the same queries; prints as the paper's table.

    Attributes:
        means: Mean of each measure (columns) for each system (index), float64.
        per_query: Columns system, qid, measure, value; sorted by system, measure (both as in `means`) and qid.
        tests: One row per tested system and measure: system, measure, baseline (the best one in that measure),
            difference (mean, system − baseline), ci_low and ci_high (at `procedure.interval_confidence`), statistic, p,
            p_corrected, significant (in either direction), wins, ties, losses (queries), effect_size (Cohen's d_z).
            p is NaN where the two systems have the same value for every query.
        baselines: The systems among which the best was chosen, measure by measure.
        procedure: Test, correction, number of comparisons, confidence.
        n_queries: Queries that count.
        n_unjudged: Queries left out because they have no judgements.
        texts: qid → text of the query, where topics were given; else None.
    """

    means: pd.DataFrame
    per_query: pd.DataFrame
    tests: pd.DataFrame
    baselines: tuple[str, ...]
    procedure: Procedure
    n_queries: int
    n_unjudged: int = 0
    texts: pd.Series | None = None

    def to_text(self, *, details: bool = False) -> str:
        """Returns the table as plain text, in columns that line up.

        Args:
            details: Add a second table, of the tests: difference, interval, p values, wins/ties/losses, effect size.
        """
        return "\n\n".join(map(to_text, self._tables(details)))

    def to_markdown(self, *, details: bool = False) -> str:
        """Returns the table in GitHub's Markdown, the best of each measure in bold; `details` as in `to_text`."""
        return "\n\n".join(map(to_markdown, self._tables(details)))

    def to_latex(self, *, details: bool = False) -> str:
        """Returns the table in LaTeX for booktabs, the best of each measure in bold; `details` as in `to_text`."""
        return "\n\n".join(map(to_latex, self._tables(details)))

    def to_html(self, *, details: bool = False) -> str:
        """Returns the table in HTML, the best of each measure in bold; `details` as in `to_text`."""
        return "\n".join(map(to_html, self._tables(details)))

    def in_words(self, measures: Sequence[str] | None = None) -> str:
        """Returns one sentence: which systems are significantly better or worse than the best baseline, and in what.

        Args:
            measures: The labels to report; None: all.

        Raises:
            ValueError: A label that the comparison does not have.
        """
        unknown = [label for label in measures or () if label not in self.means.columns]
        if unknown:
            raise TaskArithError(f"the comparison has no measure {unknown}; it has {list(self.means.columns)}")
        tests = self.tests if measures is None else self.tests[self.tests["measure"].isin(measures)]
        return conclusion(tests, self.procedure, self.n_queries)

    def queries(self, system: str | None = None, measure: str | None = None, *, baseline: str | None = None,
                first: Literal["best", "worst", "changed"] = "best") -> pd.DataFrame:
        """Returns one measure query by query: where a system gains on its baseline, and where it loses.

        Args:
            system: Whose difference to show; None: the tested system with the highest mean in that measure.
            measure: A label; None: the first.
            baseline: The system to compare it with, any other; None: the best baseline in that measure.
            first: "best" puts the largest gains first, "worst" the largest losses, "changed" the largest differences
                of either sign. Queries of equal difference are in the order of their ids.

        Returns:
            Index qid; columns: query (the text, where `compare` had topics), the value of every system, and
            difference (system − baseline).

        Raises:
            ValueError: A name that the comparison does not have, or an unknown order.
        """
        if first not in ORDERS:
            raise TaskArithError(f"first={first!r}: choose one of {', '.join(map(repr, ORDERS))}")
        system, measure, baseline = self._pair(system, measure, baseline)
        table = self._values(measure)
        if taken := [name for name in ("query", "difference") if name in table.columns]:
            raise DataError(f"a system is called {taken[0]!r}, as a column of this table is: give it another name")
        table["difference"] = table[system] - table[baseline]
        if self.texts is not None:
            table.insert(0, "query", self.texts.reindex(table.index))
        # Stable, so that queries of equal difference stay in the order of their ids.
        return table.sort_values("difference", kind="stable", key=ORDERS[first])

    def plot_differences(self, system: str | None = None, measure: str | None = None, *, baseline: str | None = None,
                         title: str | None = None, path: str | Path | None = None) -> Any:
        """Draws a system's difference to a baseline for every query, as bars from the largest gain to the largest loss.

        Args:
            system: As in `queries`.
            measure: As in `queries`.
            baseline: As in `queries`.
            title: Above the plot; None: systems, mean difference, wins, ties and losses.
            path: Where to write a PNG (or what matplotlib makes of the suffix), or None.

        Returns:
            The matplotlib figure, which a notebook shows.

        Raises:
            ValueError: A name that the comparison does not have.
            ImportError: If matplotlib is not installed.
        """
        system, measure, baseline = self._pair(system, measure, baseline)
        values, tests = self._values(measure), self.tests
        row = tests[(tests["system"] == system) & (tests["measure"] == measure) & (tests["baseline"] == baseline)]
        tested = len(row) and row["ci_low"].notna().all()
        interval = (*row[["ci_low", "ci_high"]].iloc[0], self.procedure.interval_confidence) if tested else None
        return plot_differences(values[system] - values[baseline], system=system, baseline=baseline, measure=measure,
                                interval=interval, title=title, path=path)

    def _pair(self, system: str | None, measure: str | None, baseline: str | None) -> tuple[str, str, str]:
        """Returns system, measure and baseline, with those that are None filled in."""
        measure = str(self.means.columns[0]) if measure is None else measure
        if measure not in self.means.columns:
            raise TaskArithError(f"the comparison has no measure {measure!r}; it has {list(self.means.columns)}")
        for name in (system, baseline):
            if name is not None and name not in self.means.index:
                raise TaskArithError(f"the comparison has no system {name!r}; it has {list(self.means.index)}")
        tests = self.tests[self.tests["measure"] == measure]
        if system is None:
            tested = self.means.loc[tests["system"], measure]
            system = str(tested.index[highest(tested)][0])
        if baseline is None:
            baseline = str(tests["baseline"].iloc[0])
        if system == baseline:
            raise TaskArithError(f"{system!r} would be compared with itself in {measure}: name another system= "
                                 "or baseline=")
        return system, measure, baseline

    def _values(self, measure: str) -> pd.DataFrame:
        """Returns one measure as a table: queries (index qid) by systems, float64."""
        rows = self.per_query[self.per_query["measure"] == measure]
        table = rows.pivot(index="qid", columns="system", values="value")[list(self.means.index)]
        return table.rename_axis(columns=None)

    def _tables(self, details: bool) -> list[Table]:
        means = means_table(self.means, self.tests, self.procedure, self.baselines, self.n_queries, self.n_unjudged)
        return [means, tests_table(self.tests, self.procedure)] if details else [means]

    def _repr_html_(self) -> str:
        return self.to_html()

    def __str__(self) -> str:
        return self.to_text()

    __repr__ = __str__


def assemble(per_query: pd.DataFrame, systems: Sequence[str], measures: Sequence[str], baselines: tuple[str, ...],
             procedure: Procedure, n_unjudged: int, texts: pd.Series | None = None) -> Comparison:
    """Returns the comparison of systems by their values per query; queries are aligned by qid.

    No system, query and measure occurs twice in `per_query`. Systems and measures are in the order of the table's rows
    and columns; the other arguments are attributes of the comparison.

    Raises:
        DataError: A system lacks a value that others have.
    """
    # Columns (measure, system), one row per query.
    values = per_query.pivot(index="qid", columns=["measure", "system"], values="value").sort_index()
    values = values.reindex(columns=pd.MultiIndex.from_product([measures, systems], names=["measure", "system"]))
    for measure, system in values.columns:
        if (absent := values[measure, system].isna()).any():
            raise DataError(f"system {system!r} has no value of {measure} for {absent.sum()} of {len(values)} queries "
                            f"({first_few(values.index[absent])}): evaluate all systems on the same queries")
    means = values.mean().unstack("measure").loc[list(systems), list(measures)]
    tests = pd.concat([_tests(values[measure], means[measure], measure, baselines, procedure) for measure in measures],
                      ignore_index=True)
    tidy = pd.concat([pd.DataFrame({"system": system, "qid": values.index, "measure": measure,
                                    "value": values[measure, system].to_numpy(np.float64)})
                      for system in systems for measure in measures], ignore_index=True)
    return Comparison(means, tidy, tests, baselines, procedure, len(values), n_unjudged, texts)


def _tests(values: pd.DataFrame, means: pd.Series, measure: str, baselines: tuple[str, ...],
           procedure: Procedure) -> pd.DataFrame:
    """Tests every other system against the best baseline; `values` are queries × systems in one measure."""
    best = baselines[int(highest(means[list(baselines)]).argmax())]
    reference = values[best].to_numpy(np.float64)
    tested = [name for name in values.columns if name not in baselines]
    results = [paired_comparison(values[name].to_numpy(np.float64), reference, test=procedure.test,
                                 level=procedure.interval_confidence, resamples=procedure.resamples,
                                 seed=procedure.seed, interval=procedure.interval) for name in tested]
    frame = pd.DataFrame([result._asdict() for result in results])
    corrected = procedure.correct(frame["p"].to_numpy(np.float64))
    return frame.assign(system=tested, measure=measure, baseline=best, p_corrected=corrected,
                        significant=corrected < procedure.alpha)[TEST_COLUMNS]
