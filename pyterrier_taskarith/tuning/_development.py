"""Development sets: first-stage runs with judgements, ready to be mixed and evaluated many times."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import pandas as pd
from ir_measures import Measure

from pyterrier_taskarith.data import (
    as_numbers,
    check_columns,
    check_queries,
    checked_qrels,
    checked_topics,
    first_few,
    require_values,
)
from pyterrier_taskarith.errors import DataError, WrongTypeError
from pyterrier_taskarith.evaluation import make_evaluator, parse_measures
from pyterrier_taskarith.fusion import minmax

#: What stands for the mean over development sets, each set counting the same (the paper's rule).
AVERAGE = "average"
#: A frame, or one for each development set by name.
Frames: TypeAlias = pd.DataFrame | Mapping[str, pd.DataFrame]
Measures: TypeAlias = str | Measure | Iterable[str | Measure]


class DevelopmentSet:
    """One development set.

    Attributes:
        run: The first stage's rows, one query's side by side.
        labels: Measure -> label.
    """

    def __init__(self, run: pd.DataFrame, qrels: pd.DataFrame, measures: Measures, topics: pd.DataFrame | None,
                 columns: Sequence[str]) -> None:
        """Checks and orders the run, which needs these columns and ``score``.

        Raises:
            TypeError: If the run is not a frame.
            ValueError: If the run repeats a document, lacks a column, rows or a value, or has a score that is not
                a number; the topics have no rows or repeat a query; no query has judgements; or a measure is unknown.
        """
        if not isinstance(run, pd.DataFrame):
            raise WrongTypeError(f"run is a {type(run).__name__}: give a first stage's results, such as bm25(topics)")
        check_columns("the run", run)
        needed = [*columns, "score"]
        absent = [column for column in needed if column not in run.columns]
        if absent:
            raise DataError(f"the run lacks the columns {absent} and has {list(run.columns)}; it needs "
                            f"{', '.join(needed)}. Behind a first stage without texts put pt.text.get_text(…); of "
                            "texts in another column tell the re-ranker: text_field=")
        if not len(run):
            raise DataError("the run has no rows: the first stage found nothing for these queries")
        require_values("the run", run, ["qid", "docno", "score"])
        run = run.assign(score=as_numbers("the run", run, "score"))
        check_queries("the run", run)
        topics = None if topics is None else checked_topics(topics)
        qrels = checked_qrels(qrels)
        repeated = run[run.duplicated(["qid", "docno"])]
        if len(repeated):
            first = repeated.iloc[0]
            raise DataError(f"the run has document {first['docno']!r} twice for query {first['qid']!r} "
                            f"({len(repeated)} such rows); drop duplicates")
        self.run = run.sort_values("qid", kind="stable", ignore_index=True)
        qids = self.run["qid"].to_numpy()
        starts = np.flatnonzero(np.r_[True, qids[1:] != qids[:-1]])
        self._qids = [str(qids[start]) for start in starts]
        self._slices = [slice(start, end) for start, end in zip(starts, [*starts[1:], len(qids)], strict=True)]
        docnos = self.run["docno"].astype(str).tolist()
        self._docnos = [docnos[rows] for rows in self._slices]
        self._first = minmax(self.run["qid"], self.run["score"])
        self.labels = parse_measures(measures)
        asked = set(map(str, qids if topics is None else topics["qid"]))
        self.judged = qrels[qrels["qid"].isin(asked)]
        if not len(self.judged):
            what = "run" if topics is None else "topics"
            raise DataError(f"no query of the {what} ({first_few(sorted(asked))}) has judgements in qrels, which is "
                            f"about {first_few(qrels['qid'].unique())}; do their qids agree?")
        self._evaluator = make_evaluator(self.labels, self.judged)

    def normalised(self, scores: np.ndarray | pd.Series) -> np.ndarray:
        """Returns the re-ranker's scores of the run's rows, min–max normalised within each query."""
        return minmax(self.run["qid"], pd.Series(np.asarray(scores)))

    def evaluate(self, weight: float, neural: np.ndarray) -> Iterator[tuple[str, float]]:
        """Yields (label, mean over queries) of the mix at a weight; ``neural`` is normalised."""
        means = self._evaluator.calc_aggregate(self._mixed(weight, neural))
        for measure, label in self.labels.items():
            yield label, float(means[measure])

    def evaluate_each(self, weight: float, neural: np.ndarray) -> Iterator[tuple[str, str, float]]:
        """Yields (qid, label, value) of the mix at a weight."""
        for metric in self._evaluator.iter_calc(self._mixed(weight, neural)):
            yield metric.query_id, self.labels[metric.measure], float(metric.value)

    def _mixed(self, weight: float, neural: np.ndarray) -> dict[str, dict[str, float]]:
        mixed = (weight * neural + (1 - weight) * self._first).tolist()
        return {qid: dict(zip(docnos, mixed[rows], strict=True))
                for qid, docnos, rows in zip(self._qids, self._docnos, self._slices, strict=True)}


def developments(run: Frames, qrels: Frames, topics: Frames | None, measures: Measures,
                 columns: Sequence[str]) -> dict[str, DevelopmentSet]:
    """Makes one development set, under the name "", or several by their names.

    Raises:
        TypeError: If some of run, qrels and topics are by name and others are not.
        ValueError: If they do not have the same names, or one is called "average"; and as :class:`DevelopmentSet`, with
            the set's name.
    """
    several = isinstance(run, Mapping)
    if several != isinstance(qrels, Mapping) or (topics is not None and several != isinstance(topics, Mapping)):
        raise WrongTypeError("of several development sets, give run, qrels and topics each as a dict by the sets' "
                             "names; of one, give frames")
    if not isinstance(run, Mapping):
        return {"": DevelopmentSet(run, qrels, measures, topics, columns)}
    for name, frames in (("qrels", qrels), ("topics", topics)):
        if isinstance(frames, Mapping) and frames.keys() != run.keys():
            raise DataError(f"run has the development sets {list(run)} and {name} has {list(frames)}: give both for "
                            "each set")
    if not run or AVERAGE in run:
        raise DataError(f"run has the development sets {list(run)}: give at least one, and none called {AVERAGE!r}, "
                        "which is their mean's name")
    found = {}
    for name, frame in run.items():
        try:
            found[name] = DevelopmentSet(frame, qrels[name], measures, topics[name] if topics is not None else None,
                                         columns)
        except DataError as error:
            raise DataError(f"development set {name!r}: {error}") from error
    return found


def aligned(run: pd.DataFrame, rows: pd.DataFrame) -> pd.Series:
    """Returns a run's scores in the order of other rows, which are of the same queries and documents.

    Raises:
        DataError: If they are not.
    """
    scores = run.set_index(["qid", "docno"])["score"]
    wanted = pd.MultiIndex.from_frame(rows[["qid", "docno"]])
    if len(scores) != len(wanted) or not wanted.isin(scores.index).all():
        raise DataError(f"a run of {len(scores)} rows is not of the {len(wanted)} rows that the first stage found")
    return scores.reindex(wanted).reset_index(drop=True)
