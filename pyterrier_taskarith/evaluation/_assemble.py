"""From one value per system, query and measure to a Comparison: means, best baselines, tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pyterrier_taskarith.data import first_few
from pyterrier_taskarith.evaluation._comparison import Comparison
from pyterrier_taskarith.evaluation._procedure import Procedure
from pyterrier_taskarith.evaluation._significance import highest, paired_comparison

TEST_COLUMNS = ["system", "measure", "baseline", "difference", "ci_low", "ci_high", "statistic", "p", "p_corrected",
                "significant", "wins", "ties", "losses", "effect_size"]


def assemble(
    per_query: pd.DataFrame,
    systems: Sequence[str],
    measures: Sequence[str],
    baselines: tuple[str, ...],
    procedure: Procedure,
    n_unjudged: int,
    texts: pd.Series | None = None,
) -> Comparison:
    """Compares systems on values that are already there.

    Args:
        per_query: Columns system, qid, measure, value; no system, query and measure twice.
        systems: Names, in the order of the table's rows.
        measures: Labels, in the order of the table's columns.
        baselines: Names of the baselines; all other systems are tested against the best of them in each measure.
        procedure: How they are tested.
        n_unjudged: Queries that were left out, for the table's notes.
        texts: qid → text of the query, where known.

    Returns:
        The comparison. Queries are aligned by their ids; nothing depends on the order of the rows.

    Raises:
        ValueError: A system lacks a value that others have.
    """
    # Columns (measure, system), one row per query.
    values = per_query.pivot(index="qid", columns=["measure", "system"], values="value").sort_index()
    values = values.reindex(columns=pd.MultiIndex.from_product([measures, systems], names=["measure", "system"]))
    for measure, system in values.columns:
        if (absent := values[measure, system].isna()).any():
            raise ValueError(f"system {system!r} has no value of {measure} for {absent.sum()} of {len(values)} queries "
                             f"({first_few(values.index[absent])}): evaluate all systems on the same queries")
    means = values.mean().unstack("measure").loc[list(systems), list(measures)]
    tests = pd.concat([_tests(values[measure], means[measure], measure, baselines, procedure) for measure in measures],
                      ignore_index=True)
    return Comparison(means, _tidy(values, systems, measures), tests, baselines, procedure, len(values), n_unjudged,
                      texts)


def _tests(values: pd.DataFrame, means: pd.Series, measure: str, baselines: tuple[str, ...],
           procedure: Procedure) -> pd.DataFrame:
    """Tests every other system against the best baseline; `values` are queries × systems in one measure."""
    best = baselines[int(highest(means[list(baselines)]).argmax())]
    reference = values[best].to_numpy(np.float64)
    tested = [name for name in values.columns if name not in baselines]
    results = [paired_comparison(values[name].to_numpy(np.float64), reference, test=procedure.test,
                                 level=procedure.interval_confidence, resamples=procedure.resamples,
                                 seed=procedure.seed, interval=procedure.interval) for name in tested]
    frame = pd.DataFrame([result._asdict() for result in results])
    corrected = procedure.correct(frame["p"].to_numpy(np.float64))
    return frame.assign(system=tested, measure=measure, baseline=best, p_corrected=corrected,
                        significant=corrected < procedure.alpha)[TEST_COLUMNS]


def _tidy(values: pd.DataFrame, systems: Sequence[str], measures: Sequence[str]) -> pd.DataFrame:
    parts = [pd.DataFrame({"system": system, "qid": values.index, "measure": measure,
                           "value": values[measure, system].to_numpy(np.float64)})
             for system in systems for measure in measures]
    return pd.concat(parts, ignore_index=True)
