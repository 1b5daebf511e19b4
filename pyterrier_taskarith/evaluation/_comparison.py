"""What a comparison found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from pyterrier_taskarith.evaluation import _formats
from pyterrier_taskarith.evaluation._plots_differences import plot_differences
from pyterrier_taskarith.evaluation._procedure import Procedure
from pyterrier_taskarith.evaluation._queries import pair_of, queries_table
from pyterrier_taskarith.evaluation._words import conclusion
from pyterrier_taskarith.evaluation.tables import Table, means_table, tests_table


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
        """The table as plain text, in columns that line up.

        Args:
            details: Add a second table, of the tests: difference, interval, p values, wins/ties/losses, effect size.

        Returns:
            Lines without trailing spaces.
        """
        return "\n\n".join(map(_formats.to_text, self._tables(details)))

    def to_markdown(self, *, details: bool = False) -> str:
        """The table in GitHub's Markdown, the best of each measure in bold; `details` as in `to_text`."""
        return "\n\n".join(map(_formats.to_markdown, self._tables(details)))

    def to_latex(self, *, details: bool = False) -> str:
        """The table in LaTeX for the package booktabs, the best of each measure in bold; `details` as in `to_text`."""
        return "\n\n".join(map(_formats.to_latex, self._tables(details)))

    def to_html(self, *, details: bool = False) -> str:
        """The table in HTML, the best of each measure in bold; `details` as in `to_text`."""
        return "\n".join(map(_formats.to_html, self._tables(details)))

    def in_words(self, measures: Sequence[str] | None = None) -> str:
        """One sentence: which systems are significantly better or worse than the best baseline, and in what.

        Args:
            measures: The labels to speak of; None: all.

        Raises:
            ValueError: A label that the comparison does not have.
        """
        unknown = [label for label in measures or () if label not in self.means.columns]
        if unknown:
            raise ValueError(f"the comparison has no measure {unknown}; it has {list(self.means.columns)}")
        return conclusion(self, measures)

    def queries(self, system: str | None = None, measure: str | None = None, *, baseline: str | None = None,
                first: Literal["best", "worst", "changed"] = "best") -> pd.DataFrame:
        """One measure query by query: where a system gains on its baseline, and where it loses.

        Args:
            system: Whose difference to show; None: the tested system with the highest mean in that measure.
            measure: A label; None: the first.
            baseline: What it is held against, any other system; None: the best baseline in that measure.
            first: "best" puts the largest gains first, "worst" the largest losses, "changed" the largest differences
                of either sign. Queries of equal difference are in the order of their ids.

        Returns:
            Index qid; columns: query (the text, where `compare` had topics), the value of every system, and
            difference (system − baseline).

        Raises:
            ValueError: A name that the comparison does not have, or an unknown order.
        """
        return queries_table(self, pair_of(self, system, measure, baseline), first)

    def plot_differences(self, system: str | None = None, measure: str | None = None, *, baseline: str | None = None,
                         title: str | None = None, path: str | Path | None = None) -> Any:  # noqa: ANN401 - optional
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
        return plot_differences(self, pair_of(self, system, measure, baseline), title=title, path=path)

    def _tables(self, details: bool) -> list[Table]:
        return [means_table(self), tests_table(self)] if details else [means_table(self)]

    def _repr_html_(self) -> str:
        return self.to_html()

    def __str__(self) -> str:
        return self.to_text()

    __repr__ = __str__
