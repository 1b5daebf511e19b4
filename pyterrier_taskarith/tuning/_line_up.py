"""The paper's line-up: the first stage, Θ_0, Θ_D, Θ_T, Θ' at α = 1 and Θ' with α tuned, as runs to compare."""

from collections.abc import Mapping, Sequence

import pandas as pd
from ir_measures import Measure

from pyterrier_taskarith.errors import TaskArithError, WrongTypeError
from pyterrier_taskarith.fusion import Mix
from pyterrier_taskarith.reranker import TaskArithReranker
from pyterrier_taskarith.tuning._layerwise import TunedLayers
from pyterrier_taskarith.tuning._sweep import ALPHAS, WEIGHTS
from pyterrier_taskarith.tuning._tune import Tuned, tune

FIRST_STAGE, FIXED, TUNED = "BM25", "Θ' (α = 1)", "Θ' (α tuned)"
#: The paper's baselines (§3.1): Θ' is to beat the best of them in each measure.
BASELINES = (FIRST_STAGE, "Θ_0", "Θ_D", "Θ_T")


def line_up(tuned: Tuned | TunedLayers | Mapping[str, Tuned], run: pd.DataFrame, *, weight: float | None = None,
            first_stage: str | None = FIRST_STAGE) -> dict[str, pd.DataFrame]:
    """Re-ranks a run with every system of the paper's tables, all of them mixed with the first stage.

    Example:
        >>> tuned = tune(r, bm25(dev_topics), dev_qrels)                                           # doctest: +SKIP
        >>> systems = line_up(tuned, bm25(test_topics))                                            # doctest: +SKIP
        >>> compare(systems, test_qrels, ["nDCG@10"], topics=test_topics, baselines=BASELINES)     # doctest: +SKIP

    Args:
        tuned: What :func:`tune` or :func:`tune_layers` chose: then its weight is every system's. Or what
            :func:`tune_each` chose: then each system has its own weight, as in the paper's Table 1.
        run: The first stage's results on the queries to test: qid, docno, query, score and the re-ranker's text column.
        weight: One weight for every system instead: 1 is the re-rankers alone.
        first_stage: The first stage's name in the table; None leaves it out.

    Returns:
        Name -> run, in the order of the paper's tables: the first stage, Θ_0, Θ_D, Θ_T, :data:`FIXED`, :data:`TUNED`.
        With several vectors there is a Θ_0 and a Θ_D for each; vectors that are not a plain difference of two models
        have none. Each system scores the run once.

    Raises:
        TypeError: If ``tuned`` or the run is something else.
        ValueError: If a weight is not a number from 0 to 1, the run repeats a document, or ``first_stage`` is the name
            of another system; and pt.validate's error if a column is missing.
    """
    if not isinstance(run, pd.DataFrame):
        raise WrongTypeError(f"run is a {type(run).__name__}: give a first stage's results, such as bm25(topics)")
    mixes = _mixes(tuned, weight)
    if first_stage in mixes:
        raise TaskArithError(f"first_stage={first_stage!r}: another system of the line-up is called so")
    first = {} if first_stage is None else {first_stage: run}
    return {**first, **{name: mix(run) for name, mix in mixes.items()}}


def tune_each(reranker: TaskArithReranker, run: pd.DataFrame, qrels: pd.DataFrame, *,
              alphas: Sequence[float] = ALPHAS, weights: Sequence[float] = WEIGHTS, measure: str | Measure = "nDCG@10",
              order: str = "joint", prefer: str = "smallest", topics: pd.DataFrame | None = None,
              verbose: bool = True) -> dict[str, Tuned]:
    """Tunes every system of the line-up for itself: the weight of each, and α of the last.

    The paper's Table 1 gives each system its own weight in the mix; Θ' would else be favoured by a weight that was
    tuned for it alone.

    Args:
        reranker: The re-ranker; its own α is left as it is.
        run: The first stage's results on the development queries; see :func:`sweep`.
        qrels: Their judgements.
        alphas: Values of α for the last system; Θ_T and Θ' at α = 1 are read from the same sweep where they are in it.
        weights: As in :func:`tune`.
        measure: As in :func:`tune`.
        order: As in :func:`tune`.
        prefer: As in :func:`tune`.
        topics: As in :func:`tune`.
        verbose: As in :func:`tune`.

    Returns:
        Name -> what was chosen, in the line-up's order, for :func:`line_up`.

    Raises:
        TypeError: As :func:`sweep`, or if α has values by vector.
        ValueError: As :func:`tune`.
    """
    if isinstance(alphas, Mapping):
        raise WrongTypeError(f"alphas={alphas!r}: tune_each tunes one α for all vectors; give a list of numbers, or "
                             "tune the vectors' own α with tune")

    def choose(system: TaskArithReranker, alphas: Sequence[float]) -> Tuned:
        return tune(system, run, qrels, alphas=alphas, weights=weights, measure=measure, order=order, prefer=prefer,
                    topics=topics, verbose=verbose)

    def at(alpha: float) -> Tuned:
        if alpha in set(best.evidence["alpha"]):
            return best.among(alphas=[alpha], weights=weights, prefer=prefer)
        return choose(reranker, [alpha])

    best = choose(reranker, alphas)
    # α does nothing to Θ_0 and Θ_D: any one value of it.
    found = {name: choose(variant, [1.0]) for name, variant in reranker.copy(alpha=1.0).variants().items()
             if variant.variant not in ("ranker", "merged")}
    # Θ' at α = 0 is Θ_T, bit for bit.
    return {**found, "Θ_T": at(0.0), FIXED: at(1.0), TUNED: best}


def _mixes(tuned: Tuned | TunedLayers | Mapping[str, Tuned], weight: float | None) -> dict[str, Mix]:
    """Returns name -> the fusion to put behind the first stage."""
    if isinstance(tuned, Tuned | TunedLayers):
        fixed = tuned.reranker.copy(alpha=1.0)
        rerankers = {**fixed.variants(), FIXED: fixed, TUNED: tuned.reranker}
        del rerankers["Θ'"]
        weights = dict.fromkeys(rerankers, tuned.weight)
    elif isinstance(tuned, Mapping) and tuned and all(isinstance(each, Tuned) for each in tuned.values()):
        rerankers = {name: each.reranker for name, each in tuned.items()}
        weights = {name: each.weight for name, each in tuned.items()}
    else:
        raise WrongTypeError(f"line_up takes what tune, tune_layers or tune_each returned first, not {tuned!r}")
    return {name: Mix(each, weights[name] if weight is None else weight) for name, each in rerankers.items()}
