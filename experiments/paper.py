"""The figures that the paper prints, and the form in which ours are held against them."""

import json
import math
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pandas as pd

PRINTED = Path(__file__).parent / "paper_figures.json"
#: A cell: system, variant, dataset, measure. BM25's own row is of the system and the variant "BM25".
CELL = ["system", "variant", "dataset", "measure"]
BM25, BASE, DOMAIN, RANKER, FIXED, TUNED = "BM25", "Θ_0", "Θ_D", "Θ_T", "Θ' (α = 1)", "Θ' (α tuned)"
#: The paper's baselines (§3.1): a star is a significant improvement over the best of them.
BASELINES = (BM25, BASE, DOMAIN, RANKER)


@dataclass(frozen=True, eq=False)
class Figures:
    """The figures of a table, the paper's or ours.

    Attributes:
        cells: Columns system, variant, dataset, measure, value (float, NaN where there is none), star (bool); no cell
            twice.
        alphas: System -> the α of its tuned variant.
    """

    cells: pd.DataFrame
    alphas: dict[str, float]

    def __post_init__(self) -> None:
        """Refuses cells that occur twice.

        Raises:
            ValueError: Naming the first.
        """
        repeated = self.cells[self.cells.duplicated(CELL)]
        if len(repeated):
            raise ValueError(f"the cell {tuple(repeated[CELL].iloc[0])} occurs twice")

    def value(self, system: str, variant: str, dataset: str, measure: str) -> float:
        """Returns a figure; NaN where there is none."""
        return self._by_cell.get(self._key(system, variant, dataset, measure), (math.nan, False))[0]

    def starred(self, system: str, variant: str, dataset: str, measure: str) -> bool:
        """Returns whether a figure has a star."""
        return self._by_cell.get(self._key(system, variant, dataset, measure), (math.nan, False))[1]

    def names(self, column: str) -> list[str]:
        """Returns what stands in a column of :attr:`cells`, in order; of systems, without BM25."""
        return [name for name in self.cells[column].unique() if column != "system" or name != BM25]

    @staticmethod
    def _key(system: str, variant: str, dataset: str, measure: str) -> tuple[str, ...]:
        return (BM25 if variant == BM25 else system, variant, dataset, measure)

    @cached_property
    def _by_cell(self) -> dict[tuple[str, ...], tuple[float, bool]]:
        rows = self.cells[[*CELL, "value", "star"]].itertuples(index=False, name=None)
        return {row[:4]: row[4:] for row in rows}


def printed(table: str) -> Figures:
    """Returns the paper's figures of "table1" or "table2".

    Raises:
        KeyError: If there is no such table.
    """
    content = _content()
    stars = {tuple(cell[1:]) for cell in content["stars"] if cell[0] == table}
    rows = []
    for system, variants in content[table].items():
        for variant, datasets in variants.items():
            for dataset, values in datasets.items():
                for measure, value in zip(content["measures"], values, strict=True):
                    cell = (system, variant, dataset, measure)
                    rows.append((*cell, math.nan if value is None else value, cell in stars))
    return Figures(pd.DataFrame(rows, columns=[*CELL, "value", "star"]), dict(content["chosen"]))


def printed_curves() -> pd.DataFrame:
    """Returns the paper's Table 3: columns system, dataset, alpha, value (NaN where its text is damaged)."""
    content = _content()
    rows = [(system, dataset, alpha, math.nan if value is None else value)
            for system, datasets in content["table3"].items() for dataset, values in datasets.items()
            for alpha, value in zip(content["alphas"], values, strict=True)]
    return pd.DataFrame(rows, columns=["system", "dataset", "alpha", "value"])


def remarks(table: str) -> list[str]:
    """Returns what is to be known of a table's printed figures: cells that the text lacks or that were repaired."""
    content = _content()
    kinds = (("missing", "not in the paper's text"), ("doubtful", "printed twice, differently"),
             ("repaired", "without its decimal point in the paper's text"))
    return [f"{', '.join(map(str, cell[1:]))}: {words}." for kind, words in kinds for cell in content[kind]
            if cell[0] == table]


@cache
def _content() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(PRINTED.read_text(encoding="utf-8"))
    return content
