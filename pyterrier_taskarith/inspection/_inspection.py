"""A merge looked at before it is made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from tqdm.auto import tqdm

from pyterrier_taskarith.arithmetic import Alpha, Merge, MergeError, MergePlan
from pyterrier_taskarith.arithmetic.save import DTYPES
from pyterrier_taskarith.inspection._diagnostics import diagnose, layer_label
from pyterrier_taskarith.inspection._plot import plot_layers
from pyterrier_taskarith.inspection._text import to_html, to_text
from pyterrier_taskarith.inspection._warnings import notes_of, warnings_of

if TYPE_CHECKING:
    from pyterrier_taskarith.reranker import TaskArithReranker


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
        return to_text(self, parameters=parameters)

    def plot(self, path: str | Path | None = None) -> Any:  # noqa: ANN401 - matplotlib is optional
        """Draws ‖τ‖/‖Θ_T‖, cosines and conflicts by layer.

        Args:
            path: Where to write a PNG, or None.

        Returns:
            The matplotlib figure, which a notebook shows.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        return plot_layers(self.layers, path=path)

    def _repr_html_(self) -> str:
        return to_html(self)

    def __str__(self) -> str:
        return self.to_text()

    __repr__ = __str__


def inspect_merge(merge: Merge | TaskArithReranker, *, dtype: str | None = None, verbose: bool = True) -> Inspection:
    """Looks at a merge before it is made: reads the weights once, writes nothing.

    Example:
        >>> print(inspect_merge(Checkpoint(ranker) + 0.7 * TaskVector(domain, base)))  # doctest: +SKIP

    Args:
        merge: ``Checkpoint(T) + 0.7 * vector``, or a re-ranker at its present α.
        dtype: Of the output, for what rounding takes: "float32", "float16", "bfloat16"; None: Θ_T's own.
        verbose: Whether to show progress.

    Raises:
        MergeError: If the models do not fit each other, hold NaN or infinity, or the dtype is unknown.
        CheckpointError: If a file cannot be read.
    """
    if dtype is not None and dtype not in DTYPES:
        raise MergeError(f"dtype={dtype!r}: choose one of {', '.join(DTYPES)}, or None for Θ_T's own")
    merge = _as_merge(merge)
    if not merge.vectors:
        raise MergeError(f"nothing is added to {merge.ranker.source}, so there is nothing to inspect")
    plan = merge.plan
    total = sum(math.prod(entry.shape) for entry in plan.entries if entry.merged)
    with tqdm(total=total, desc="inspect", unit="", unit_scale=True, leave=False, delay=1,
              disable=None if verbose else True) as bar:
        figures, layers = diagnose(merge, dtype=None if dtype is None else DTYPES[dtype], advance=bar.update)
    return Inspection(str(merge), plan, merge.alphas, dtype, _with_plan(plan, figures), layers,
                      tuple(notes_of(plan)), tuple(warnings_of(plan, layers, dtype)))


def _as_merge(merge: Merge | TaskArithReranker) -> Merge:
    if isinstance(merge, Merge):
        return merge
    setting = getattr(merge, "setting", None)
    if setting is None:
        raise TypeError("inspect_merge takes a merge, such as Checkpoint(T) + 0.7*vector, or a TaskArithReranker, not "
                        f"a {type(merge).__name__}")
    if setting.variant != "merged":
        raise MergeError(f"variant={setting.variant!r} is a published model: nothing is merged into it. Inspect the "
                         "re-ranker with variant='merged'")
    return Merge(merge.plan.ranker, merge.plan.vectors, dict(setting.alphas))


def _with_plan(plan: MergePlan, figures: pd.DataFrame) -> pd.DataFrame:
    """Returns a row for each entry of the plan, in its order, with the figures of each vector that is added."""
    entries = pd.DataFrame([(entry.name, layer_label(entry.name), entry.shape, entry.why) for entry in plan.entries],
                           columns=["parameter", "layer", "shape", "why"])
    frame = entries.merge(figures.drop(columns="layer"), on="parameter", how="left")
    frame["vector"] = frame["vector"].fillna("")
    for column in ("weights", "overflow"):
        frame[column] = frame[column].fillna(0).astype("int64")
    return frame
