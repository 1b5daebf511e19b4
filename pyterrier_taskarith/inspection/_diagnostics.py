"""What a merge would add beside what is there: norms, cosines and sign conflicts, summed in float64 piece by piece."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from pyterrier_taskarith.arithmetic import Merge, Term, alpha_of, check_finite
from pyterrier_taskarith.families import layer_of
from pyterrier_taskarith.inspection._parts import Part, VectorReader

#: Numbers that are looked at together: what a core's cache holds in float64, and the bound on memory.
PIECE = 2**16
#: The layer of the rows over all layers.
ALL = "all"
_ORDER = ("embeddings", "encoder", "decoder", "", "other", "head")

Advance = Callable[[int], object]


def diagnose(merge: Merge, *, dtype: torch.dtype | None = None,
             advance: Advance = lambda _: None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measures what a merge would add, by parameter and by layer.

    There is a row for each merged parameter and each vector that covers it. It is about the weights that have a τ: of
    vocabularies matched by token, the matched rows.

    - ``parameter`` (first frame only), ``layer`` as :class:`Layers` writes it, ``vector``.
    - ``alpha``: NaN where it differs within the layer.
    - ``weights``: how many.
    - ``tau``, ``theta``, ``ratio``: ‖τ‖, ‖Θ_T‖ and their quotient; Euclidean. τ is without α, but with the vector's own
      factors and edits.
    - ``learnt``, ``cosine``, ``conflicts``: ‖Θ_T − Θ_0‖; the cosine of τ and Θ_T − Θ_0; of the weights that both
      change, the share that they move in opposite directions. NaN where the vector has no one Θ_0.
    - ``zeros``: share of τ that is exactly 0.
    - ``lost``: of the weights that the whole merge changes at its α, the share that rounding to a 16-bit output takes
      back to Θ_T's value in that dtype. NaN where the output is wider.
    - ``overflow``: how many weights a 16-bit output cannot hold.
    - With several vectors also ``cosine.NAME`` and ``conflicts.NAME``, with each of the others.

    Tensors are read in pieces of :data:`PIECE` numbers and summed in float64. Of a vector that a merge method edits, τ
    of one parameter is held in float32.

    Args:
        merge: What would be done.
        dtype: Of the output; None: each parameter's own in Θ_T.
        advance: Called with the number of weights that were looked at.

    Returns:
        A frame by parameter, in the order of Θ_T's files, and one by layer whose last rows are over all of them.

    Raises:
        MergeError: If the models do not fit each other, or hold NaN or infinity.
        CheckpointError: If a file cannot be read.
    """
    plan, rows = merge.plan, []
    try:
        for name in (entry.name for entry in plan.entries if entry.merged):
            sums = _sums(merge, name, dtype or merge.ranker.dtype(name), advance)
            rows += [{"parameter": name, "layer": layer_label(name), "vector": vector,
                      "alpha": alpha_of(merge.alphas[vector], name), **counted} for vector, counted in sums.items()]
    finally:
        plan.close()
    others = list(plan.vectors) if len(plan.vectors) > 1 else []
    columns = [*_SUMS, *(f"{column}.{other}" for other in others for column in _PAIR)]
    # What was not counted (there is no one Θ_0, a pair never meets, the output is wide) stays NaN.
    sums = pd.DataFrame(rows).reindex(columns=["parameter", "layer", "vector", "alpha", *columns])
    return (_figures(sums, ["parameter", "layer", "vector"], others),
            _figures(_by_layer(sums, columns, list(plan.vectors)), ["layer", "vector"], others))


def layer_label(name: str) -> str:
    """Returns a parameter's layer as :class:`Layers` writes it: "encoder.3", "3", "embeddings", "head" or "other"."""
    side, number = layer_of(name)
    return side if number is None else f"{side}.{number}" if side else str(number)


_PAIR = ("dot", "ours", "theirs", "both", "opposite")
_SUMS = ("weights", "tau²", "theta²", "zeros", *_PAIR, "changed", "lost", "overflow")


