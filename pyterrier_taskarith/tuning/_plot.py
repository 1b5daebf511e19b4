"""The α curve as a picture."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pyterrier_taskarith.errors import TaskArithError
from pyterrier_taskarith.evaluation import INTERVALS, mean_interval
from pyterrier_taskarith.evaluation.plots import finished, pyplot, read_evidence, setting_means
from pyterrier_taskarith.tables import percent

#: Of the bootstrap that a band may be made by.
RESAMPLES, SEED = 10_000, 42


def plot_alpha(evidence: pd.DataFrame, *, measure: str | None = None, weights: tuple[float, ...] | None = None,
               levels: Mapping[str, float] | None = None, chosen: tuple[float, float] | None = None,
               confidence: float = 0.95, interval: str = "t", title: str = "",
               path: str | Path | None = None) -> Any:
    """Plots a measure against α, one panel a weight: a weak re-ranker alone and its mix differ much in scale.

    Where there is a value for each query, a band shows the confidence interval of each mean over queries. It says how
    far the mean would move with other queries, for each α by itself. It is no test of one α against another: these are
    measured on the same queries, and their differences are much surer than either mean. For a test see ``compare``.

    Args:
        evidence: What :func:`sweep` returns: alpha, weight, measure, value. With a column qid, a value for each query.
        measure: The measure's label; None: the first.
        weights: Weights to draw; None: the re-ranker alone, .5, and the one with the highest value, where swept.
        levels: Name -> value of horizontal lines in the mixes' panels, such as the first stage alone.
        chosen: (α, weight) to mark.
        confidence: The band's.
        interval: "t" for Student's intervals, "bootstrap" for the bootstrap's.
        title: Above the plot.
        path: Where to write a PNG, or None.

    Returns:
        The matplotlib figure, which a notebook shows.

    Raises:
        TypeError: If the evidence is not a frame.
        ValueError: If it lacks a column, the measure or a weight, or an argument is out of range.
        ImportError: If matplotlib is not installed.
    """
    plt = pyplot("a plot of α")
    if interval not in INTERVALS or not 0 < confidence < 1:
        raise TaskArithError(f"interval={interval!r}, confidence={confidence!r}: choose interval from "
                             f"{tuple(INTERVALS)} and confidence between 0 and 1")
    measure, rows = read_evidence(evidence, measure)
    means = setting_means(rows)
    swept = sorted(means["weight"].unique().tolist())
    if weights is None:
        best = float(means.loc[means["value"].idxmax(), "weight"])
        weights = tuple(weight for weight in dict.fromkeys((1.0, 0.5, best)) if weight in swept)
    if not weights or not set(weights) <= set(swept):
        raise TaskArithError(f"the sweep has no {measure!r} for weights {weights}; it has weights {swept}")
    figure, panels = plt.subplots(1, len(weights), figsize=(4.4 * len(weights), 3.6), layout="constrained",
                                  squeeze=False)
    for axes, weight in zip(panels[0], weights, strict=True):
        line = means[means["weight"] == weight].sort_values("alpha")
        axes.plot(line["alpha"], line["value"], marker="o", markersize=4)
        if "qid" in rows.columns:
            _band(axes, rows[rows["weight"] == weight], confidence, interval)
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
    return finished(figure, path)


def _band(axes: Any, rows: pd.DataFrame, confidence: float, interval: str) -> None:
    """Draws the confidence interval of each mean over queries."""
    groups = {alpha: values.to_numpy(dtype=float) for alpha, values in rows.groupby("alpha")["value"]}
    ends = [mean_interval(values, interval=interval, level=confidence, resamples=RESAMPLES, seed=SEED)
            for values in groups.values()]
    if all(math.isnan(low) for low, _ in ends):
        return  # of one query
    sizes = sorted({len(values) for values in groups.values()})
    queries = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]}–{sizes[-1]}"
    axes.fill_between(list(groups), [low for low, _ in ends], [high for _, high in ends], alpha=0.2, linewidth=0,
                      label=f"{percent(confidence)} interval of the mean, {queries} queries")
