"""Scored frames: ranks, per-query min–max normalisation, and the paper's fusion of first stage and re-ranker."""

import numbers
import warnings

import numpy as np
import pandas as pd
import pyterrier as pt

from pyterrier_taskarith._identity import Configured
from pyterrier_taskarith.data import check_columns
from pyterrier_taskarith.errors import DataError, TaskArithError, WrongTypeError


def with_scores(frame: pd.DataFrame, scores: object) -> pd.DataFrame:
    """Returns a copy with float64 ``score`` and PyTerrier's ``rank``; index, rows and other columns stay."""
    scored = frame.assign(score=pd.Series(scores, index=frame.index, dtype="float64"))
    with warnings.catch_warnings():
        # add_ranks drops a column in place, which pandas 3.1 warns of; every other warning passes.
        warnings.filterwarnings("ignore", message="The inplace keyword in DataFrame.drop",
                                category=DeprecationWarning, module=r"pyterrier\.model$")
        return pt.model.add_ranks(scored)


def minmax(qids: pd.Series, scores: pd.Series) -> np.ndarray:
    """Returns scores mapped to [0, 1] within each query (paper, §3.2).

    Args:
        qids: Query of each row.
        scores: Score of each row.

    Returns:
        float64 array, in the rows' order; a query whose scores are all equal gets 0.

    Raises:
        DataError: If a score is NaN or infinite.
    """
    values = scores.to_numpy(dtype=np.float64)
    if not np.isfinite(values).all():
        qid = qids.to_numpy()[~np.isfinite(values)][0]
        raise DataError(f"query {qid!r} has a score that is NaN or infinite; it cannot be mapped to [0, 1]")
    groups = pd.Series(values).groupby(qids.to_numpy(), sort=False)
    lowest, highest = groups.transform("min").to_numpy(), groups.transform("max").to_numpy()
    spread = highest - lowest
    scaled: np.ndarray = np.divide(values - lowest, spread, out=np.zeros_like(values), where=spread > 0)
    return scaled


class MinMax(Configured):
    """Maps the scores of each query to [0, 1]; equal scores become 0.

    Example:
        >>> bm25 >> (0.5 * MinMax() + 0.5 * (reranker >> MinMax()))  # doctest: +SKIP
    """

    schematic = {"label": "MinMax", "help_url": "https://doi.org/10.1145/3726302.3730216"}

    def __init__(self) -> None:
        """Takes no arguments; PyTerrier reads a transformer's attributes from its constructor."""

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Returns the frame with normalised scores and their ranks.

        Args:
            inp: qid, docno, score.

        Raises:
            pt.validate.InputValidationError: If a column is missing.
        """
        check_columns("the frame", inp)
        pt.validate.result_frame(inp, extra_columns=["score"], context=self)
        return with_scores(inp, minmax(inp["qid"], inp["score"]) if len(inp) else [])


class Mix(Configured):
    """w·minmax(re-ranker) + (1 − w)·minmax(incoming): the paper's fusion, tunable by its one ``weight``.

    The paper's λ is BM25's weight: ``weight`` = 1 − λ.

    Example:
        >>> bm25 >> Mix(reranker, weight=0.5)  # doctest: +SKIP
    """

    TUNABLE = ("weight",)
    schematic = {"label": "Mix", "help_url": "https://doi.org/10.1145/3726302.3730216",
                 "inner_pipelines_mode": "linked"}

    def __init__(self, reranker: pt.Transformer, weight: float = 0.5) -> None:
        """Wraps a re-ranker.

        Args:
            reranker: A transformer that scores exactly the rows it is given.
            weight: The re-ranker's weight w, in [0, 1].

        Raises:
            TaskArithError: If the weight is not a number in [0, 1].
            WrongTypeError: If the re-ranker is not a transformer.
        """
        if not isinstance(reranker, pt.Transformer):
            raise WrongTypeError(
                f"Mix takes a transformer first, not a {type(reranker).__name__}: Mix(reranker, weight=0.5)"
                + ("; of a run, pt.Transformer.from_df makes one" if isinstance(reranker, pd.DataFrame) else ""))
        self.reranker = reranker
        self._weight = 0.0
        self.weight = weight

    @property
    def weight(self) -> float:
        """The re-ranker's weight w, in [0, 1]; 1 − w is the first stage's."""
        return self._weight

    @weight.setter
    def weight(self, value: float) -> None:
        if not isinstance(value, numbers.Real) or isinstance(value, bool) or not 0 <= float(value) <= 1:
            raise TaskArithError(f"weight={value!r}: the re-ranker's weight must be a number from 0 to 1")
        self._weight = float(value)

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Returns the frame with the mixed scores and their ranks.

        Args:
            inp: qid, docno, score of the first stage, and what the re-ranker needs.

        Raises:
            pt.validate.InputValidationError: If a column is missing.
            DataError: If the incoming frame repeats a (qid, docno), or the re-ranker drops or adds rows.
        """
        check_columns("the frame", inp)
        with pt.validate.any(inp, context=self) as form:
            for columns in pt.inspect.transformer_inputs(self.reranker, strict=False) or [[]]:
                form.result_frame(["score", *(name for name in columns if name not in ("qid", "docno", "score"))])
        rows = pd.MultiIndex.from_frame(inp[["qid", "docno"]])
        if rows.has_duplicates:
            qid, docno = rows[rows.duplicated()][0]
            raise DataError(f"the frame has document {docno!r} twice for query {qid!r}; drop duplicates before Mix")
        scored = self.reranker.transform(inp)
        if not len(inp):
            return with_scores(inp, [])
        ours = scored.set_index(["qid", "docno"])["score"]
        if len(ours) != len(rows) or ours.index.has_duplicates or not ours.index.isin(rows).all():
            raise DataError(f"{self.reranker} returned {len(ours)} rows for {len(rows)}; Mix needs a re-ranker that "
                             "scores exactly the rows it is given")
        neural = minmax(inp["qid"], ours.reindex(rows).reset_index(drop=True))
        return with_scores(inp, self.weight * neural + (1 - self.weight) * minmax(inp["qid"], inp["score"]))