def _sums(merge: Merge, name: str, dtype: torch.dtype, advance: Advance) -> dict[str, defaultdict[str, float]]:
    """Returns, for each vector that covers a parameter, what adds up over its pieces."""
    terms: dict[str, list[Term]] = {}
    for vector, term in merge.plan.terms(name):
        terms.setdefault(vector, []).append(term)
    every = list(itertools.chain(*terms.values()))
    whole = merge.ranker.tensor(name)
    vectors = {vector: VectorReader(merge.plan, found, name) for vector, found in terms.items()}
    by_row = any(reader.by_row for reader in vectors.values())
    theta = whole.reshape(whole.shape[0], -1) if by_row else whole.reshape(-1, 1)
    # A great circle is no sum of pieces.
    arc = merge.tensor(name).reshape(theta.shape) if any(term.sphere for term in every) else None
    sums = {vector: defaultdict[str, float](float) for vector in terms}
    step = max(1, PIECE // theta.shape[1])
    for start in range(0, len(theta), step):
        piece = theta[start:start + step]
        taus: dict[str, Part] = {}
        for vector, reader in vectors.items():
            taus[vector], learnt = reader.read(piece, start)
            _add(sums[vector], _alone(piece, taus[vector]))
            if learnt is not None:
                _add(sums[vector], _together(taus[vector], learnt, ""))
        for one, two in itertools.permutations(taus, 2):
            _add(sums[one], _together(taus[one], taus[two], f".{two}"))
        if dtype.itemsize == 2:
            if arc is None:
                change = _change(piece, taus, {vector: alpha_of(merge.alphas[vector], name) for vector in taus})
            else:
                change = arc[start:start + step].double() - piece.double()
            rounded = _rounded(piece, change, dtype)
            for counted in sums.values():
                _add(counted, rounded)
        advance(piece.numel())
    if not np.isfinite([number for counted in sums.values() for number in counted.values()]).all():
        check_finite(whole, name, f"Θ_T {merge.ranker.source!r}")
        for term in every:
            term.difference.tensor(name)  # says whose values are not finite
    return sums


def _add(sums: defaultdict[str, float], more: Mapping[str, float]) -> None:
    for column, number in more.items():
        sums[column] += number


def _alone(theta: torch.Tensor, tau: Part) -> dict[str, float]:
    return {"weights": tau.values.numel(), "tau²": _square(tau.values), "theta²": _square(tau.of(theta).double()),
            "zeros": tau.values.numel() - int(torch.count_nonzero(tau.values))}


def _together(one: Part, two: Part, suffix: str) -> dict[str, float]:
    """Returns the sums behind a cosine and a share of conflicts, over the rows that both have."""
    ours, theirs = one.values, two.values
    first, second = (np.arange(len(part.values)) if part.rows is None else part.rows for part in (one, two))
    if one.rows is not two.rows and not np.array_equal(first, second):
        _, at, others_at = np.intersect1d(first, second, assume_unique=True, return_indices=True)
        ours, theirs = ours[torch.from_numpy(at)], theirs[torch.from_numpy(others_at)]
    products = ours * theirs  # of float32 numbers, in float64: never rounded to 0
    found = (float(products.sum()), _square(ours), _square(theirs), int(torch.count_nonzero(products)),
             int((products < 0).sum()))
    return {f"{column}{suffix}": value for column, value in zip(_PAIR, found, strict=True)}


def _change(theta: torch.Tensor, taus: Mapping[str, Part], alphas: Mapping[str, float]) -> torch.Tensor:
    """Returns Σ α·τ over a piece of Θ_T, float64."""
    change = torch.zeros(theta.shape, dtype=torch.float64)
    for vector, tau in taus.items():
        change[slice(None) if tau.rows is None else torch.from_numpy(tau.rows)] += alphas[vector] * tau.values
    return change


def _rounded(theta: torch.Tensor, change: torch.Tensor, dtype: torch.dtype) -> dict[str, float]:
    before, after = theta.to(dtype), (theta.double() + change).float().to(dtype)
    changed = change != 0
    return {"changed": int(changed.sum()), "lost": int((changed & (before == after)).sum()),
            "overflow": int(torch.isinf(after).sum())}


def _square(values: torch.Tensor) -> float:
    flat = values.reshape(-1)
    return float(torch.dot(flat, flat))


def _by_layer(sums: pd.DataFrame, columns: Sequence[str], vectors: list[str]) -> pd.DataFrame:
    """Adds up over layers, in the model's order, then over everything; vectors in their own order."""
    both = pd.concat([sums, sums.assign(layer=ALL)])
    groups = both.groupby(["layer", "vector"], sort=False)
    added = groups[list(columns)].sum(min_count=1)
    added["alpha"] = groups["alpha"].agg(lambda alphas: alphas.iloc[0] if alphas.nunique() == 1 else np.nan)
    added = added.reset_index()
    added["place"] = [(*_place(layer), vectors.index(vector)) for layer, vector in
                      zip(added["layer"], added["vector"], strict=True)]
    return added.sort_values("place", ignore_index=True).drop(columns="place")


def _place(layer: str) -> tuple[int, int]:
    """Returns where a layer stands among the others."""
    if layer == ALL:
        return len(_ORDER), 0
    side, _, number = layer.rpartition(".")
    return (_ORDER.index(side), int(number)) if number.isdigit() else (_ORDER.index(layer), 0)


def _figures(sums: pd.DataFrame, labels: list[str], others: Sequence[str]) -> pd.DataFrame:
    """Returns norms, cosines and shares from sums; what has no weights is NaN."""
    frame = sums[labels].copy()
    with np.errstate(divide="ignore", invalid="ignore"):
        frame["alpha"] = sums["alpha"]
        frame["weights"] = sums["weights"].fillna(0).astype("int64")
        frame["tau"], frame["theta"] = np.sqrt(sums["tau²"]), np.sqrt(sums["theta²"])
        frame["ratio"] = frame["tau"] / frame["theta"]
        for suffix in ("", *(f".{other}" for other in others)):
            if not suffix:
                frame["learnt"] = np.sqrt(sums["theirs"])
            lengths = np.sqrt(sums[f"ours{suffix}"]) * np.sqrt(sums[f"theirs{suffix}"])
            frame[f"cosine{suffix}"] = sums[f"dot{suffix}"] / lengths
            frame[f"conflicts{suffix}"] = sums[f"opposite{suffix}"] / sums[f"both{suffix}"]
        frame["zeros"] = sums["zeros"] / sums["weights"]
        frame["lost"] = sums["lost"] / sums["changed"]
        frame["overflow"] = sums["overflow"].fillna(0).astype("int64")
    return frame
