"""Tells, after a rehearsal, whether every step did what it should: scores, α, λ, fusion and measures, made anew.

Random models give a table whatever is done to them; so a few scores of every run are compared with the reference's, and
everything that is read from runs with the same arithmetic in NumPy, from the files.
"""

import gzip
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.datasets import Dataset
from experiments.loading import DEVELOPMENT, TEST
from experiments.measuring import Measured, Plan, line_up
from experiments.paper import BM25, TUNED
from experiments.protocol import LAMBDAS, READINGS, Choice, mixed, values
from experiments.rehearsal.reference import Reference
from experiments.runs import RUN
from experiments.scoring import Alpha, Workbench
from experiments.systems import BIOMEDICAL, System
from pyterrier_taskarith.errors import TaskArithError
from pyterrier_taskarith.families import FAMILIES
from pyterrier_taskarith.scorers import quiet

ROWS = 3  # rows of a run that are scored anew
SCORES_AGREE = 2e-4  # of cosines, log-probabilities and their means, in float32 and other batches
FIGURES_AGREE = 1e-6
KINDS = {"Θ_0": "base", "Θ_D": "domain", "Θ_T": "ranker"}
Run = dict[str, dict[str, float]]
Variant = tuple[str, Alpha | None]


class AuditError(TaskArithError):
    """A rehearsal found that a step did not do what it should."""


def audit(bench: Workbench, plan: Plan, measured: Measured) -> str:
    """Checks a rehearsed table; returns what was checked, in words.

    Raises:
        AuditError: Naming the first thing that is wrong.
    """
    rows = figures = 0
    for system, datasets in plan.pairs():
        choice = measured.choices.get(system.name)
        if choice is not None:
            figures += check_curves(bench, system, plan.developments, choice)
        for target in dict.fromkeys(dataset.target for dataset in datasets):
            rows += check_scores(bench, system, [each for each in datasets if each.target == target], TEST,
                                 line_up(choice))
        for dataset in datasets:
            figures += check_figures(bench, system, dataset, measured)
    return f"audit: {rows} scores, and {figures} figures made anew, agree"


def audit_curves(bench: Workbench, systems: Sequence[System], developments: Sequence[Dataset],
                 choices: Sequence[Choice]) -> str:
    """Checks a rehearsed Table 3; as :func:`audit`."""
    rows = figures = 0
    for system, choice in zip(systems, choices, strict=True):
        figures += check_curves(bench, system, developments, choice)
        rows += check_scores(bench, system, developments, DEVELOPMENT, [(TUNED, alpha) for alpha in alphas_of(choice)])
    return f"audit: {rows} scores, and {figures} figures made anew, agree"


def audit_layers(bench: Workbench, system: System, developments: Sequence[Dataset], choice: Choice,
                 variants: Sequence[Variant]) -> str:
    """Checks a rehearsed ablation of one system; as :func:`audit`."""
    figures = check_curves(bench, system, developments, choice)
    rows = check_scores(bench, system, developments, DEVELOPMENT, variants, distinct=False)
    return f"audit: {rows} scores, and {figures} figures made anew, agree"


