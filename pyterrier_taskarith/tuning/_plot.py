"""The α curve as a picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd


def plot_alpha(evidence: pd.DataFrame, *, measure: str | None = None, weights: tuple[float, ...] | None = None,
               levels: Mapping[str, float] | None = None, chosen: tuple[float, float] | None = None, title: str = "",
               path: str | Path | None = None) -> Any:  # noqa: ANN401 - matplotlib is optional
    """Plots a measure against α, one panel a weight: a weak re-ranker alone and its mix differ much in scale.

    Args:
        evidence: What :func:`sweep` returns.
        measure: The measure's label; None: the first.
        weights: Weights to draw; None: the re-ranker alone, .5, and the one with the highest value, where swept.
        levels: Name -> value of horizontal lines in the mixes' panels, such as the first stage alone.
        chosen: (α, weight) to mark.
        title: Above the plot.
        path: Where to write a PNG, or None.

    Returns:
        The matplotlib figure, which a notebook shows.

    Raises:
        ValueError: If the frame does not have the measure or a weight.
        ImportError: If matplotlib is not installed.
    """
    import matplotlib.pyplot as plt

    measure = str(evidence["measure"].iloc[0]) if measure is None else measure
    rows = evidence[evidence["measure"] == measure]
    swept = sorted(rows["weight"].unique())
    if weights is None and len(rows):
        best = float(rows.loc[rows["value"].idxmax(), "weight"])
        weights = tuple(weight for weight in dict.fromkeys((1.0, 0.5, best)) if weight in swept)
    if not len(rows) or weights is None or not set(weights) <= set(swept):
        raise ValueError(f"the sweep has no {measure!r} for weights {weights or 'any'}; it has "
                         f"{sorted(evidence['measure'].unique())}, for {measure!r} with weights {swept}")
    figure, panels = plt.subplots(1, len(weights), figsize=(4.4 * len(weights), 3.6), layout="constrained",
                                  squeeze=False)
    for axes, weight in zip(panels[0], weights, strict=True):
        line = rows[rows["weight"] == weight].sort_values("alpha")
        axes.plot(line["alpha"], line["value"], marker="o", markersize=4)
        if chosen is not None and chosen[1] == weight:
            mark = line[line["alpha"] == chosen[0]]
            axes.plot(mark["alpha"], mark["value"], marker="*", markersize=15, linestyle="none", color="black",
                      label=f"chosen: α = {chosen[0]:g}")
        if weight < 1:
            for number, (name, value) in enumerate((levels or {}).items()):
                axes.axhline(value, color="grey", linestyle=("--", ":", "-.")[number % 3], linewidth=1, label=name)
        axes.set_title("re-ranker alone" if weight == 1 else f"mixed, weight {weight:g}", fontsize=10)
        axes.set_xlabel("α   (0 is Θ_T)")
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8)
    panels[0][0].set_ylabel(measure)
    figure.suptitle(title)
    if path is not None:
        figure.savefig(path, dpi=150)
    plt.close(figure)  # else a notebook shows it twice
    return figure
