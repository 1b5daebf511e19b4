"""The paper's ablation: the task vector added to one group of layers only, or to all but one."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyterrier as pt

from pyterrier_taskarith.arithmetic import LayerAlphas
from pyterrier_taskarith.errors import TaskArithError
from pyterrier_taskarith.evaluation import mean_interval
from pyterrier_taskarith.reranker import TaskArithReranker
from pyterrier_taskarith.tuning._ablation import CONFIDENCE, EVERYWHERE, NOWHERE, Ablation
from pyterrier_taskarith.tuning._development import AVERAGE, Frames, Measures, developments
from pyterrier_taskarith.tuning._groups import Groups, LayerGroups, layer_groups
from pyterrier_taskarith.tuning._sweep import check_reranker, checked_weights, resuming, scored

#: Mode -> the system that its differences are to.
MODES = {"only": NOWHERE, "without": EVERYWHERE}


def ablate(reranker: TaskArithReranker, run: Frames, qrels: Frames, *, mode: str = "only", groups: Groups = "layers",
           weight: float = 1.0, measures: Measures = "nDCG@10", topics: Frames | None = None,
           resume: str | Path | None = None, verbose: bool = True) -> Ablation:
    """Evaluates Θ' with the task vector added to one group of layers only, or to all but one, group by group.

    Layers are told apart by number: layer 1 is never layer 10. What is in no group (the norm after the last layer, a
    head) is as for the other groups: without the task vector in mode "only", with it in mode "without".

    Example:
        >>> table = ablate(r, bm25(topics), qrels, mode="without", topics=topics)    # doctest: +SKIP
        >>> print(table); table.plot("ablation.png")                                 # doctest: +SKIP

    Args:
        reranker: At the α to ablate, one for all layers; of several vectors each may have its own.
        run: The first stage's results; of several development sets a dict, see :func:`sweep`.
        qrels: Their judgements.
        mode: "only", compared with Θ_T (α = 0), or "without", compared with α everywhere.
        groups: "layers" (the embeddings, then each layer), "thirds" (the embeddings, then thirds of the layers, of an
            encoder-decoder on each side), a list of layers, such as ``["embeddings", "0-5", "decoder.3"]``, or such
            layers by name.
        weight: Of the re-ranker in the mix with the first stage; 1 is the re-ranker alone.
        measures: ir_measures objects or names, trec_eval's names too.
        topics: The queries that were asked; see :func:`sweep`.
        resume: A file to keep scores in, see :func:`sweep`; both modes may share it.
        verbose: Whether to show progress.

    Returns:
        The table, with a value for each query behind it. The run is scored once for each group, and twice for α
        everywhere and α = 0.

    Raises:
        TypeError: If the re-ranker or the run is something else.
        ValueError: If the mode or the groups are unknown, a group has no merged parameter, α does nothing or is by
            layers already; and as :func:`sweep`.
    """
    check_reranker(reranker, "ablate takes")
    if mode not in MODES:
        raise TaskArithError(f"mode={mode!r}: choose 'only' (the task vector in one group of layers) or 'without' (in "
                             "all but one)")
    alphas = _alphas(reranker)
    parts = layer_groups(reranker, groups)
    if taken := {EVERYWHERE, NOWHERE} & {group.label for group in parts.groups}:
        raise TaskArithError(f"groups={groups!r}: {taken.pop()!r} is the name of a system that groups "
                             "are compared with")
    weight = checked_weights([weight])[0]
    sets = developments(run, qrels, topics, measures, reranker.columns)
    switches = _switches(parts, mode)
    found: list[list[object]] = []
    with resuming(reranker, resume):
        for label, switch in pt.tqdm(switches.items(), desc="groups of layers", unit="group", disable=not verbose):
            alpha = parts.alpha({vector: [on * value for on in switch] for vector, value in alphas.items()})
            found += [[row[0] if "" not in sets else "", label, *row[-3:]]
                      for row in scored(reranker.copy(alpha=alpha), sets, [weight], True)]
    queries = pd.DataFrame(found, columns=["collection", "group", "measure", "qid", "value"])
    frame = _frame(queries, list(switches), dict(zip([group.label for group in parts.groups], parts.texts,
                                                     strict=True)), MODES[mode])
    if "" in sets:
        queries, frame = queries.drop(columns="collection"), frame.drop(columns="collection")
    return Ablation(mode, MODES[mode], reranker.alpha, weight, frame, queries, parts.rest)


def _alphas(reranker: TaskArithReranker) -> dict[str, float]:
    """Returns α of each vector.

    Raises:
        ValueError: If it does nothing, or is by layers.
    """
    if reranker.variant != "merged":
        raise TaskArithError(f"variant={reranker.variant!r} has no task vector to ablate: give the merged "
                             "re-ranker, Θ'")
    found: dict[str, float] = {}
    for vector, alpha in reranker.setting.alphas:
        if isinstance(alpha, LayerAlphas):
            raise TaskArithError(f"α is {alpha}, by layers already: give the re-ranker at one α for all layers, such "
                                 "as reranker.copy(alpha=1.0)")
        found[vector] = alpha
    if not any(found.values()):
        raise TaskArithError(f"alpha={reranker.alpha!r}: nothing is added to any layer, so there is nothing to ablate")
    return found


def _switches(parts: LayerGroups, mode: str) -> dict[str, tuple[float, ...]]:
    """Returns label -> what α is multiplied by: in what is in no group, then in each group."""
    count = 1 + len(parts.groups)
    one, other = (1.0, 0.0) if mode == "only" else (0.0, 1.0)
    return {NOWHERE: (0.0,) * count, EVERYWHERE: (1.0,) * count,
            **{group.label: tuple(one if place == number else other for place in range(count))
               for number, group in enumerate(parts.groups, start=1)}}


def _frame(queries: pd.DataFrame, labels: Sequence[str], layers: Mapping[str, str], reference: str) -> pd.DataFrame:
    """Returns means and differences: of each set, then their average."""
    rows: list[list[object]] = []
    means: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for (collection, measure), part in queries.groupby(["collection", "measure"], sort=False):
        values = part.pivot(index="qid", columns="group", values="value")
        for label in labels:
            differences = (values[label] - values[reference]).to_numpy(dtype=float)
            mean, difference = float(values[label].mean()), float(differences.mean())
            interval = mean_interval(differences, interval="t", level=CONFIDENCE, resamples=0, seed=0)
            rows.append([collection, label, layers.get(label, ""), measure, mean, difference, *interval])
            means.setdefault((label, str(measure)), []).append((mean, difference))
    if queries["collection"].nunique() > 1 or (queries["collection"] != "").any():
        for (label, measure), pairs in means.items():
            mean, difference = np.mean(pairs, axis=0).tolist()
            rows.append([AVERAGE, label, layers.get(label, ""), measure, mean, difference, float("nan"), float("nan")])
    return pd.DataFrame(rows, columns=["collection", "group", "layers", "measure", "value", "difference", "low",
                                       "high"])
