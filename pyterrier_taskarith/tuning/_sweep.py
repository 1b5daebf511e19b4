"""The whole grid of α × weight for one scoring per α."""

import itertools
import numbers
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyterrier as pt

from pyterrier_taskarith.errors import CacheError, TaskArithError, WrongTypeError
from pyterrier_taskarith.fusion import Mix
from pyterrier_taskarith.reranker import TaskArithReranker
from pyterrier_taskarith.scorers import ScoreCache
from pyterrier_taskarith.tuning._development import AVERAGE, DevelopmentSet, Frames, Measures, aligned, developments
from pyterrier_taskarith.tuning._nodes import AlphaCurve

#: The paper's grid of α, with 0 (Θ_T itself) before it.
ALPHAS: tuple[float, ...] = tuple(step / 10 for step in range(11))
#: Weights of the re-ranker in the mix; 1 is the re-ranker alone, 0 the first stage alone.
WEIGHTS: tuple[float, ...] = tuple(step / 10 for step in range(11))
#: Values of α as a user gives them: a list, or one for each vector by name.
Alphas = Sequence[float] | Mapping[str, Sequence[float]]
#: One setting's rows of a sweep's frame.
Rows = list[list[Any]]


def sweep(reranker: TaskArithReranker, run: Frames, qrels: Frames, *, alphas: Alphas = ALPHAS,
          weights: Sequence[float] = WEIGHTS, measures: Measures = "nDCG@10", topics: Frames | None = None,
          perquery: bool = False, nodes: Sequence[float] | None = None, resume: str | Path | None = None,
          verbose: bool = True) -> pd.DataFrame:
    """Evaluates ``Mix(reranker at α, weight)`` for every α and weight, scoring the run once for each α.

    The queries that count are those with judgements among ``topics``, or else among the run's; a query of ``topics``
    for which the first stage found nothing counts as 0. The values are ``pt.Experiment``'s over the same queries.

    Args:
        reranker: Its own α is left as it is.
        run: The first stage's results: qid, docno, query, score and the re-ranker's text column. Of several development
            sets, a dict by name; qrels and topics then too.
        qrels: qid, docno, label.
        alphas: Values of α, any real numbers. With several vectors they hold for all together; a dict by the vectors'
            names gives each its own, and every combination is tried.
        weights: Weights w of the re-ranker, in [0, 1]: w·minmax(re-ranker) + (1 − w)·minmax(first stage). A query whose
            first-stage scores are all equal has 0 for each of them, so that the re-ranker alone orders it.
        measures: ir_measures objects or names, trec_eval's names too.
        topics: The queries that were asked.
        perquery: Whether to return a row for each query instead of means; plots then show how sure a mean is.
        nodes: Scores the run at these α alone, at least five, and interpolates in between (see :class:`AlphaCurve`);
            None: every α is scored.
        resume: A file to keep scores in; a sweep that was killed scores only what is not in it, α by α. It is a score
            cache, as of the re-ranker's ``cache=``, in a file of its own; any sweep may use it.
        verbose: Whether to show progress.

    Returns:
        A tidy frame, α by α in the order given: alpha (with values by vector ``alpha.name`` for each), weight, measure
        (the label given), value (mean over queries). With several development sets a column ``collection`` comes first,
        and rows named "average" hold the mean over the sets, each counting the same. With ``perquery``, qid stands
        before value and there is no average. With nodes, ``interpolated`` says which values are.

    Raises:
        TypeError: If the re-ranker, the run or the grid is something else.
        ValueError: If the grid is empty or repeats a value, a value is out of range, the run repeats a document or
            lacks a column, no query has judgements, or ``resume`` is given with nodes or a cache.
    """
    grid, weights = alpha_grid(reranker, alphas), checked_weights(weights)
    sets = developments(run, qrels, topics, measures, reranker.columns)
    if nodes is not None:
        if grid.names:
            raise TaskArithError("nodes lie along one α: give alphas as one list for all vectors, or leave nodes out")
        if resume is not None:
            raise TaskArithError("resume keeps the scores of each α, and nodes interpolate between few: leave one out")
        curves = make_curves(reranker, sets, nodes, verbose)
        return interpolated(grid, weights, sets, curves, perquery)
    found: list[list[object]] = []
    with resuming(reranker, resume):
        for setting in pt.tqdm(grid.settings, desc="α", unit="α", disable=not verbose):
            found += scored(reranker.copy(alpha=grid.alpha(setting)), sets, weights, perquery, setting)
    return pd.DataFrame(found, columns=columns(grid, sets, perquery))


