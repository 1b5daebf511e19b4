"""τ by layer as a picture."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from pyterrier_taskarith.errors import MissingPackageError
from pyterrier_taskarith.inspection._diagnostics import ALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Column -> its panel's label and the level of chance.
_PANELS = {"cosine": ("cosine", 0.0), "conflicts": ("opposite signs", 0.5)}
#: Layers from which on their names are written upright.
_MANY = 8


def plot_layers(layers: pd.DataFrame, *, path: str | Path | None = None) -> "Figure":
    """Plots the size of τ, its cosines and its conflicts, layer by layer.

    Args:
        layers: What :func:`diagnose` returns by layer.
        path: Where to write it, a PNG say, or None.

    Returns:
        The matplotlib figure; without a panel for what has no number.

    Raises:
        MissingPackageError: If matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise MissingPackageError("plots need matplotlib: pip install matplotlib") from error

    rows = layers[layers["layer"] != ALL]
    names, vectors = list(dict.fromkeys(rows["layer"])), list(dict.fromkeys(rows["vector"]))
    columns = [column for column in _PANELS if rows.filter(regex=rf"^{column}(\.|$)").notna().any(axis=None)]
    figure, panels = plt.subplots(1 + len(columns), 1, sharex=True, squeeze=False, layout="constrained",
                                  figsize=(max(5.0, 1.5 + 0.45 * len(names)), 2.4 * (1 + len(columns))))
    sizes, *others = panels[:, 0]
    width = 0.8 / len(vectors)
    for number, vector in enumerate(vectors):
        own = rows[rows["vector"] == vector]
        at = own["layer"].map(names.index) + (number - (len(vectors) - 1) / 2) * width
        sizes.bar(at, own["ratio"], width, color=f"C{number}", label=vector)
    sizes.set_ylabel("‖τ‖ / ‖Θ_T‖")
    if len(vectors) > 1:
        sizes.legend(fontsize=8)
    for axes, column in zip(others, columns, strict=True):
        _curves(axes, rows, names, vectors, column)
    for axes in panels[:, 0]:
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
    panels[-1, 0].set_xticks(range(len(names)), names, rotation=90 if len(names) > _MANY else 0)
    if path is not None:
        figure.savefig(path, dpi=150)
    plt.close(figure)  # else a notebook shows it twice
    return figure


def _curves(axes: "Axes", rows: pd.DataFrame, names: list[str], vectors: list[str], column: str) -> None:
    """Draws one column of every vector, against Θ_T − Θ_0 and against each vector after it."""
    for number, vector in enumerate(vectors):
        own = rows[rows["vector"] == vector]
        pairs = [("", "Θ_T − Θ_0", number)]
        pairs += [(f".{other}", other, place) for place, other in enumerate(vectors) if place > number]
        for suffix, other, place in pairs:
            if own[f"{column}{suffix}"].notna().any():
                axes.plot(own["layer"].map(names.index), own[f"{column}{suffix}"], ":" if suffix else "-", marker="o",
                          markersize=5, color=f"C{number}", markerfacecolor=f"C{place}", label=f"{vector} and {other}")
    label, chance = _PANELS[column]
    axes.axhline(chance, color="grey", linewidth=1)
    axes.set_ylabel(label)
    axes.legend(fontsize=8)
