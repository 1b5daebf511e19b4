"""Measures, and one value per system, query and measure: each system is run and evaluated once."""

from __future__ import annotations

import numbers
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import ir_measures
import pandas as pd
import pyterrier as pt
from ir_measures import Measure
from ir_measures.providers import Evaluator
from ir_measures.providers.fallback_provider import FallbackEvaluator

from pyterrier_taskarith.data import checked_qrels, checked_run, checked_topics, first_few
from pyterrier_taskarith.errors import DataError, TaskArithError, WrongTypeError

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
    """Returns an evaluator of runs in all measures.

    Measures with gains of their own get a separate evaluator: ir_measures would compute an nDCG without gains by those
    of another measure that comes before it.

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


System: TypeAlias = pd.DataFrame | pt.Transformer


def named_systems(systems: Mapping[str, System] | Sequence[tuple[str, System]]) -> dict[str, System]:
    """Returns checked name → system of a mapping or of (name, system) pairs, in the order given."""
    named: dict[str, System] = {}
    for pair in systems.items() if isinstance(systems, Mapping) else systems:
        if not (isinstance(pair, tuple | list) and len(pair) == 2):
            raise WrongTypeError("systems must be a dict of name: system or a list of (name, system) pairs, "
                                 f"but it holds a {type(pair).__name__}")
        name, system = pair
        if not isinstance(name, str):
            raise WrongTypeError(f"system name {name!r} is a {type(name).__name__}: names are strings")
        if not name.strip():
            raise DataError("a system has an empty name: every row of the table needs one")
        if name in named:
            raise DataError(f"two systems are called {name!r}: give each a name of its own")
        if not isinstance(system, pd.DataFrame | pt.Transformer):
            raise WrongTypeError(f"system {name!r} is a {type(system).__name__}: "
                                 "give a run (DataFrame with qid, docno, score) or a PyTerrier transformer")
        named[name] = system
    return named


def evaluate(systems: Mapping[str, System], qrels: pd.DataFrame, measures: Mapping[Measure, str],
             topics: pd.DataFrame | None = None, *, verbose: bool = False) -> tuple[pd.DataFrame, int]:
    """Evaluates every system on the same queries; the arguments are those of `compare`.

    Returns:
        A frame (system, qid, measure, value), and the number of queries (in topics, or else in any run) that were
        left out because they have no judgements.

    Raises:
        DataError: Bad input, as `checked_run`, `checked_qrels` and `checked_topics` say; a transformer without
            topics; topics or a run that share no query with qrels.
        ValueError: No installed provider computes a measure.
    """
    qrels = checked_qrels(qrels)
    queries = pd.DataFrame(columns=["qid"]) if topics is None else checked_topics(topics)
    asked = set(queries["qid"])
    if topics is not None:
        kept = qrels[qrels["qid"].isin(asked)]
        if kept.empty:
            raise DataError(f"no query of topics ({first_few(queries['qid'])}) has judgements in qrels, "
                            f"which is about {first_few(qrels['qid'].unique())}: are both of one test collection?")
        qrels = kept
    elif transformers := [name for name, system in systems.items() if isinstance(system, pt.Transformer)]:
        raise DataError(f"system {first_few(transformers)} is a transformer, which needs queries to run: give topics=")
    judged = set(qrels["qid"])
    # Before any transformer runs, so that a measure nobody computes costs no retrieval.
    evaluator = make_evaluator(measures, qrels)

    retrieved: set[str] = set()
    rows: list[tuple[str, str, str, float]] = []
    for name, system in pt.tqdm(systems.items(), desc="compare", unit="system", disable=not verbose):
        # A copy: some transformers write into the frame that they are given.
        run = checked_run(name, system if isinstance(system, pd.DataFrame) else system(queries.copy()))
        found = set(run["qid"])
        if not found & judged:
            raise DataError(f"the run of system {name!r} has none of the {len(judged)} judged queries: it is about "
                            f"{first_few(sorted(found))}, the judgements about {first_few(sorted(judged))}")
        retrieved |= found
        rows += [(name, metric.query_id, measures[metric.measure], float(metric.value))
                 for metric in evaluator.iter_calc(pt.model.to_ir_measures(run))]
    if topics is None and (absent := judged - retrieved):
        warnings.warn(f"{len(absent)} of the {len(judged)} judged queries have no documents in any run and count as 0 "
                      f"({first_few(sorted(absent))}): give topics= to evaluate only the queries that were run",
                      stacklevel=3)
    return pd.DataFrame(rows, columns=["system", "qid", "measure", "value"]), len((asked or retrieved) - judged)