def sweep_runs(runs: Mapping[float, Frames], run: Frames, qrels: Frames, *, weights: Sequence[float] = WEIGHTS,
               measures: Measures = "nDCG@10", topics: Frames | None = None) -> pd.DataFrame:
    """Evaluates stored runs of a re-ranker as :func:`sweep` does, without scoring; :func:`best_setting` chooses.

    Args:
        runs: α -> the re-ranker's run: qid, docno and score of the first stage's rows, in any order.
        run: The first stage's results: qid, docno and score. Of several development sets dicts by name, as in
            :func:`sweep`; each α's run too.
        qrels: As in :func:`sweep`.
        weights: As in :func:`sweep`.
        measures: As in :func:`sweep`.
        topics: As in :func:`sweep`.

    Returns:
        What :func:`sweep` returns.

    Raises:
        TypeError: As :func:`sweep`.
        ValueError: As :func:`sweep`, or if a run is not of the first stage's rows.
    """
    sets, weights = developments(run, qrels, topics, measures, ["qid", "docno"]), checked_weights(weights)
    grid = AlphaGrid((), tuple((float(alpha),) for alpha in runs))
    found: list[list[object]] = []
    for (alpha,), stored in zip(grid.settings, runs.values(), strict=True):
        named = stored if isinstance(stored, Mapping) else {"": stored}
        neural = {name: each.normalised(aligned(named[name], each.run)) for name, each in sets.items()}
        found += rows_of(sets, neural, weights, False, (alpha,))
    return pd.DataFrame(found, columns=columns(grid, sets, False))


@contextmanager
def resuming(reranker: TaskArithReranker, file: str | Path | None) -> Iterator[None]:
    """Within it, the re-ranker and its copies with another α keep their scores in a file, if there is one.

    Raises:
        CacheError: If the file is something else, or the re-ranker has a cache already.
    """
    if file is None:
        yield
        return
    if reranker.cache is not None:
        raise CacheError(f"the re-ranker keeps its scores in cache={reranker.cache!r}, from which a sweep goes on too: "
                         "leave resume out")
    path = Path(file)
    cache = ScoreCache(path.parent, path.name)  # opened before a model is loaded
    with reranker.model.caching(cache):
        yield


@dataclass(frozen=True)
class AlphaGrid:
    """Settings of α, in order.

    Attributes:
        names: The vectors that have values of their own; empty where one α holds for all.
        settings: One value of α, or one for each name, a setting.
    """

    names: tuple[str, ...]
    settings: tuple[tuple[float, ...], ...]

    @property
    def columns(self) -> list[str]:
        """Columns of a frame of settings: ``alpha``, or ``alpha.name`` for each vector."""
        return [f"alpha.{name}" for name in self.names] or ["alpha"]

    def alpha(self, setting: tuple[float, ...]) -> float | dict[str, float]:
        """Returns a setting as a re-ranker takes it."""
        return dict(zip(self.names, setting, strict=True)) if self.names else setting[0]


def alpha_grid(reranker: TaskArithReranker, alphas: Alphas) -> AlphaGrid:
    """Reads a grid of α.

    Args:
        reranker: Whose vectors the names are of.
        alphas: Values of α for all vectors together, or values for each vector by name, of which every combination is
            a setting.

    Raises:
        TypeError: If they are not numbers, or the re-ranker is not a TaskArithReranker.
        ValueError: If values are missing, repeated or not finite, or the names are not those of the vectors.
    """
    check_reranker(reranker, "sweep and tune take")
    if not isinstance(alphas, Mapping):
        return AlphaGrid((), tuple((value,) for value in numbers_of(alphas, "alphas")))
    vectors = reranker.vector_names
    unknown, absent = [name for name in alphas if name not in vectors], [name for name in vectors if name not in alphas]
    if unknown or absent:
        raise TaskArithError(f"alphas must name each of the re-ranker's vectors {vectors}: unknown {unknown}, absent "
                             f"{absent}")
    values = [numbers_of(alphas[name], f"alphas[{name!r}]") for name in vectors]
    return AlphaGrid(tuple(vectors), tuple(itertools.product(*values)))


