"""compare: from runs or transformers to a Comparison; from_experiment: from pt.Experiment's per-query values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import pandas as pd
from ir_measures import Measure

from pyterrier_taskarith.data import checked_topics, first_few, query_texts
from pyterrier_taskarith.errors import DataError, TaskArithError, WrongTypeError
from pyterrier_taskarith.evaluation._comparison import Comparison, assemble
from pyterrier_taskarith.evaluation._evaluate import System, evaluate, named_systems, parse_measures
from pyterrier_taskarith.evaluation._significance import Procedure

TestName = Literal["t", "wilcoxon", "fisher"]
CorrectionName = Literal["bonferroni", "holm"]
IntervalName = Literal["t", "bootstrap"]


def compare(
    systems: Mapping[str, System] | Sequence[tuple[str, System]],
    qrels: pd.DataFrame,
    measures: str | Measure | Iterable[str | Measure],
    *,
    topics: pd.DataFrame | None = None,
    baselines: str | Sequence[str] | None = None,
    test: TestName = "t",
    correction: CorrectionName | None = "bonferroni",
    n_comparisons: int | None = None,
    confidence: float = 0.99,
    interval: IntervalName = "t",
    resamples: int = 100_000,
    seed: int = 42,
    verbose: bool = False,
) -> Comparison:
    """Compares systems with the best of some baselines, measure by measure.

    The defaults are the paper's (§3.1): a Bonferroni-corrected two-sided paired Student's t-test at 99 % confidence,
    where * marks a significant improvement over the best-performing baseline of that measure.

    The queries that count are pt.Experiment's by default: those with judgements, among `topics` where topics are given.
    A judged query for which a system retrieved nothing counts as 0, one without judgements is left out and reported.
    The order of a run's rows never matters: ties are broken by docno, in most measures by trec_eval's rule.

    Args:
        systems: Name → run (a DataFrame with qid, docno, score) or transformer, in the order of the table's rows. A
            transformer is run exactly once; where systems share a costly first stage, run it yourself, or use
            pt.Experiment(plan="tree", perquery=True) and `from_experiment`.
        qrels: Columns qid, docno, label.
        measures: ir_measures objects, their names ("nDCG@10"), or trec_eval's ("ndcg_cut_10", "P_10", "map"). Higher is
            better in all of them, and the mean over queries is compared.
        topics: Columns qid and query. Needed where there is a transformer; it also restricts the queries, and gives
            `Comparison.queries` their texts.
        baselines: Names of the systems among which the best is chosen in each measure (the first named, in a tie).
            All other systems are tested against it. May be left out only with two systems: the first is the baseline.
        test: "t", "wilcoxon" or "fisher" (randomisation), all two-sided and paired.
        correction: "bonferroni", "holm", or None.
        n_comparisons: The number of comparisons to correct for in each measure. By default the number of systems
            tested against the baseline, as pt.Experiment counts; measures are never counted together. Always printed.
        confidence: A system is starred where its corrected p value is below 1 − confidence and its mean is higher.
        interval: "t" (Student's) or "bootstrap" (BCa, for differences that are far from normal): the kind of the
            confidence intervals of the mean difference. The star follows the test, not the interval.
        resamples: Sign assignments of the Fisher test (with fewer possible ones, so with few queries, all are tried),
            and resamples of the bootstrap: 100,000 take about a second for each test of 1,000 queries.
        seed: Seed of both.
        verbose: Show a progress bar over the systems.

    Returns:
        The comparison; print it. Confidence intervals are at the Bonferroni-corrected level, so that Student's agree
        with the t-test's star (see `Procedure.interval_confidence`).

    Raises:
        ValueError: Bad input: an unknown baseline, measure, test or correction, a number out of range, a run with a
            repeated document or a missing column, queries that do not match. The message names the thing.
        TypeError: An argument of the wrong type.
    """
    named = named_systems(systems)
    labels = parse_measures(measures)
    chosen = _checked_baselines(baselines, list(named))
    procedure = _procedure(len(named) - len(chosen), test, correction, n_comparisons, confidence, interval, resamples,
                           seed)
    per_query, n_unjudged = evaluate(named, qrels, labels, topics, verbose=verbose)
    return assemble(per_query, list(named), list(labels.values()), chosen, procedure, n_unjudged, query_texts(topics))


def from_experiment(
    frame: pd.DataFrame,
    *,
    baselines: str | Sequence[str],
    topics: pd.DataFrame | None = None,
    test: TestName = "t",
    correction: CorrectionName | None = "bonferroni",
    n_comparisons: int | None = None,
    confidence: float = 0.99,
    interval: IntervalName = "t",
    resamples: int = 100_000,
    seed: int = 42,
) -> Comparison:
    """Compares the systems of a pt.Experiment.

    Args:
        frame: What `pt.Experiment(..., perquery=True)` returns: columns name, qid, measure, value. (Of
            `perquery="both"`, take `.perquery`.) Queries whose values are all NaN have no judgements and are left out.
        baselines: As in `compare`, but required: pt.Experiment sorts systems by name, so none is the first. They are
            the first rows of the table.
        topics: Columns qid and query, for the texts of the queries; it restricts nothing, as the experiment had topics.
        test: As in `compare`.
        correction: As in `compare`.
        n_comparisons: As in `compare`.
        confidence: As in `compare`.
        interval: As in `compare`.
        resamples: As in `compare`.
        seed: As in `compare`.

    Returns:
        The comparison.

    Raises:
        ValueError: A missing column, two values for one system, query and measure, or none for one that another system
            has; and the errors of `compare`.
        TypeError: `frame` is not a DataFrame.
    """
    columns = ["name", "qid", "measure", "value"]
    if not isinstance(frame, pd.DataFrame):
        raise WrongTypeError(f"frame is a {type(frame).__name__}: give the per-query DataFrame of pt.Experiment"
                             '(..., perquery=True); of perquery="both" that is .perquery')
    if missing := [column for column in columns if column not in frame.columns]:
        raise DataError(f"frame lacks column {first_few(missing)}: it has {list(frame.columns)}; run pt.Experiment "
                        "with perquery=True and without baseline=")
    per_query = frame[columns].rename(columns={"name": "system"}).astype({"qid": str})
    if (repeated := per_query.duplicated(["system", "qid", "measure"])).any():
        first = per_query[repeated].iloc[0]
        raise DataError(f"system {first['system']!r} has two values of {first['measure']} for query {first['qid']!r}: "
                        "do two systems of the experiment have the same name?")
    judged = per_query.groupby("qid")["value"].transform("count") > 0
    n_unjudged = per_query.loc[~judged, "qid"].nunique()
    per_query = per_query[judged]
    if per_query.empty:
        raise DataError("frame has no values: none of its queries has judgements")

    found = list(per_query["system"].unique())
    chosen = _checked_baselines(baselines, found)
    order = [*chosen, *(name for name in found if name not in chosen)]
    procedure = _procedure(len(found) - len(chosen), test, correction, n_comparisons, confidence, interval, resamples,
                           seed)
    return assemble(per_query, order, list(per_query["measure"].unique()), chosen, procedure, n_unjudged,
                    query_texts(None if topics is None else checked_topics(topics)))


def _checked_baselines(baselines: str | Sequence[str] | None, systems: list[str]) -> tuple[str, ...]:
    if len(systems) < 2:
        raise TaskArithError(f"there is nothing to compare: {len(systems)} system given ({first_few(systems)}), at "
                             "least a baseline and another are needed")
    if baselines is None:
        if len(systems) > 2:
            raise TaskArithError(f"which of the {len(systems)} systems are baselines? "
                                 f"Name them: baselines=[{systems[0]!r}, …]")
        return (systems[0],)
    chosen = (baselines,) if isinstance(baselines, str) else tuple(baselines)
    if not chosen:
        raise TaskArithError(f"baselines is empty: name at least one of {', '.join(map(repr, systems))}")
    for position, name in enumerate(chosen):
        if name not in systems:
            raise TaskArithError(f"unknown baseline {name!r}: the systems are {', '.join(map(repr, systems))}")
        if name in chosen[:position]:
            raise TaskArithError(f"baseline {name!r} is named twice")
    if len(chosen) == len(systems):
        raise TaskArithError("every system is a baseline, so there is none to test: leave out of baselines what is new")
    return chosen


def _procedure(n_tested: int, test: str, correction: str | None, n_comparisons: int | None, confidence: float,
               interval: str, resamples: int, seed: int) -> Procedure:
    n = n_tested if n_comparisons is None else n_comparisons
    procedure = Procedure(test, correction, n, confidence, resamples, seed, interval)
    if correction == "holm" and n < n_tested:
        raise TaskArithError(f"n_comparisons={n} is fewer than the {n_tested} systems tested: Holm ranks all of them")
    return procedure
