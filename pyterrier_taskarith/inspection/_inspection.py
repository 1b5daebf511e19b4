"""The figures, notes and warnings of a merge, before it is made."""

import math
from collections.abc import Iterator
from itertools import combinations
from typing import Protocol

import pandas as pd
from tqdm.auto import tqdm

from pyterrier_taskarith.arithmetic import Merge, MergeError, MergePlan, WeightSetting
from pyterrier_taskarith.arithmetic.save import DTYPES
from pyterrier_taskarith.errors import WrongTypeError
from pyterrier_taskarith.inspection._diagnostics import ALL, diagnose, layer_label
from pyterrier_taskarith.inspection._report import Inspection

#: ‖τ‖/‖Θ_T‖ above this is more than domain training changes: Θ_0 is then hardly what Θ_D was made from.
LARGE = 0.5
#: Cosines beyond ± this: one direction. Those of unrelated changes are near 0 in so many dimensions.
ALIKE = 0.9
#: A share of lost updates above this is worth a wider dtype.
EATEN = 0.1
#: Names listed in one warning.
_MOST = 5


class MergingReranker(Protocol):
    """A re-ranker whose weights are a merge."""

    @property
    def plan(self) -> MergePlan:
        """Returns what happens to each parameter of Θ_T."""

    @property
    def setting(self) -> WeightSetting:
        """Returns which weights it scores with."""


def inspect_merge(merge: Merge | MergingReranker, *, dtype: str | None = None, verbose: bool = True) -> Inspection:
    """Measures what a merge would change, before it is made: reads the weights once, writes nothing.

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
                      tuple(_notes(plan)), tuple(_warnings(plan, layers, dtype)))


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


def _warnings(plan: MergePlan, layers: pd.DataFrame, dtype: str | None) -> Iterator[str]:
    """Yields a sentence or two for each thing that may be wrong.

    Args:
        plan: Of the merge.
        layers: What :func:`diagnose` returns by layer.
        dtype: Of the output; None: Θ_T's own.
    """
    yield from _of_rows(plan)
    total = layers[layers["layer"] == ALL].set_index("vector")
    single = layers[layers["layer"] != ALL]
    for vector, row in total.iterrows():
        own = single[single["vector"] == vector]
        tau = f"τ of {vector!r}" if len(total) > 1 else "τ"
        if row["tau"] == 0:
            yield f"{tau} is zero everywhere: Θ_D and Θ_0 hold the same weights, and α does nothing."
            continue
        zero = own.loc[own["tau"] == 0, "layer"].tolist()
        if zero:
            yield f"{tau} is zero in {_listed(zero)}: Θ_D left them as they are in Θ_0."
        large = own.loc[own["ratio"] > LARGE, "layer"].tolist()
        # Where Θ_0 is Θ_T itself, τ leads to another model, and that may be far.
        if large and row["learnt"] != 0:
            yield (f"{tau} is longer than {LARGE:g}·‖Θ_T‖ in {_listed(large)}: domain training changes less. "
                   "Is Θ_0 the model that Θ_D was made from?")
        # ‖Θ_T − Θ_D‖ < ‖Θ_T − Θ_0‖, written out.
        if row["cosine"] * row["learnt"] > row["tau"] / 2:
            yield (f"Θ_T lies nearer to Θ_D than to Θ_0 ({tau} has cosine {row['cosine']:+.3f} with Θ_T − Θ_0): are "
                   "Θ_D and Θ_0 swapped, was Θ_T made from Θ_D, or is Θ_0 the base of neither?")
        elif row["cosine"] > ALIKE:
            yield (f"{tau} points where Θ_T − Θ_0 does (cosine {row['cosine']:+.3f}): what the ranker learnt is "
                   "mostly what Θ_D did.")
        if row["cosine"] < -ALIKE:
            yield f"{tau} undoes what Θ_T learnt (cosine {row['cosine']:+.3f} with Θ_T − Θ_0)."
    for one, two in combinations(total.index, 2):
        cosine = total.loc[one, f"cosine.{two}"]
        if abs(cosine) > ALIKE:
            yield (f"{one!r} and {two!r} are nearly one direction (cosine {cosine:+.3f}): their α "
                   f"{'add up' if cosine > 0 else 'cancel'}.")
    yield from _of_rounding(layers, dtype)


def _notes(plan: MergePlan) -> Iterator[str]:
    """Yields a sentence for what is left as it is, or left out: heads, most often."""
    for why in ("absent from the task vector", "not floating-point"):
        kept = [entry.name for entry in plan.entries if entry.why == why]
        if kept:
            yield f"kept as in Θ_T, {why}: {_listed(kept)}."
    if plan.unused:
        yield f"not used, as Θ_T has no such parameter: {_listed(list(plan.unused))}."


def _of_rows(plan: MergePlan) -> Iterator[str]:
    for entry in plan.entries:
        if entry.merged and entry.why != "merged":
            count = int(entry.why.split()[1])
            yield (f"{entry.name}: {entry.shape[0] - count} of {entry.shape[0]} rows are kept as in Θ_T, as their "
                   "tokens have no row in τ.")
    if plan.unchecked:
        yield f"no tokenizer in {_listed(plan.unchecked)}: that their rows are the same tokens could not be checked."


def _of_rounding(layers: pd.DataFrame, dtype: str | None) -> Iterator[str]:
    total = layers[layers["layer"] == ALL]
    label = dtype or "the 16-bit dtype of Θ_T"
    if total["overflow"].any():
        where = layers.loc[(layers["overflow"] > 0) & (layers["layer"] != ALL), "layer"].unique().tolist()
        yield (f"{total['overflow'].max()} weights in {_listed(where)} are too large for {label}: Θ' could not be "
               "saved so. Use a smaller α or another dtype.")
    lost = total["lost"].max()
    if lost > EATEN:
        yield f"rounding to {label} takes back {lost:.0%} of the changed weights; float32 keeps them."


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_MOST]) + (f" and {len(names) - _MOST} more" if len(names) > _MOST else "")
