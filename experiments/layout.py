"""The tables to print: the paper's layout with our figures, ours beside the paper's, and what was chosen."""

import math
from collections.abc import Sequence

import pandas as pd

from experiments.measuring import Measured
from experiments.paper import BASE, BM25, DOMAIN, FIXED, RANKER, TUNED, Figures
from experiments.protocol import MEASURES, READINGS
from pyterrier_taskarith.evaluation import highest
from pyterrier_taskarith.tables import Cell, Table, decimal

NOTHING = "—"
#: The variants as the paper calls them.
CALLED = {BM25: "", BASE: "Θ_0: pre-trained", DOMAIN: "Θ_D: domain-specific", RANKER: "Θ_T: MS-MARCO",
          FIXED: "Θ': task arithmetic (α = 1)", TUNED: "Θ': task arithmetic (α = {alpha})"}
LABELS = [str(measure) for measure in MEASURES]
READINGS_IN_WORDS = {"alone": "re-ranker alone", "half": ".5 BM25 + .5 re-ranker"}


def number(value: float, *, sign: bool = False) -> str:
    """Returns a figure as the paper prints it; "—" where there is none."""
    return NOTHING if math.isnan(value) else decimal(value, sign=sign)


def paper_layout(figures: Figures, notes: Sequence[str]) -> Table:
    """Returns the paper's table: a row for each system and variant, four measures for each dataset.

    The best of a column among BM25 and one system's rows is bold.
    """
    datasets = figures.names("dataset")
    header = ("Re-ranker", "Variant", *(title for name in datasets for title in (name, "", "", "")))
    rows = [(Cell(""), Cell(""), *(Cell(label) for _ in datasets for label in LABELS))]
    for system, variant, alpha in rows_of(figures):
        rows.append((Cell(system if variant in (BM25, BASE) else ""), Cell(CALLED[variant].format(alpha=alpha)),
                     *(_cell(figures, system, variant, name, label) for name in datasets for label in LABELS)))
    return Table(header, tuple(rows), tuple(notes), n_labels=2)


def beside(figures: Figures, theirs: Figures, dataset: str) -> Table:
    """Returns our figures of a dataset beside the paper's, with the differences."""
    header = (dataset, "Variant", *(title for label in LABELS for title in (label, "paper", "diff.")))
    rows = []
    for system, variant, alpha in rows_of(figures):
        cells = [Cell(system if variant in (BM25, BASE) else ""), Cell(CALLED[variant].format(alpha=alpha))]
        for label in LABELS:
            ours, other = figures.value(system, variant, dataset, label), theirs.value(system, variant, dataset, label)
            cells += [_cell(figures, system, variant, dataset, label),
                      Cell(number(other), star=theirs.starred(system, variant, dataset, label)),
                      Cell(number(ours - other, sign=True))]
        rows.append(tuple(cells))
    return Table(header, tuple(rows), (), n_labels=2)


def rows_of(figures: Figures) -> list[tuple[str, str, str]]:
    """Returns the rows of a table: system, variant and the tuned α in words."""
    found = figures.cells[["system", "variant"]].drop_duplicates().itertuples(index=False, name=None)
    order = {BM25: 0, **{name: place for place, name in enumerate(figures.names("system"), 1)}}
    ordered = sorted(found, key=lambda row: (order[row[0]], list(CALLED).index(row[1])))
    return [(system, variant, f"{figures.alphas.get(system, math.nan):g}") for system, variant in ordered]