def numbers_of(values: Iterable[Any], name: str) -> list[float]:
    """Returns values as floats.

    Raises:
        TypeError: If they are not a list of numbers.
        ValueError: If there is none, or one is repeated or not finite.
    """
    if isinstance(values, str | numbers.Real) or any(not isinstance(value, numbers.Real) for value in values):
        by_layers = not isinstance(values, str | numbers.Real) and any(isinstance(value, Mapping) for value in values)
        hint = "; one α for all layers is swept, and tune_layers chooses α by layers" if by_layers else ""
        raise WrongTypeError(f"{name}={values!r}: give a list of numbers{hint}")
    found = [float(value) for value in values]
    if not found:
        raise TaskArithError(f"{name} is empty: give at least one value")
    if len(set(found)) < len(found) or not np.isfinite(found).all():
        raise TaskArithError(f"{name}={found}: values must be finite and distinct")
    return found


def check_reranker(reranker: object, who: str) -> None:
    """Refuses what is not a TaskArithReranker.

    Raises:
        TypeError: Beginning with ``who``, such as "sweep takes".
    """
    if not isinstance(reranker, TaskArithReranker):
        raise WrongTypeError(f"{who} a TaskArithReranker first, not a {type(reranker).__name__}"
                             f"{'; give the re-ranker inside the Mix' if isinstance(reranker, Mix) else ''}")


def checked_weights(weights: Sequence[float]) -> list[float]:
    """Returns weights of the mix as floats.

    Raises:
        ValueError: If one is not from 0 to 1.
    """
    found = numbers_of(weights, "weights")
    if not all(0 <= weight <= 1 for weight in found):
        raise TaskArithError(f"weights={found}: each must be from 0 to 1")
    return found


def columns(grid: AlphaGrid, sets: Mapping[str, DevelopmentSet], perquery: bool) -> list[str]:
    """Returns the columns of a sweep's frame."""
    return [*([] if "" in sets else ["collection"]), *grid.columns, "weight", "measure",
            *(["qid"] if perquery else []), "value"]


def scored(reranker: TaskArithReranker, sets: Mapping[str, DevelopmentSet], weights: Sequence[float],
           perquery: bool, setting: tuple[float, ...] = ()) -> Rows:
    """Scores every development set once, and returns the rows of :func:`rows_of`."""
    neural = {name: each.normalised(reranker.transform(each.run)["score"]) for name, each in sets.items()}
    return rows_of(sets, neural, weights, perquery, setting)


def rows_of(sets: Mapping[str, DevelopmentSet], neural: Mapping[str, np.ndarray], weights: Sequence[float],
            perquery: bool, setting: tuple[float, ...] = ()) -> Rows:
    """Returns one setting's rows: collection (of several sets), α as given, weight, measure, qid, value."""
    found: Rows = []
    for weight in weights:
        means: dict[str, list[float]] = {}
        for name, each in sets.items():
            if perquery:
                found += [[*_named(name), *setting, weight, label, qid, value]
                          for qid, label, value in each.evaluate_each(weight, neural[name])]
                continue
            for label, value in each.evaluate(weight, neural[name]):
                found.append([*_named(name), *setting, weight, label, value])
                means.setdefault(label, []).append(value)
        if "" not in sets:
            found += [[AVERAGE, *setting, weight, label, float(np.mean(values))] for label, values in means.items()]
    return found


def make_curves(reranker: TaskArithReranker, sets: Mapping[str, DevelopmentSet], nodes: Sequence[float],
                verbose: bool) -> dict[str, AlphaCurve]:
    """Scores every development set at the nodes."""
    return {name: AlphaCurve(reranker, each.run, nodes=nodes, verbose=verbose) for name, each in sets.items()}


def interpolated(grid: AlphaGrid, weights: Sequence[float], sets: Mapping[str, DevelopmentSet],
                 curves: Mapping[str, AlphaCurve], perquery: bool) -> pd.DataFrame:
    """Returns a sweep's frame read from curves."""
    def rows() -> Iterator[list[object]]:
        for setting in grid.settings:
            neural = {name: each.normalised(curves[name].scores(setting[0])) for name, each in sets.items()}
            exact = all(setting[0] in curve.nodes for curve in curves.values())
            for row in rows_of(sets, neural, weights, perquery, setting):
                yield [*row, not exact]

    return pd.DataFrame(list(rows()), columns=[*columns(grid, sets, perquery), "interpolated"])


def _named(name: str) -> list[str]:
    return [name] if name else []