def check_scores(bench: Workbench, system: System, datasets: Sequence[Dataset], split: str,
                 variants: Sequence[Variant], *, distinct: bool = True) -> int:
    """Compares some scores of every run with the reference's; returns how many.

    Args:
        bench: Where the runs are.
        system: The system.
        datasets: Datasets of one target.
        split: "dev" or "test".
        variants: What was scored, each with its α.
        distinct: Whether it is a mistake if two variants score alike.

    Raises:
        AuditError: If a score differs, or if the reference cannot tell two variants apart that it should.
    """
    domain = system.domains[BIOMEDICAL if split == DEVELOPMENT else datasets[0].target]
    usual = FAMILIES["mt5" if "mt5" in system.name.lower() else "t5"].prediction_tokens or ("", "")
    tokens = system.token_false or usual[0], system.token_true or usual[1]
    with quiet():
        reference = Reference(system.ranker.id, domain.id, system.base.id, system.scorer, tokens)
    seen: list[tuple[Variant, list[float]]] = []
    for variant, alpha in variants:
        reference.set(KINDS.get(variant, "merged"), 0.0 if alpha is None else alpha)
        found: list[float] = []
        for dataset in datasets:
            first = bench.first(dataset, split)
            run = read(bench, bench.name(system, dataset, split, variant, alpha))
            for row in first.iloc[np.linspace(0, len(first) - 1, ROWS).astype(int)].itertuples():
                ours, theirs = run[row.qid][row.docno], reference.score(row.query, row.text)
                if not abs(ours - theirs) <= SCORES_AGREE * max(1, abs(theirs)):
                    raise AuditError(f"{system.name}, {named(variant, alpha)}, {dataset.name}: the run has {ours:.6f} "
                                     f"for query {row.qid!r} and document {row.docno!r}, and the reference "
                                     f"{theirs:.6f}")
                found.append(theirs)
        same_variant = (KINDS.get(variant, "merged"), alpha)
        alike = [other for other, scores in seen if (KINDS.get(other[0], "merged"), other[1]) != same_variant
                 and np.allclose(scores, found, atol=SCORES_AGREE)]
        if alike and distinct:
            raise AuditError(f"{system.name}: {named(variant, alpha)} and {named(*alike[0])} score alike, so that this "
                             "rehearsal cannot tell them apart")
        seen.append(((variant, alpha), found))
    return sum(len(found) for _, found in seen)


def named(variant: str, alpha: Alpha | None) -> str:
    """Returns a variant in words."""
    return variant if alpha is None else f"{variant.partition(' (')[0]} at α = {alpha}"


def alphas_of(choice: Choice) -> list[float]:
    """Returns the grid that α was chosen from."""
    return list(dict.fromkeys(choice.curves["alpha"]))


def check_figures(bench: Workbench, system: System, dataset: Dataset, measured: Measured) -> int:
    """Makes λ and nDCG@10 of every variant anew from the files; returns how many figures.

    Raises:
        AuditError: If one differs.
    """
    table = measured.lambdas[(measured.lambdas["system"] == system.name) & (measured.lambdas["dataset"]
                                                                            == dataset.name)]
    qrels = {split: judgements(bench, dataset, split) for split in bench.data(dataset).qrels}
    firsts = {split: read(bench, bench.first_name(dataset, split)) for split in qrels}
    figure = measured.figures.value(system.name, BM25, dataset.name, "nDCG@10")
    same(figure, ndcg(firsts[TEST], qrels[TEST]), f"{dataset.name}, {BM25}")
    for row in table.itertuples():
        where = f"{system.name}, {row.variant}, {dataset.name}"
        alpha = None if math.isnan(row.alpha) else row.alpha
        weight = row[5]  # "lambda" is no name of an attribute
        if dataset.tunes_weight:
            run = read(bench, bench.name(system, dataset, DEVELOPMENT, row.variant, alpha))
            curve = [ndcg(fused(firsts[DEVELOPMENT], run, each), qrels[DEVELOPMENT]) for each in LAMBDAS]
            best = max(each for each, value in zip(LAMBDAS, curve, strict=True) if value >= max(curve) - FIGURES_AGREE)
            same(weight, best, f"{where}: λ")
            ours = values(bench, dataset, bench.neural(system, dataset, DEVELOPMENT, row.variant, alpha), LAMBDAS)
            for each, one, other in zip(LAMBDAS, ours, curve, strict=True):
                same(one, other, f"{where}, development, λ = {each:g}")
        else:
            same(weight, 0.5, f"{where}: λ")
        run = read(bench, bench.name(system, dataset, TEST, row.variant, alpha))
        figure = measured.figures.value(system.name, row.variant, dataset.name, "nDCG@10")
        same(figure, ndcg(fused(firsts[TEST], run, weight), qrels[TEST]), where)
        # At .5 λ and 1 − λ are one; so the fusion itself is also tried where they are not.
        for part in (0.1, 0.8):
            ours_at = mixed(bench.first(dataset, TEST), bench.neural(system, dataset, TEST, row.variant, alpha), part)
            theirs_at = fused(firsts[TEST], run, part)
            for each in ours_at.itertuples():
                same(each.score, theirs_at[each.qid][each.docno], f"{where}, λ = {part}, document {each.docno}")
    return 1 + len(table)


