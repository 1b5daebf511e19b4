"""What a merge would add beside what is there: norms, cosines and sign conflicts, summed in float64 piece by piece."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from pyterrier_taskarith.arithmetic import (
    Addend,
    CheckpointDifference,
    InMemory,
    Merge,
    MergePlan,
    Term,
    alpha_of,
    check_finite,
    plain_addend,
)
from pyterrier_taskarith.checkpoints import Checkpoint, RowMatch
from pyterrier_taskarith.families import layer_of

#: Numbers that are measured together: as many as a core's cache holds in float64; this bounds the memory.
PIECE = 2**16
#: The layer of the rows over all layers.
ALL = "all"
_ORDER = ("embeddings", "encoder", "decoder", "", "other", "head")
#: Sums behind a cosine and a share of conflicts, and all sums of a vector.
_PAIR = ("dot", "ours", "theirs", "both", "opposite")
_SUMS = ("weights", "tau²", "theta²", "zeros", *_PAIR, "changed", "lost", "overflow")

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
        advance: Called with the number of weights that were measured.

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


@dataclass(frozen=True)
class _Part:
    """Some rows of a difference, within one piece of Θ_T's parameter.

    Attributes:
        values: float64, rows × width.
        rows: int64, ascending: which rows of the piece they are; None: all.
    """

    values: torch.Tensor
    rows: np.ndarray | None

    def of(self, piece: torch.Tensor) -> torch.Tensor:
        """Returns the same rows of a piece."""
        return piece if self.rows is None else piece[torch.from_numpy(self.rows)]


class _VectorReader:
    """One task vector in one parameter of Θ_T, with Θ_T − Θ_0 where all its terms start from one Θ_0."""

    def __init__(self, plan: MergePlan, terms: list[Term], name: str) -> None:
        """Finds the tensors of the vector's terms that cover the parameter; of an edited term, τ is computed."""
        matches = [plan.rows_of(term, name) for term in terms]
        self._addends = [plain_addend(term, name, term.scale, rows, _tensor) or Addend(
            term.scale, InMemory(term.tensor(name).reshape(-1)), None, rows)
            for term, rows in zip(terms, matches, strict=True)]
        self._base: Addend | None = None
        origin = _origin(terms)
        if origin is not None and name in origin.base.shapes:
            inner = origin.rows if name in origin.by_token else None
            self._base = Addend(1.0, _tensor(origin.base, name), None, matches[0],
                                None if inner is None else RowMatch(inner.theirs, inner.theirs))

    @property
    def by_row(self) -> bool:
        """Returns whether rows are matched by token anywhere between Θ_T, Θ_D and Θ_0."""
        return any(addend.by_row for addend in (*self._addends, *filter(None, [self._base])))

    def read(self, theta: torch.Tensor, start: int) -> tuple[_Part, _Part | None]:
        """Returns τ and Θ_T − Θ_0, where ``theta`` are the rows of Θ_T from ``start`` on."""
        parts = []
        for addend in self._addends:
            rows, tau = _values(addend, theta, start)
            parts.append(_Part(tau.double().mul_(addend.factor), rows))
        if self._base is None:
            return _total(parts, theta.shape), None
        rows, base = _values(self._base, theta, start)
        learnt = torch.sub((theta if rows is None else theta[torch.from_numpy(rows)]).float(), base)
        return _total(parts, theta.shape), _Part(learnt.double(), rows)


def _tensor(checkpoint: Checkpoint, name: str) -> InMemory:
    return InMemory(checkpoint.tensor(name).reshape(-1))


def _values(addend: Addend, theta: torch.Tensor, start: int) -> tuple[np.ndarray | None, torch.Tensor]:
    width = theta.shape[1]
    rows, values = addend.part(start * width, theta.numel(), width)
    return rows, values.view(-1, width)


def _origin(terms: list[Term]) -> CheckpointDifference | None:
    """Returns the first difference of a vector where all of them depart from one Θ_0, else None."""
    parts = [part for term in terms for part in term.difference.parts()]
    plain = [part for part in parts if isinstance(part, CheckpointDifference)]
    return plain[0] if len(plain) == len(parts) and len({part.base for part in plain}) == 1 else None


def _total(parts: list[_Part], shape: torch.Size) -> _Part:
    """Returns the sum of parts of one piece; a row that one of them lacks counts as 0 there."""
    if len(parts) == 1:
        return parts[0]
    summed, known = torch.zeros(shape, dtype=torch.float64), np.zeros(shape[0], dtype=bool)
    for part in parts:
        rows = np.arange(shape[0]) if part.rows is None else part.rows
        summed[torch.from_numpy(rows)] += part.values
        known[rows] = True
    rows = np.flatnonzero(known)
    return _Part(summed, None) if len(rows) == shape[0] else _Part(summed[torch.from_numpy(rows)], rows)


def _sums(merge: Merge, name: str, dtype: torch.dtype, advance: Advance) -> dict[str, defaultdict[str, float]]:
    """Returns, for each vector that covers a parameter, what adds up over its pieces."""
    terms: dict[str, list[Term]] = {}
    for vector, term in merge.plan.terms(name):
        terms.setdefault(vector, []).append(term)
    every = list(itertools.chain(*terms.values()))
    whole = merge.ranker.tensor(name)
    vectors = {vector: _VectorReader(merge.plan, found, name) for vector, found in terms.items()}
    by_row = any(reader.by_row for reader in vectors.values())
    theta = whole.reshape(whole.shape[0], -1) if by_row else whole.reshape(-1, 1)
    # A great circle is no sum of pieces.
    arc = merge.tensor(name).reshape(theta.shape) if any(term.sphere for term in every) else None
    sums = {vector: defaultdict[str, float](float) for vector in terms}
    step = max(1, PIECE // theta.shape[1])
    for start in range(0, len(theta), step):
        piece = theta[start:start + step]
        taus: dict[str, _Part] = {}
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


def _alone(theta: torch.Tensor, tau: _Part) -> dict[str, float]:
    return {"weights": tau.values.numel(), "tau²": _square(tau.values), "theta²": _square(tau.of(theta).double()),
            "zeros": tau.values.numel() - int(torch.count_nonzero(tau.values))}


def _together(one: _Part, two: _Part, suffix: str) -> dict[str, float]:
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


def _change(theta: torch.Tensor, taus: Mapping[str, _Part], alphas: Mapping[str, float]) -> torch.Tensor:
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
    added["position"] = [(*_position(layer), vectors.index(vector)) for layer, vector in
                      zip(added["layer"], added["vector"], strict=True)]
    return added.sort_values("position", ignore_index=True).drop(columns="position")


def _position(layer: str) -> tuple[int, int]:
    """Returns the rank of a layer in the model's order."""
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
