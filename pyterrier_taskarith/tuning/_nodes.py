"""The whole α curve from a few scorings: scores, or a bi-encoder's embeddings, interpolated in α."""

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
import pandas as pd
import pyterrier as pt
from scipy.stats import kendalltau

from pyterrier_taskarith.errors import TaskArithError
from pyterrier_taskarith.reranker import TaskArithReranker
from pyterrier_taskarith.scorers import BiEncoder, distinct

#: Where scores are computed. Measured on 14 collections: Kendall τ .998 with the exact scores.
NODES: tuple[float, ...] = (0.0, 0.3, 0.6, 0.9, 1.2)
#: Three nodes are unsound (τ .979, nDCG@10 off by up to .013, biased upward).
FEWEST = 5
#: Distinct texts whose embeddings are interpolated at a time.
BLOCK = 4096


class AlphaCurve:
    """The scores of a run at any α within its nodes, for one scoring of the run at each node.

    A polynomial in α goes through the nodes: through the scores of each pair, or, of a bi-encoder, through the
    embedding of each distinct query and text, which are then compared as the model compares them. At a node the scores
    are the exact ones. Elsewhere they are close (:attr:`error` estimates how close), so re-score exactly the α that is
    chosen. The curve is along one α, which all vectors and layers of the re-ranker share.

    Memory: of a bi-encoder the float32 embeddings of all distinct texts at every node (for 100,000 texts, 384 numbers
    each and five nodes 0.77 GB; 768 numbers 1.5 GB); of others four bytes for each row and node.

    Example:
        >>> curve = AlphaCurve(reranker, run)                       # doctest: +SKIP
        >>> curve.scores(0.7)                                       # doctest: +SKIP

    Attributes:
        nodes: The values of α that were scored, ascending.
    """

    def __init__(self, reranker: TaskArithReranker, run: pd.DataFrame, *, nodes: Sequence[float] = NODES,
                 verbose: bool = True) -> None:
        """Scores the run once at each node.

        Args:
            reranker: Its own α is left as it is.
            run: qid, docno, query and the re-ranker's text column.
            nodes: At least five distinct values of α, in any order; the curve ends at the outermost.
            verbose: Whether to show progress.

        Raises:
            ValueError: If the nodes are too few, repeated or not finite, α does nothing to the re-ranker, or the run
                has no rows or a text that is none.
            pt.validate.InputValidationError: If the run lacks a column.
        """
        self.nodes = _checked(nodes)
        if reranker.variant != "merged":
            raise TaskArithError(f"α does nothing to variant={reranker.variant!r}: give the merged re-ranker, Θ'")
        rerankers = [reranker.copy(alpha=node) for node in self.nodes]
        rerankers[0].transform(run.head(0))  # refuses a frame without the columns; scores nothing
        if not len(run):
            raise TaskArithError("the run has no rows: there is nothing to score")
        self._qids = run["qid"].to_numpy()
        steps = pt.tqdm(rerankers, desc="α nodes", unit="α", disable=not verbose)
        self._curve: _Curve
        if isinstance(reranker.model.scorer, BiEncoder):
            self._curve = _Embeddings(reranker.model.scorer, *reranker.strings(run))
        else:
            self._curve = _Scores()
        for step in steps:
            self._curve.add(step, run)

    def scores(self, alpha: float) -> np.ndarray:
        """Returns the scores at α.

        Args:
            alpha: Between the outermost nodes; a polynomial is worth nothing outside them.

        Returns:
            float32 array, one score for each row of the run, in their order.

        Raises:
            ValueError: If α is outside the nodes.
        """
        alpha = float(alpha)
        if not self.nodes[0] <= alpha <= self.nodes[-1]:
            raise TaskArithError(f"alpha={alpha:g} is outside the nodes {self.nodes[0]:g} to {self.nodes[-1]:g}: "
                                 "scores are interpolated, never extrapolated; give nodes that enclose it")
        return self._curve.at(lagrange(self.nodes, alpha))

    @cached_property
    def error(self) -> pd.DataFrame:
        """Leave-one-node-out: the exact scores of each inner node against those interpolated through the other nodes.

        It overstates the error of the curve itself, which goes through that node too.

        Returns:
            node, mean and max (of the absolute difference, in units of the scores), kendall (mean over queries of
            Kendall's τ between exact and interpolated; queries whose scores are all equal do not count).
        """
        rows = []
        for index in range(1, len(self.nodes) - 1):
            others = self.nodes[:index] + self.nodes[index + 1:]
            exact = self._curve.at(lagrange(self.nodes, self.nodes[index]))
            guessed = self._curve.at(np.insert(lagrange(others, self.nodes[index]), index, 0.0))
            off = np.abs(exact.astype(np.float64) - guessed)
            rows.append((self.nodes[index], off.mean(), off.max(),
                         pd.Series(kendall(self._qids, exact, guessed)).mean()))
        return pd.DataFrame(rows, columns=["node", "mean", "max", "kendall"])

    def __str__(self) -> str:
        error = self.error
        return (f"α curve through {len(self.nodes)} nodes ({', '.join(f'{node:g}' for node in self.nodes)}); one node "
                f"left out: scores off by {error['mean'].mean():.2g} on average and {error['max'].max():.2g} at most, "
                f"Kendall τ {error['kendall'].min():.3f} at worst")


