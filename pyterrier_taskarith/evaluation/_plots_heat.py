"""α × weight as a heat map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pyterrier_taskarith.evaluation._evidence import read_evidence, setting_means
from pyterrier_taskarith.evaluation._significance import highest
from pyterrier_taskarith.evaluation.plots import finished, pyplot
from pyterrier_taskarith.evaluation.tables import decimal

# A cell's text must fit in it: above so many cells in a row or column there is none.
MOST_WRITTEN = 15


def plot_grid(evidence: pd.DataFrame, *, measure: str | None = None, chosen: tuple[float, float] | None = None,
              title: str = "", path: str | Path | None = None) -> Any:  # noqa: ANN401 - matplotlib is optional
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
        TypeError: If the evidence is no frame.
        ValueError: If the evidence lacks a column or the measure, or ``chosen`` was not swept.
        ImportError: If matplotlib is not installed.
    """
    plt = pyplot("a heat map")
    measure, rows = read_evidence(evidence, measure)
    grid = setting_means(rows).pivot(index="weight", columns="alpha", values="value")
    values, alphas, weights = grid.to_numpy(), grid.columns.to_numpy(), grid.index.to_numpy()
    if chosen is not None and (chosen[0] not in alphas or chosen[1] not in weights):
        raise ValueError(f"chosen={chosen} was not swept: α is one of {alphas.tolist()}, the weight of "
                         f"{weights.tolist()}")
    # Places, not numbers, on the axes: a grid's steps may be uneven.
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


def _write(axes: Any, values: np.ndarray) -> None:  # noqa: ANN401 - matplotlib is optional
    """Writes each value into its cell, dark on bright cells and bright on dark ones."""
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            axes.text(column, row, decimal(float(value)), ha="center", va="center", fontsize=7,
                      color="black" if value > middle else "white")
