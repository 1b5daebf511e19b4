"""One system against a baseline, query by query, as sorted bars."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyterrier_taskarith.evaluation._procedure import percent
from pyterrier_taskarith.evaluation._queries import Pair
from pyterrier_taskarith.evaluation.plots import finished, pyplot
from pyterrier_taskarith.evaluation.tables import decimal

if TYPE_CHECKING:
    from pyterrier_taskarith.evaluation._comparison import Comparison

GAIN, LOSS = "C0", "C3"


def plot_differences(comparison: Comparison, pair: Pair, *, title: str | None = None,
                     path: str | Path | None = None) -> Any:  # noqa: ANN401 - matplotlib is optional
    """Draws the difference of each query, largest gain first, with the mean and its confidence interval.

    The interval is drawn where the comparison has one: of a tested system against the best baseline.

    Args:
        comparison: A comparison.
        pair: Which difference.
        title: None: systems, mean difference, wins, ties and losses.
        path: Where to write a PNG, or None.

    Returns:
        The matplotlib figure.
    """
    plt = pyplot("a plot of differences")
    values = np.sort(pair.differences(comparison).to_numpy())[::-1]
    wins, losses = int((values > 0).sum()), int((values < 0).sum())
    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    edges = np.arange(len(values) + 1) + 0.5
    # One outline a colour, not one rectangle a query: as quick for thousands of queries.
    axes.stairs(np.maximum(values, 0), edges, fill=True, color=GAIN, label=f"{wins} better")
    axes.stairs(np.minimum(values, 0), edges, fill=True, color=LOSS, label=f"{losses} worse")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.axhline(values.mean(), color="grey", linestyle="--", linewidth=1, label=f"mean {_signed(values.mean())}")
    tests = comparison.tests
    row = tests[(tests["system"] == pair.system) & (tests["measure"] == pair.measure)
                & (tests["baseline"] == pair.baseline)]
    if len(row) and row["ci_low"].notna().all():
        axes.axhspan(row["ci_low"].iloc[0], row["ci_high"].iloc[0], color="grey", alpha=0.25, linewidth=0,
                     label=f"its {percent(comparison.procedure.interval_confidence)} interval")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel(f"queries, by difference ({len(values) - wins - losses} of {len(values)} tie)")
    axes.set_ylabel(f"difference in {pair.measure}")
    axes.legend(fontsize=8)
    axes.set_title(_title(pair, values, wins, losses) if title is None else title, fontsize=10)
    return finished(figure, path)


def _title(pair: Pair, values: np.ndarray, wins: int, losses: int) -> str:
    return (f"{pair.system} against {pair.baseline}: {_signed(values.mean())} {pair.measure}, "
            f"wins/ties/losses {wins}/{len(values) - wins - losses}/{losses}")


def _signed(value: float) -> str:
    return decimal(float(value), sign=True)