def lagrange(nodes: Sequence[float], alpha: float) -> np.ndarray:
    """Returns what each node's value weighs in the polynomial through all of them, at α.

    At a node it is exactly 1 for that node and 0 for the others.

    Returns:
        float64 array of len(nodes); its sum is 1.
    """
    points = np.asarray(nodes, dtype=np.float64)
    others = ~np.eye(len(points), dtype=bool)
    return np.array([np.prod((alpha - points[rest]) / (point - points[rest]))
                     for point, rest in zip(points, others, strict=True)])


def kendall(qids: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Returns Kendall's τ between two lists of scores for each query; NaN where a query's scores are all equal.

    Args:
        qids: Query of each row.
        left: Scores of the rows.
        right: Other scores of the same rows.

    Returns:
        float64 array, one value a query, in the order in which queries first occur.
    """
    rows = pd.Series(np.arange(len(qids))).groupby(qids, sort=False).indices
    return np.array([kendalltau(left[query], right[query]).statistic for query in rows.values()])


def _checked(nodes: Sequence[float]) -> tuple[float, ...]:
    found = tuple(sorted(float(node) for node in nodes))
    if not np.isfinite(found).all() or len(set(found)) < len(found):
        raise TaskArithError(f"nodes={list(nodes)}: they must be finite and distinct")
    if len(found) < FEWEST:
        raise TaskArithError(f"nodes={list(nodes)}: give at least {FEWEST}. Fewer are unsound: measured on 14 "
                             "collections, three nodes put nDCG@10 off by up to .013, biased upward (five: .0045)")
    return found


class _Curve(Protocol):
    def add(self, reranker: TaskArithReranker, run: pd.DataFrame) -> None:
        """Scores the run at the next node."""

    def at(self, weights: np.ndarray) -> np.ndarray:
        """Returns float32 scores of the run's rows, of what each node weighs."""


class _Scores:
    """A score for each row and node."""

    def __init__(self) -> None:
        self._nodes: list[np.ndarray] = []

    def add(self, reranker: TaskArithReranker, run: pd.DataFrame) -> None:
        # The re-ranker's scores are float32 in a float64 column.
        self._nodes.append(reranker.transform(run)["score"].to_numpy(dtype=np.float32))

    def at(self, weights: np.ndarray) -> np.ndarray:
        return weighted(self._nodes, weights)


class _Embeddings:
    """An embedding for each distinct query, each distinct text, and node."""

    def __init__(self, scorer: BiEncoder, queries: list[str], texts: list[str]) -> None:
        self._scorer = scorer
        self._asked, self._of_query = distinct(queries)
        self._texts, self._of_text = distinct(texts)
        self._queries: list[np.ndarray] = []
        self._documents: list[np.ndarray] = []
        # Rows in the order of their texts, so that a block of texts has a slice of them.
        self._order = np.argsort(self._of_text, kind="stable")
        self._starts = np.searchsorted(self._of_text[self._order], np.arange(0, len(self._texts) + BLOCK, BLOCK))

    def add(self, reranker: TaskArithReranker, run: pd.DataFrame) -> None:
        queries, documents = reranker.model.embed(reranker.setting, self._asked, self._texts)
        self._queries.append(queries)
        self._documents.append(documents)

    def at(self, weights: np.ndarray) -> np.ndarray:
        queries = self._combined(self._queries, weights)
        scores = np.empty(len(self._order), dtype=np.float32)
        for block, (start, end) in enumerate(zip(self._starts[:-1], self._starts[1:], strict=True)):
            first = block * BLOCK
            texts = self._combined([node[first:first + BLOCK] for node in self._documents], weights)
            rows = self._order[start:end]
            scores[rows] = self._scorer.compare(queries, texts, self._of_query[rows], self._of_text[rows] - first)
        return scores

    def _combined(self, embeddings: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
        combined = weighted(embeddings, weights)
        # At a node they are the model's own, bit for bit.
        return combined if np.count_nonzero(weights) == 1 else self._scorer.renormalise(combined)


def weighted(values: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Returns the weighted sum of float32 arrays of one shape; a weight of 0 leaves no trace."""
    total = np.zeros_like(values[0])
    for value, weight in zip(values, weights.astype(np.float32), strict=True):
        if weight:
            total += weight * value
    return total
