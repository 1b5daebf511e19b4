"""The figures, notes and warnings of a merge, before it is made."""

import math
from typing import Protocol

import pandas as pd
from tqdm.auto import tqdm

from pyterrier_taskarith.arithmetic import Merge, MergeError, MergePlan, WeightSetting
from pyterrier_taskarith.arithmetic.save import DTYPES
from pyterrier_taskarith.errors import WrongTypeError
from pyterrier_taskarith.inspection._diagnostics import diagnose, layer_label
from pyterrier_taskarith.inspection._report import Inspection
from pyterrier_taskarith.inspection._warnings import notes_of, warnings_of


class MergingReranker(Protocol):
    """A re-ranker whose weights are a merge."""

    @property
    def plan(self) -> MergePlan:
        """Returns what happens to each parameter of Θ_T."""

    @property
    def setting(self) -> WeightSetting:
        """Returns which weights it scores with."""


def inspect_merge(merge: Merge | MergingReranker, *, dtype: str | None = None, verbose: bool = True) -> Inspection:
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


def _as_merge(merge: Merge | MergingReranker) -> Merge:
    if isinstance(merge, Merge):
        return merge
    setting: WeightSetting | None = getattr(merge, "setting", None)
    if setting is None:
        raise WrongTypeError("inspect_merge takes a merge, such as Checkpoint(T) + 0.7*vector, or a TaskArithReranker, "
                             f"not a {type(merge).__name__}")
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
