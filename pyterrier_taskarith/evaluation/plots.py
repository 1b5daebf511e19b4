"""Plots: a system's differences query by query, and the grid of α × weight; what all plots of the package share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from pyterrier_taskarith._files import new_file
from pyterrier_taskarith.data import first_few
from pyterrier_taskarith.errors import DataError, MissingPackageError, WrongTypeError
from pyterrier_taskarith.evaluation._significance import highest
from pyterrier_taskarith.tables import decimal, percent

#: The package's extra that brings matplotlib.
EXTRA = "demo"
GAIN, LOSS = "C0", "C3"
#: A cell's text must fit in it: above so many cells in a row or column there is none.
MOST_WRITTEN = 15
COLUMNS = ["alpha", "weight", "measure", "value"]


def pyplot(what: str) -> Any:
    """Returns matplotlib.pyplot, or raises an error that says how to install it; ``what`` is to be drawn."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise MissingPackageError(f"{what} needs matplotlib, which is not installed: "
                                  f'run `pip install "pyterrier_taskarith[{EXTRA}]"`') from error
    return plt


def finished(figure: Any, path: str | Path | None) -> Any:
    """Saves a figure if there is a path, and closes it in pyplot, so that a notebook does not show it twice.

    Args:
        figure: A figure that pyplot made.
        path: A file, whose suffix says the format (none: PNG), or None. Its folder is made; the file appears whole.

    Returns:
        The figure.
    """
    try:
        if path is not None:
            path = Path(path)
            with new_file(path) as written:
                figure.savefig(written, dpi=150, format=path.suffix.removeprefix(".") or "png")
    finally:
        pyplot("a plot").close(figure)
    return figure


def plot_differences(differences: pd.Series, *, system: str, baseline: str, measure: str,
                     interval: tuple[float, float, float] | None = None, title: str | None = None,
                     path: str | Path | None = None) -> Any:
    """Draws `Comparison.plot_differences` of one difference a query; the interval is its two ends and its level."""
    plt = pyplot("a plot of differences")
    values = np.sort(differences.to_numpy())[::-1]
    wins, losses = int((values > 0).sum()), int((values < 0).sum())
    ties, mean = len(values) - wins - losses, decimal(float(values.mean()), sign=True)
    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    edges = np.arange(len(values) + 1) + 0.5
    # One outline a colour, not one rectangle a query: as quick for thousands of queries.
    axes.stairs(np.maximum(values, 0), edges, fill=True, color=GAIN, label=f"{wins} better")
    axes.stairs(np.minimum(values, 0), edges, fill=True, color=LOSS, label=f"{losses} worse")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.axhline(values.mean(), color="grey", linestyle="--", linewidth=1, label=f"mean {mean}")
    if interval is not None:
        axes.axhspan(*interval[:2], color="grey", alpha=0.25, linewidth=0,
                     label=f"its {percent(interval[2])} interval")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel(f"queries, by difference ({ties} of {len(values)} tie)")
    axes.set_ylabel(f"difference in {measure}")
    axes.legend(fontsize=8)
    axes.set_title(f"{system} against {baseline}: {mean} {measure}, wins/ties/losses {wins}/{ties}/{losses}"
                   if title is None else title, fontsize=10)
    return finished(figure, path)


