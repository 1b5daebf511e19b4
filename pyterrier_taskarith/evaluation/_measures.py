"""Measures as users name them → ir_measures objects, each with the label the user gave it."""

from __future__ import annotations

import numbers
import re
from collections.abc import Iterable

import ir_measures
import pandas as pd
import pyterrier as pt
from ir_measures import Measure
from ir_measures.providers import Evaluator
from ir_measures.providers.fallback_provider import FallbackEvaluator

from pyterrier_taskarith.errors import TaskArithError, WrongTypeError

SPELLINGS = 'give an ir_measures object (nDCG@10), its name ("nDCG@10") or trec_eval\'s name ("ndcg_cut_10")'

#: How trec_eval's names are written. ir_measures reads no further than it understands: "P_5x" would be P_5.
_TREC = re.compile(r"[A-Za-z_]+([._]\d+(\.\d+)?(,\d+(\.\d+)?)*)?")


def parse_measures(measures: str | Measure | Iterable[str | Measure]) -> dict[Measure, str]:
    """Reads measures the way pt.Experiment does, and ir_measures' own names besides.

    Args:
        measures: One measure or several: ir_measures objects, their names ("nDCG@10"), or trec_eval's names
            ("ndcg_cut_10", "P_10", "map"). A trec_eval family ("P") stands for its members.

    Returns:
        Measure → label, in the order given. A single measure given by name keeps that name as its label.

    Raises:
        ValueError: No measure, an unknown one, a parameter it does not have, or the same measure twice.
        TypeError: Something that is neither a string nor a measure.
    """
    labels: dict[Measure, str] = {}
    for given in [measures] if isinstance(measures, str | Measure) else measures:
        parsed = _parse(given)
        for measure in parsed:
            _check_parameters(measure)
            label = given if isinstance(given, str) and len(parsed) == 1 else str(measure)
            if measure in labels:
                raise TaskArithError(f"measure {measure} is given twice, as {labels[measure]!r} and {label!r}")
            if label in labels.values():
                raise TaskArithError(f"two measures are called {label!r}: give each a name of its own")
            labels[measure] = label
    if not labels:
        raise TaskArithError(f"no measures given: {SPELLINGS}")
    return labels


def make_evaluator(measures: Iterable[Measure], qrels: pd.DataFrame) -> Evaluator:
    """Returns what evaluates runs in all measures at once.

    Measures with gains of their own are kept apart: ir_measures computes an nDCG without gains by the gains of
    whichever measure comes first to it.

    Args:
        measures: Such as the keys of :func:`parse_measures`.
        qrels: qid, docno, label.

    Raises:
        ValueError: If no installed provider computes a measure.
    """
    measures, judged = list(measures), pt.model.to_ir_measures(qrels)
    parts = [[measure for measure in measures if ("gains" in measure.params) is own] for own in (False, True)]
    evaluators = [ir_measures.evaluator(part, judged) for part in parts if part]
    return evaluators[0] if len(evaluators) == 1 else FallbackEvaluator(measures, evaluators)


def _parse(measure: str | Measure) -> list[Measure]:
    if isinstance(measure, Measure):
        return [measure]
    if not isinstance(measure, str):
        raise WrongTypeError(f"measure {measure!r} is a {type(measure).__name__}: {SPELLINGS}")
    if _TREC.fullmatch(measure):
        try:
            return ir_measures.parse_trec_measure(measure)
        except ValueError:
            pass  # not one of trec_eval's names
    try:
        return [ir_measures.parse_measure(measure)]
    except (NameError, ValueError) as error:
        raise TaskArithError(f"unknown measure {measure!r}: {SPELLINGS}") from error


def _check_parameters(measure: Measure) -> None:
    try:
        measure.validate_params()
    except AssertionError as error:
        # repr(measure) itself fails on parameters it does not know.
        raise TaskArithError(f"measure {measure.NAME} with parameters {measure.params}: {error}") from error
    cutoff = measure.params.get("cutoff", 1)
    if isinstance(cutoff, bool) or cutoff < 1:  # trec_eval would abort the whole process
        raise TaskArithError(f"measure {measure} has the cutoff {cutoff}: it must be 1 or more")
    gains = measure.params.get("gains", {})
    if any(not isinstance(number, numbers.Integral) for number in (*gains, *gains.values())):
        raise TaskArithError(f"measure {measure.NAME} with gains={gains}: gains give a whole number for each label, "
                             "such as gains={1: 1, 2: 3}")