def check_curves(bench: Workbench, system: System, developments: Sequence[Dataset], choice: Choice) -> int:
    """Makes the curves over α anew, and α; returns how many figures.

    Raises:
        AuditError: If one differs.
    """
    made: dict[tuple[str, str, float], float] = {}
    for dataset in developments:
        qrels, first = judgements(bench, dataset, DEVELOPMENT), read(bench, bench.first_name(dataset, DEVELOPMENT))
        for alpha in alphas_of(choice):
            run = read(bench, bench.name(system, dataset, DEVELOPMENT, TUNED, alpha))
            for reading, weight in READINGS.items():
                made[reading, dataset.name, alpha] = ndcg(fused(first, run, weight), qrels)
    for row in choice.curves.itertuples():
        same(row.value, made[row.reading, row.dataset, row.alpha], f"{system.name}, {row.dataset}, {row.reading}, α = "
                                                                   f"{row.alpha:g}")
    means = {alpha: np.mean([made[choice.reading, dataset.name, alpha] for dataset in developments])
             for alpha in alphas_of(choice)}
    same(choice.alpha, max(alpha for alpha, mean in means.items() if mean >= max(means.values()) - FIGURES_AGREE),
         f"{system.name}: α")
    return len(made)


def same(ours: float, theirs: float, what: str) -> None:
    """Compares a figure with the one that was made anew.

    Raises:
        AuditError: If they differ.
    """
    if not abs(ours - theirs) <= FIGURES_AGREE:
        raise AuditError(f"{what}: {ours:.6f}, and made anew {theirs:.6f}")


def read(bench: Workbench, name: str) -> Run:
    """Returns qid -> docno -> score of a run's file."""
    found: Run = {}
    with gzip.open(Path(bench.store.folder) / f"{name}{RUN}", "rt", encoding="utf-8") as file:
        for line in file:
            qid, _, docno, _, score, _ = line.split()
            found.setdefault(qid, {})[docno] = float(score)
    return found


def judgements(bench: Workbench, dataset: Dataset, split: str) -> dict[str, dict[str, int]]:
    """Returns qid -> docno -> label."""
    found: dict[str, dict[str, int]] = {}
    for row in bench.data(dataset).qrels[split].itertuples():
        found.setdefault(row.qid, {})[row.docno] = row.label
    return found


def fused(first: Run, neural: Run, weight_of_first: float) -> Run:
    """Returns λ·minmax(first) + (1 − λ)·minmax(neural), query by query."""
    def scaled(scores: dict[str, float]) -> dict[str, float]:
        low, high = min(scores.values()), max(scores.values())
        return {docno: (score - low) / (high - low) if high > low else 0.0 for docno, score in scores.items()}

    mixed_scores: Run = {}
    for qid, scores in first.items():
        ours, theirs = scaled(scores), scaled(neural[qid])
        mixed_scores[qid] = {docno: weight_of_first * ours[docno] + (1 - weight_of_first) * theirs[docno]
                             for docno in ours}
    return mixed_scores


def ndcg(run: Run, qrels: dict[str, dict[str, int]], depth: int = 10) -> float:
    """Returns the mean nDCG as trec_eval has it: gains as they are judged, of equal scores the larger docno first."""
    found = []
    for qid, labels in qrels.items():
        scores = run.get(qid, {})
        # trec_eval keeps scores in single precision.
        ranked = sorted(scores, key=lambda docno: (np.float32(scores[docno]), docno), reverse=True)[:depth]
        ideal = sorted(labels.values(), reverse=True)[:depth]
        gains, best = (sum(max(label, 0) / math.log2(place + 2) for place, label in enumerate(each))
                       for each in ([labels.get(docno, 0) for docno in ranked], ideal))
        found.append(gains / best if best else 0.0)
    return float(np.mean(found))