def plot_grid(evidence: pd.DataFrame, *, measure: str | None = None, chosen: tuple[float, float] | None = None,
              title: str = "", path: str | Path | None = None) -> Any:
    """Draws the mean of a measure for every α and weight; the best cell has a frame.

    Args:
        evidence: What :func:`sweep` returns, or a tuned result's evidence: alpha, weight, measure, value. A frame with
            values for each query (column qid) is averaged.
        measure: The measure's label; None: the first.
        chosen: (α, weight) to mark with a star, where the choice is not the best cell, or one of several.
        title: Above the plot; empty: the best cell's α, weight and value, and what the star marks.
        path: Where to write a PNG, or None.

    Returns:
        The matplotlib figure, which a notebook shows. Cells that were not swept are blank; of equal cells all are
        framed.

    Raises:
        TypeError: If the evidence is not a frame.
        ValueError: If the evidence lacks a column or the measure, or ``chosen`` was not swept.
        ImportError: If matplotlib is not installed.
    """
    plt = pyplot("a heat map")
    measure, rows = read_evidence(evidence, measure)
    grid = setting_means(rows).pivot(index="weight", columns="alpha", values="value")
    values, alphas, weights = grid.to_numpy(), grid.columns.to_numpy(), grid.index.to_numpy()
    if chosen is not None and (chosen[0] not in alphas or chosen[1] not in weights):
        raise DataError(f"chosen={chosen} was not swept: α is one of {alphas.tolist()}, the weight of "
                        f"{weights.tolist()}")
    # The axes show indices, not numbers: a grid's steps may be uneven.
    figure, axes = plt.subplots(figsize=(2.2 + 0.55 * len(alphas), 1.6 + 0.4 * len(weights)), layout="constrained")
    image = axes.imshow(values, origin="lower", aspect="auto", cmap="viridis")
    figure.colorbar(image, ax=axes, label=measure)
    axes.set_xticks(range(len(alphas)), [f"{alpha:g}" for alpha in alphas])
    axes.set_yticks(range(len(weights)), [f"{weight:g}" for weight in weights])
    axes.set_xlabel("α   (0 is Θ_T)")
    axes.set_ylabel("weight of the re-ranker   (0 is the first stage)")
    if max(values.shape) <= MOST_WRITTEN:
        _write(axes, values)
    best = np.argwhere(highest(values))
    for row, column in best:
        axes.add_patch(plt.Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="red", linewidth=2))
    if chosen is not None:
        axes.plot(alphas.tolist().index(chosen[0]), weights.tolist().index(chosen[1]) - 0.3, marker="*", color="red",
                  linestyle="none")
    row, column = best[0]
    others = f" and {len(best) - 1} more" if len(best) > 1 else ""
    star = "" if chosen is None else f"\n★ chosen: α = {chosen[0]:g}, weight = {chosen[1]:g}"
    axes.set_title(title or f"best: α = {alphas[column]:g}, weight = {weights[row]:g}{others}: "
                            f"{measure} {values[row, column]:.4f}{star}", fontsize=10)
    return finished(figure, path)


def _write(axes: Any, values: np.ndarray) -> None:
    """Writes each value into its cell, dark on bright cells and bright on dark ones."""
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            axes.text(column, row, decimal(float(value)), ha="center", va="center", fontsize=7,
                      color="black" if value > middle else "white")


def read_evidence(evidence: pd.DataFrame, measure: str | None = None) -> tuple[str, pd.DataFrame]:
    """Returns the rows of one measure of a sweep, checked.

    Args:
        evidence: Columns alpha, weight, measure, value: means over queries; with a column qid, a value for each query.
        measure: A label; None: the first.

    Returns:
        The label, and its rows, sorted by α, weight and qid.

    Raises:
        TypeError: If it is not a frame.
        ValueError: If it lacks a column, rows or the measure, has a value that is not a number, or two values
            for one setting.
    """
    if not isinstance(evidence, pd.DataFrame):
        raise WrongTypeError(f"evidence is a {type(evidence).__name__}: give the DataFrame that sweep returns, or a "
                             "tuned result's evidence")
    if missing := [column for column in COLUMNS if column not in evidence.columns]:
        raise DataError(f"evidence lacks column {first_few(missing)}: it has {list(evidence.columns)}; give what "
                        "sweep returns")
    if evidence.empty:
        raise DataError("evidence has no rows: there is nothing to draw")
    measure = str(evidence["measure"].iloc[0]) if measure is None else measure
    rows = evidence[evidence["measure"] == measure]
    if rows.empty:
        raise DataError(f"the sweep has no {measure!r}; it has {sorted(evidence['measure'].unique())}")
    for column in ("alpha", "weight", "value"):
        if not is_numeric_dtype(rows[column]) or rows[column].isna().any():
            bad = rows.loc[pd.to_numeric(rows[column], errors="coerce").isna(), column].tolist()
            raise DataError(f"evidence has values in column {column!r} that are not numbers, such as "
                            f"{(bad or rows[column].tolist())[0]!r}")
    key = ["alpha", "weight", *(["qid"] if "qid" in rows.columns else [])]
    if (repeated := rows.duplicated(key)).any():
        named = ", ".join(f"{column} {value}" for column, value in rows.loc[repeated, key].iloc[0].items())
        raise DataError(f"evidence has two values of {measure} for {named}: if it is of several development sets or "
                        "vectors, give the rows of one")
    return measure, rows.sort_values(key, ignore_index=True)


def setting_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns means over queries (alpha, weight, value); rows that are already means stay as they are."""
    return rows.groupby(["alpha", "weight"], as_index=False)["value"].mean()
