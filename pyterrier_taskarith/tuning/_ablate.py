"""The paper's ablation: the task vector added to one group of layers only, or to all but one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyterrier as pt

from pyterrier_taskarith.arithmetic import LayerAlphas
from pyterrier_taskarith.errors import TaskArithError, WrongTypeError
from pyterrier_taskarith.evaluation import mean_interval
from pyterrier_taskarith.evaluation.plots import finished, pyplot
from pyterrier_taskarith.reranker import TaskArithReranker
from pyterrier_taskarith.tables import (
    Cell,
    Table,
    decimal,
    interval,
    one_line,
    percent,
    to_html,
    to_latex,
    to_markdown,
    to_text,
)
from pyterrier_taskarith.tuning._development import AVERAGE, Frames, Measures, developments
from pyterrier_taskarith.tuning._groups import Groups, LayerGroups, layer_groups
from pyterrier_taskarith.tuning._sweep import check_reranker, checked_weights, resuming, scored

#: The systems that groups are compared with.
EVERYWHERE, NOWHERE = "α everywhere", "α = 0 (Θ_T)"
#: Of the intervals.
CONFIDENCE = 0.95
#: Mode -> the system that its differences are to.
MODES = {"only": NOWHERE, "without": EVERYWHERE}


@dataclass(frozen=True, repr=False)
class Ablation:
    """What :func:`ablate` returns; prints as a table.

    Attributes:
        mode: "only" or "without".
        reference: The name of the system that differences are to.
        alpha: α where the task vector is added.
        weight: Of the re-ranker in the mix.
        frame: A row for each group, and the two systems they are compared with: group, layers, measure, value (mean
            over queries), difference (to the reference), low and high (the ends of its 95 % interval, Student's t over
            the queries' differences). With several development sets a column ``collection`` comes first, and rows named
            "average" hold the mean over the sets, each counting the same, without an interval.
        queries: A value for each query: group, measure, qid, value, with several sets after ``collection``.
        rest: Merged parameters that are in no group.
    """

    mode: str
    reference: str
    alpha: Any
    weight: float
    frame: pd.DataFrame
    queries: pd.DataFrame
    rest: tuple[str, ...] = ()

    def plot(self, path: str | Path | None = None, *, measure: str | None = None) -> Any:
        """Draws it; see :func:`plot_ablation`."""
        return plot_ablation(self, measure=measure, path=path)

    def to_markdown(self) -> str:
        """Returns the table in GitHub's Markdown."""
        return to_markdown(self._table)

    def to_latex(self) -> str:
        """Returns the table in LaTeX, for the package booktabs."""
        return to_latex(self._table)

    @property
    def _table(self) -> Table:
        several = "collection" in self.frame.columns
        measures, labels = list(self.frame["measure"].unique()), ["collection", "group"] if several else ["group"]
        level = f"{percent(CONFIDENCE)} interval"
        header = ["collection"] * several + ["task vector in" if self.mode == "only" else "task vector without"]
        for measure in measures:
            header += [one_line(measure), "difference", level]
        rows = []
        for key, part in self.frame.groupby(labels, sort=False):
            cells = [Cell(one_line(name)) for name in key]
            for _, row in part.set_index("measure").loc[measures].iterrows():
                compared = ("", "") if key[-1] == self.reference else (
                    decimal(row["difference"], sign=True), interval(row["low"], row["high"]))
                cells += [Cell(decimal(row["value"])), *map(Cell, compared)]
            rows.append(tuple(cells))
        return Table(tuple(header), tuple(rows), tuple(self._notes), n_labels=len(labels))

    @property
    def _notes(self) -> list[str]:
        added = "to one group of layers only" if self.mode == "only" else "to all layers but one group"
        mixed = "re-ranker alone" if self.weight == 1 else f"mixed with the first stage, weight {self.weight:g}"
        sizes = self.queries.groupby(["collection"] if "collection" in self.queries.columns else lambda _: "")[
            "qid"].nunique()
        notes = [f"The task vector is added {added}, α = {self.alpha}; {mixed}; differences to {self.reference}.",
                 f"Student's t intervals of the mean difference over {'/'.join(map(str, sizes))} queries, each by "
                 "itself: of many groups a few leave out 0 by chance."]
        if self.rest:
            notes.append(f"{len(self.rest)} merged parameters are in no group and have "
                         f"{'α = 0' if self.mode == 'only' else 'α'} throughout: {', '.join(self.rest[:3])}"
                         f"{' …' if len(self.rest) > 3 else ''}.")
        return notes

    def _repr_html_(self) -> str:
        return to_html(self._table)

    def __str__(self) -> str:
        return to_text(self._table)

    __repr__ = __str__


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


def plot_ablation(ablation: Ablation, *, measure: str | None = None, title: str = "",
                  path: str | Path | None = None) -> Any:
    """Plots what each group of layers adds (mode "only") or what is lost without it (mode "without").

    Args:
        ablation: What :func:`ablate` returned.
        measure: The measure's label; None: the first.
        title: Above the plot.
        path: Where to write a PNG, or None.

    Returns:
        The matplotlib figure, a panel for each development set: the difference of each group to the reference with its
        95 % interval, and a line for what the whole task vector changes.

    Raises:
        TypeError: If it is not an ablation.
        ValueError: If it has no such measure.
        ImportError: If matplotlib is not installed.
    """
    if not isinstance(ablation, Ablation):
        raise WrongTypeError(f"plot_ablation takes what ablate returned, not a {type(ablation).__name__}")
    plt = pyplot("a plot of an ablation")
    measures = list(ablation.frame["measure"].unique())
    measure = measures[0] if measure is None else measure
    if measure not in measures:
        raise TaskArithError(f"the ablation has no {measure!r}; it has {measures}")
    rows = ablation.frame[ablation.frame["measure"] == measure]
    panels = list(rows.groupby("collection", sort=False)) if "collection" in rows.columns else [("", rows)]
    names = [name for name in rows["group"].unique() if name not in (EVERYWHERE, NOWHERE)]
    figure, grid = plt.subplots(len(panels), 1, sharex=True, squeeze=False, layout="constrained",
                                figsize=(max(5.0, 1.5 + 0.45 * len(names)), 2.8 * len(panels)))
    other = EVERYWHERE if ablation.reference == NOWHERE else NOWHERE
    for axes, (collection, part) in zip(grid[:, 0], panels, strict=True):
        values = part.set_index("group")
        axes.bar(range(len(names)), values.loc[names, "difference"], color="C0", alpha=0.6)
        for x, name in enumerate(names):
            axes.plot([x, x], values.loc[name, ["low", "high"]].astype(float), color="black", linewidth=1)
        axes.axhline(0, color="black", linewidth=0.8, label=ablation.reference)
        axes.axhline(values.loc[other, "difference"], color="grey", linestyle="--", linewidth=1, label=other)
        axes.set_ylabel(f"difference in {measure}")
        axes.set_title(str(collection), fontsize=10)
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
        axes.legend(fontsize=8)
    grid[-1, 0].set_xticks(range(len(names)), names, rotation=90 if len(names) > 6 else 0)
    grid[-1, 0].set_xlabel("task vector in this group only" if ablation.mode == "only" else
                           "task vector in all groups but this")
    figure.suptitle(title)
    return finished(figure, path)


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
            **{group.label: tuple(one if index == number else other for index in range(count))
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