def chosen_alphas(measured: Measured, paper_alphas: dict[str, float]) -> Table:
    """Returns the α of each system by both readings of the protocol, and which lies nearer to the paper's."""
    header = ("System", *(title for reading in READINGS for title in (f"α, {READINGS_IN_WORDS[reading]}", "distance")),
              "paper's α", "nearer")
    rows = []
    for name, choice in measured.choices.items():
        distances = {reading: choice.distance(reading) for reading in READINGS}
        known = not any(math.isnan(value) for value in distances.values())
        nearer = READINGS_IN_WORDS[min(distances, key=lambda reading: distances[reading])] if known else NOTHING
        cells = [cell for reading in READINGS for cell in (
            Cell(f"{choice.alpha_of(reading):g}", bold=reading == choice.reading), Cell(number(distances[reading])))]
        theirs = paper_alphas.get(name, math.nan)
        rows.append((Cell(name), *cells, Cell(NOTHING if math.isnan(theirs) else f"{theirs:g}"), Cell(nearer)))
    choice = next(iter(measured.choices.values()))
    used, names = READINGS_IN_WORDS[choice.reading], list(dict.fromkeys(choice.curves["dataset"]))
    return Table(header, tuple(rows), (
        f"α by the highest average of nDCG@10 over the development queries of {' and '.join(names)}, of equal ones the "
        f"largest; {used} was used.",
        "The paper does not say how Θ' was scored while α was chosen. distance: mean |ours − paper's| over Table 3."))


def chosen_lambdas(measured: Measured) -> Table:
    """Returns λ, BM25's weight, of each system and variant in each dataset."""
    datasets = list(dict.fromkeys(measured.lambdas["dataset"]))
    tuned = list(dict.fromkeys(measured.lambdas.loc[measured.lambdas["value"].notna(), "dataset"]))
    wide = {key[:3]: key[3] for key in measured.lambdas[["system", "variant", "dataset", "lambda"]]
            .itertuples(index=False, name=None)}
    rows = [(Cell(system), Cell(variant), *(Cell(f"{wide[system, variant, name]:g}" if (system, variant, name) in wide
                                                else NOTHING) for name in datasets))
            for system, variant in dict.fromkeys((key[0], key[1]) for key in wide)]
    return Table(("λ", "", *datasets), tuple(rows), (
        "λ is BM25's weight: λ·BM25 + (1 − λ)·re-ranker. " + (
            f"Tuned by nDCG@10 on the development queries of {' and '.join(tuned)}, each variant for itself, of equal "
            "ones the largest; .5 elsewhere." if tuned else ".5, as none of these has development queries."),),
        n_labels=2)


def curves_table(ours: pd.DataFrame, theirs: pd.DataFrame, reading: str) -> Table:
    """Returns Table 3: nDCG@10 for each α, ours, the paper's and the difference as rows of each system and dataset.

    Args:
        ours: Columns system, reading, dataset, alpha, value.
        theirs: Columns system, dataset, alpha, value.
        reading: How Θ' was scored.
    """
    alphas = sorted(ours["alpha"].unique())
    rows = []
    mine = ours[ours["reading"] == reading]
    for system, dataset in mine[["system", "dataset"]].drop_duplicates().itertuples(index=False, name=None):
        here, there = (frame[(frame["system"] == system) & (frame["dataset"] == dataset)]
                       .set_index("alpha")["value"].reindex(alphas) for frame in (mine, theirs))
        for label, values, sign in (("ours", here, False), ("paper", there, False), ("diff.", here - there, True)):
            best = values.max() if not sign else math.inf
            rows.append((Cell(system if label == "ours" else ""), Cell(dataset if label == "ours" else ""), Cell(label),
                         *(Cell(number(value, sign=sign), bold=value >= best) for value in values)))
    title = READINGS_IN_WORDS[reading]
    return Table(("System", "Dataset", title, *(f"{alpha:g}" for alpha in alphas)), tuple(rows), (
        "nDCG@10 on the development queries, for each α.",), n_labels=3)


def _cell(figures: Figures, system: str, variant: str, dataset: str, label: str) -> Cell:
    value = figures.value(system, variant, dataset, label)
    rivals = [figures.value(system, other, dataset, label) for other in CALLED]
    bold = variant != BM25 and bool(highest(rivals)[list(CALLED).index(variant)])
    return Cell(number(value), bold=bold, star=figures.starred(system, variant, dataset, label))
