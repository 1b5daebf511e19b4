"""The whole grid of α × weight for one scoring per α."""

import numbers
from collections.abc import Iterable, Iterator, Sequence

import ir_measures
import numpy as np
import pandas as pd
import pyterrier as pt
from ir_measures import Measure
from tqdm.auto import tqdm

from pyterrier_taskarith.comparison._frames import checked_qrels
from pyterrier_taskarith.fusion import Mix, minmax
from pyterrier_taskarith.measures import parse_measures
from pyterrier_taskarith.reranker import TaskArithReranker

#: The paper's grid of α, with 0 (Θ_T itself) before it.
ALPHAS: tuple[float, ...] = tuple(step / 10 for step in range(11))
#: Weights of the re-ranker in the mix; 1 is the re-ranker alone, 0 the first stage alone.
WEIGHTS: tuple[float, ...] = tuple(step / 10 for step in range(11))


def sweep(reranker: TaskArithReranker, run: pd.DataFrame, qrels: pd.DataFrame, *, alphas: Sequence[float] = ALPHAS,
          weights: Sequence[float] = WEIGHTS, measures: str | Measure | Iterable[str | Measure] = "nDCG@10",
          topics: pd.DataFrame | None = None, verbose: bool = True) -> pd.DataFrame:
    """Evaluates ``Mix(reranker at α, weight)`` for every α and weight, scoring the run once for each α.

    The queries that count are those with judgements among ``topics``, or else among the run's; a query of ``topics``
    for which the first stage found nothing counts as 0. The values are ``pt.Experiment``'s over the same queries.

    Args:
        reranker: Its own α is left as it is.
        run: The first stage's results: qid, docno, query, score and the re-ranker's text column.
        qrels: qid, docno, label.
        alphas: Values of α, any real numbers.
        weights: Weights w of the re-ranker, in [0, 1]: w·minmax(re-ranker) + (1 − w)·minmax(first stage).
        measures: ir_measures objects or names, trec_eval's names too.
        topics: The queries that were asked.
        verbose: Whether to show progress.

    Returns:
        A tidy frame, α by α in the order given: alpha, weight, measure (the label given), value (mean over queries).

    Raises:
        TypeError: If the re-ranker, the run or the grid is something else.
        ValueError: If the grid is empty or repeats a value, a value is out of range, the run repeats a document or
            lacks a column, or no query has judgements.
    """
    if not isinstance(reranker, TaskArithReranker):
        raise TypeError(f"sweep and tune take a TaskArithReranker first, not a {type(reranker).__name__}"
                        f"{'; give the re-ranker inside the Mix' if isinstance(reranker, Mix) else ''}")
    if not isinstance(run, pd.DataFrame):
        raise TypeError(f"run is a {type(run).__name__}: give a first stage's results, such as bm25(topics)")
    grid = _Grid(run, qrels, measures, topics, reranker.text_field)
    alphas, weights = _values(alphas, "alphas"), _values(weights, "weights")
    if not all(0 <= weight <= 1 for weight in weights):
        raise ValueError(f"weights={weights}: each must be from 0 to 1")
    rows = []
    for alpha in tqdm(alphas, desc="α", unit="α", disable=None if verbose else True):
        neural = minmax(grid.run["qid"], reranker.copy(alpha=alpha).transform(grid.run)["score"])
        for weight in weights:
            rows += [(alpha, weight, label, value) for label, value in grid.evaluate(weight, neural)]
    return pd.DataFrame(rows, columns=["alpha", "weight", "measure", "value"])


def _values(values: Sequence[float], name: str) -> list[float]:
    if isinstance(values, str | numbers.Real) or any(not isinstance(value, numbers.Real) for value in values):
        raise TypeError(f"{name}={values!r}: give a list of numbers")
    found = [float(value) for value in values]
    if not found:
        raise ValueError(f"{name} is empty: give at least one value")
    if len(set(found)) < len(found) or not np.isfinite(found).all():
        raise ValueError(f"{name}={found}: values must be finite and distinct")
    return found


class _Grid:
    """A first-stage run, ready to be mixed and evaluated many times."""

    def __init__(self, run: pd.DataFrame, qrels: pd.DataFrame, measures: str | Measure | Iterable[str | Measure],
                 topics: pd.DataFrame | None, text_field: str) -> None:
        absent = [column for column in ("qid", "docno", "query", "score", text_field) if column not in run.columns]
        if absent:
            raise ValueError(f"the run lacks the columns {absent}; it needs qid, docno, query, score and {text_field}")
        if not len(run):
            raise ValueError("the run has no rows: the first stage found nothing for these queries")
        if topics is not None and not len(topics):
            raise ValueError("topics has no rows: there is nothing to tune on")
        qrels = checked_qrels(qrels)
        repeated = run[run.duplicated(["qid", "docno"])]
        if len(repeated):
            first = repeated.iloc[0]
            raise ValueError(f"the run has document {first['docno']!r} twice for query {first['qid']!r} "
                             f"({len(repeated)} such rows); drop duplicates")
        # One query's rows side by side, so that each is a slice.
        self.run = run.sort_values("qid", kind="stable", ignore_index=True)
        qids = self.run["qid"].to_numpy()
        starts = np.flatnonzero(np.r_[True, qids[1:] != qids[:-1]])
        self._qids = [str(qids[start]) for start in starts]
        self._slices = [slice(start, end) for start, end in zip(starts, [*starts[1:], len(qids)], strict=True)]
        docnos = self.run["docno"].astype(str).tolist()
        self._docnos = [docnos[rows] for rows in self._slices]
        self._first = minmax(self.run["qid"], self.run["score"])
        self._labels = parse_measures(measures)
        asked = set(map(str, qids if topics is None else topics["qid"]))
        judged = qrels[qrels["qid"].isin(asked)]
        if not len(judged):
            raise ValueError("no query of the run has judgements in qrels; do their qids agree?")
        self._evaluator = ir_measures.evaluator(list(self._labels), pt.model.to_ir_measures(judged))

    def evaluate(self, weight: float, neural: np.ndarray) -> Iterator[tuple[str, float]]:
        """Yields (label, mean) for one weight; ``neural`` is min–max normalised, in the run's rows."""
        mixed = (weight * neural + (1 - weight) * self._first).tolist()
        run = {qid: dict(zip(docnos, mixed[rows], strict=True))
               for qid, docnos, rows in zip(self._qids, self._docnos, self._slices, strict=True)}
        means = self._evaluator.calc_aggregate(run)
        for measure, label in self._labels.items():
            yield label, float(means[measure])
