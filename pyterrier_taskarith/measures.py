"""Measures as users name them → ir_measures objects, each with the label the user gave it."""

from __future__ import annotations

from collections.abc import Iterable

import ir_measures
from ir_measures import Measure

SPELLINGS = 'give an ir_measures object (nDCG@10), its name ("nDCG@10") or trec_eval\'s name ("ndcg_cut_10")'


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
                raise ValueError(f"measure {measure} is given twice, as {labels[measure]!r} and {label!r}")
            if label in labels.values():
                raise ValueError(f"two measures are called {label!r}: give each a name of its own")
            labels[measure] = label
    if not labels:
        raise ValueError(f"no measures given: {SPELLINGS}")
    return labels


def _parse(measure: str | Measure) -> list[Measure]:
    if isinstance(measure, Measure):
        return [measure]
    if not isinstance(measure, str):
        raise TypeError(f"measure {measure!r} is a {type(measure).__name__}: {SPELLINGS}")
    try:
        return ir_measures.parse_trec_measure(measure)
    except ValueError:
        pass  # not one of trec_eval's names
    try:
        return [ir_measures.parse_measure(measure)]
    except (NameError, ValueError) as error:
        raise ValueError(f"unknown measure {measure!r}: {SPELLINGS}") from error


def _check_parameters(measure: Measure) -> None:
    try:
        measure.validate_params()
    except AssertionError as error:
        # repr(measure) itself fails on parameters it does not know.
        raise ValueError(f"measure {measure.NAME} with parameters {measure.params}: {error}") from error
