"""What an ablation found: a table and a picture."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pyterrier_taskarith.errors import TaskArithError, WrongTypeError
from pyterrier_taskarith.evaluation.plots import finished, pyplot
from pyterrier_taskarith.evaluation.tables import (
    Cell,
    Table,
    decimal,
    interval,
    one_line,
    percent,
    to_html,
    to_latex,
    to_markdown,
    to_text,
)

#: The systems that groups are compared with.
EVERYWHERE, NOWHERE = "α everywhere", "α = 0 (Θ_T)"
#: Of the intervals.
CONFIDENCE = 0.95


@dataclass(frozen=True, repr=False)
class Ablation:
    """What :func:`ablate` returns; prints as a table.

    Attributes:
        mode: "only" or "without".
        reference: The name of the system that differences are to.
        alpha: α where the task vector is added.
        weight: Of the re-ranker in the mix.
        frame: A row for each group, and the two systems they are compared with: group, layers, measure, value (mean
            over queries), difference (to the reference), low and high (the ends of its 95 % interval, Student's t over
            the queries' differences). With several development sets a column ``collection`` comes first, and rows named
            "average" hold the mean over the sets, each counting the same, without an interval.
        queries: A value for each query: group, measure, qid, value, with several sets after ``collection``.
        rest: Merged parameters that are in no group.
    """

    mode: str
    reference: str
    alpha: Any
    weight: float
    frame: pd.DataFrame
    queries: pd.DataFrame
    rest: tuple[str, ...] = ()

    def plot(self, path: str | Path | None = None, *, measure: str | None = None) -> Any:
        """Draws it; see :func:`plot_ablation`."""
        return plot_ablation(self, measure=measure, path=path)

    def to_markdown(self) -> str:
        """Returns the table in GitHub's Markdown."""
        return to_markdown(self._table)

    def to_latex(self) -> str:
        """Returns the table in LaTeX, for the package booktabs."""
        return to_latex(self._table)

    @property
    def _table(self) -> Table:
        several = "collection" in self.frame.columns
        measures, labels = list(self.frame["measure"].unique()), ["collection", "group"] if several else ["group"]
        level = f"{percent(CONFIDENCE)} interval"
        header = ["collection"] * several + ["task vector in" if self.mode == "only" else "task vector without"]
        for measure in measures:
            header += [one_line(measure), "difference", level]
        rows = []
        for key, part in self.frame.groupby(labels, sort=False):
            cells = [Cell(one_line(name)) for name in key]
            for _, row in part.set_index("measure").loc[measures].iterrows():
                compared = ("", "") if key[-1] == self.reference else (
                    decimal(row["difference"], sign=True), interval(row["low"], row["high"]))
                cells += [Cell(decimal(row["value"])), *map(Cell, compared)]
            rows.append(tuple(cells))
        return Table(tuple(header), tuple(rows), tuple(self._notes), n_labels=len(labels))

    @property
    def _notes(self) -> list[str]:
        added = "to one group of layers only" if self.mode == "only" else "to all layers but one group"
        mixed = "re-ranker alone" if self.weight == 1 else f"mixed with the first stage, weight {self.weight:g}"
        sizes = self.queries.groupby(["collection"] if "collection" in self.queries.columns else lambda _: "")[
            "qid"].nunique()
        notes = [f"The task vector is added {added}, α = {self.alpha}; {mixed}; differences to {self.reference}.",
                 f"Student's t intervals of the mean difference over {'/'.join(map(str, sizes))} queries, each by "
                 "itself: of many groups a few leave out 0 by chance."]
        if self.rest:
            notes.append(f"{len(self.rest)} merged parameters are in no group and have "
                         f"{'α = 0' if self.mode == 'only' else 'α'} throughout: {', '.join(self.rest[:3])}"
                         f"{' …' if len(self.rest) > 3 else ''}.")
        return notes

    def _repr_html_(self) -> str:
        return to_html(self._table)

    def __str__(self) -> str:
        return to_text(self._table)

    __repr__ = __str__


def plot_ablation(ablation: Ablation, *, measure: str | None = None, title: str = "",
                  path: str | Path | None = None) -> Any:
    """Plots what each group of layers adds (mode "only") or what is lost without it (mode "without").

    Args:
        ablation: What :func:`ablate` returned.
        measure: The measure's label; None: the first.
        title: Above the plot.
        path: Where to write a PNG, or None.

    Returns:
        The matplotlib figure, a panel for each development set: the difference of each group to the reference with its
        95 % interval, and a line for what the whole task vector changes.

    Raises:
        TypeError: If it is not an ablation.
        ValueError: If it has no such measure.
        ImportError: If matplotlib is not installed.
    """
    if not isinstance(ablation, Ablation):
        raise WrongTypeError(f"plot_ablation takes what ablate returned, not a {type(ablation).__name__}")
    plt = pyplot("a plot of an ablation")
    measures = list(ablation.frame["measure"].unique())
    measure = measures[0] if measure is None else measure
    if measure not in measures:
        raise TaskArithError(f"the ablation has no {measure!r}; it has {measures}")
    rows = ablation.frame[ablation.frame["measure"] == measure]
    panels = list(rows.groupby("collection", sort=False)) if "collection" in rows.columns else [("", rows)]
    names = [name for name in rows["group"].unique() if name not in (EVERYWHERE, NOWHERE)]
    figure, grid = plt.subplots(len(panels), 1, sharex=True, squeeze=False, layout="constrained",
                                figsize=(max(5.0, 1.5 + 0.45 * len(names)), 2.8 * len(panels)))
    other = EVERYWHERE if ablation.reference == NOWHERE else NOWHERE
    for axes, (collection, part) in zip(grid[:, 0], panels, strict=True):
        values = part.set_index("group")
        axes.bar(range(len(names)), values.loc[names, "difference"], color="C0", alpha=0.6)
        for place, name in enumerate(names):
            axes.plot([place, place], values.loc[name, ["low", "high"]].astype(float), color="black", linewidth=1)
        axes.axhline(0, color="black", linewidth=0.8, label=ablation.reference)
        axes.axhline(values.loc[other, "difference"], color="grey", linestyle="--", linewidth=1, label=other)
        axes.set_ylabel(f"difference in {measure}")
        axes.set_title(str(collection), fontsize=10)
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
        axes.legend(fontsize=8)
    grid[-1, 0].set_xticks(range(len(names)), names, rotation=90 if len(names) > 6 else 0)
    grid[-1, 0].set_xlabel("task vector in this group only" if ablation.mode == "only" else
                           "task vector in all groups but this")
    figure.suptitle(title)
    return finished(figure, path)
