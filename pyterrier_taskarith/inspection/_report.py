"""What a merge would do, as plain text, as HTML and as a picture."""

import html
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from pyterrier_taskarith.arithmetic import Alpha, LayerAlphas, MergePlan
from pyterrier_taskarith.errors import MissingPackageError
from pyterrier_taskarith.inspection._diagnostics import ALL
from pyterrier_taskarith.tables import Cell, Table, to_html, to_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


#: Column -> its title and how its numbers are written.
_COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {
    "alpha": ("α", "{:g}".format),
    "weights": ("weights", "{:,}".format),
    "tau": ("‖τ‖", "{:.4g}".format),
    "theta": ("‖Θ_T‖", "{:.4g}".format),
    "ratio": ("‖τ‖/‖Θ_T‖", "{:.4f}".format),
    "learnt": ("‖Θ_T−Θ_0‖", "{:.4g}".format),
    "cosine": ("cosine", "{:+.3f}".format),
    "conflicts": ("conflicts", _share),
    "zeros": ("zeros", _share),
    "lost": ("lost", _share),
}


@dataclass(frozen=True, repr=False)
class Inspection:
    """What a merge would do; prints as a table by layer with notes and warnings below it.

    Attributes:
        recipe: The sum in one line.
        plan: What happens to each parameter of Θ_T.
        alphas: α of each vector.
        dtype: Of the output; None: Θ_T's own.
        parameters: One row for each parameter of Θ_T and each vector that is added to it: parameter, layer, shape, why,
            vector (empty where nothing is added), and the figures of :func:`diagnose`.
        layers: The figures by layer and vector, in the model's order; the last rows ("all") are over all of them.
        notes: What of Θ_T is kept and what of the vectors is not used, in words.
        warnings: What may be wrong, in words.
    """

    recipe: str
    plan: MergePlan
    alphas: Mapping[str, Alpha]
    dtype: str | None
    parameters: pd.DataFrame
    layers: pd.DataFrame
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_text(self, *, parameters: bool = False) -> str:
        """Returns the report as plain text.

        Args:
            parameters: Add a table with a row for each parameter.
        """
        blocks = [f"Θ' = {self.recipe}", f"{self.plan.summary()}."]
        for title, table in _tables(self, parameters):
            blocks.append(f"{title}\n" * bool(title) + to_text(table))
        blocks.append("\n".join(_legend(self)))
        remarks = [*(f"note: {note}" for note in self.notes), *(f"! {warning}" for warning in self.warnings)]
        if remarks:
            blocks.append("\n".join(remarks))
        return "\n\n".join(blocks)

    def plot(self, path: str | Path | None = None) -> "Figure":
        """Draws ‖τ‖/‖Θ_T‖, cosines and conflicts by layer.

        Args:
            path: Where to write a PNG, or None.

        Returns:
            The matplotlib figure, which a notebook shows.

        Raises:
            MissingPackageError: If matplotlib is not installed.
        """
        return plot_layers(self.layers, path=path)

    def _repr_html_(self) -> str:
        blocks = [f"<p>Θ' = {html.escape(self.recipe)}<br>{html.escape(self.plan.summary())}.</p>"]
        for title, table in _tables(self, parameters=False):
            blocks.append(f"<p>{html.escape(title)}</p>" * bool(title) + to_html(table))
        blocks.append(f"<p>{'<br>'.join(map(html.escape, _legend(self)))}</p>")
        remarks = [*(f"Note: {note}" for note in self.notes), *self.warnings]
        if remarks:
            items = "".join(f"<li>{html.escape(remark)}</li>" for remark in remarks)
            blocks.append(f"<ul>{items}</ul>")
        return "\n".join(blocks)

    def __str__(self) -> str:
        return self.to_text()

    __repr__ = __str__


def _tables(inspection: Inspection, parameters: bool) -> Iterator[tuple[str, Table]]:
    """Yields title and table, by layer and where asked by parameter, of each vector; a single one needs no title."""
    for vector, tau in inspection.plan.vectors.items():
        own = inspection.layers[inspection.layers["vector"] == vector]
        others = [other for other in inspection.plan.vectors if other != vector]
        alpha = inspection.alphas[vector]
        title = f"{vector}: τ = {tau}, α = {alpha if isinstance(alpha, LayerAlphas) else format(alpha, 'g')}"
        yield title if others else "", _written(own, ["layer"], others, isinstance(alpha, LayerAlphas))
        if parameters:
            rows = inspection.parameters
            # Parameters that no vector is added to are in the first vector's table.
            kept = (rows["vector"] == "") & (vector == next(iter(inspection.plan.vectors)))
            rows = rows[(rows["vector"] == vector) | kept]
            yield (f"{vector}, by parameter:" if others else "",
                   _written(rows, ["parameter", "why"], others, isinstance(alpha, LayerAlphas)))


def _written(rows: pd.DataFrame, labels: list[str], others: list[str], by_layer: bool) -> Table:
    """Returns a table of some rows; a column without a number is left out."""
    columns = dict(_COLUMNS) if by_layer else {name: column for name, column in _COLUMNS.items() if name != "alpha"}
    for other in others:
        columns |= {f"{name}.{other}": (f"{_COLUMNS[name][0]} {other}", _COLUMNS[name][1])
                    for name in ("cosine", "conflicts")}
    texts = {label: rows[label].astype(str).tolist() for label in labels}
    for name, (title, write) in columns.items():
        if rows[name].notna().any():
            texts[title] = [write(value) if value == value else "" for value in rows[name]]
    cells = tuple(tuple(map(Cell, row)) for row in zip(*texts.values(), strict=True))
    return Table(tuple(texts), cells, (), n_labels=len(labels))


def _legend(inspection: Inspection) -> Iterator[str]:
    layers = inspection.layers
    if layers["cosine"].notna().any():
        yield "cosine: of τ and Θ_T − Θ_0, what the ranker learnt."
        yield "conflicts: of the weights that both change, those that they move apart (half is chance)."
    yield "zeros: weights where τ is exactly 0."
    if layers["lost"].notna().any():
        yield f"lost: of the changed weights, those that rounding to {inspection.dtype or 'Θ_T’s dtype'} takes back."


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
        pairs += [(f".{other}", other, index) for index, other in enumerate(vectors) if index > number]
        for suffix, other, index in pairs:
            if own[f"{column}{suffix}"].notna().any():
                axes.plot(own["layer"].map(names.index), own[f"{column}{suffix}"], ":" if suffix else "-", marker="o",
                          markersize=5, color=f"C{number}", markerfacecolor=f"C{index}", label=f"{vector} and {other}")
    label, chance = _PANELS[column]
    axes.axhline(chance, color="grey", linewidth=1)
    axes.set_ylabel(label)
    axes.legend(fontsize=8)
