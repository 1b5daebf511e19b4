"""α without labels: experimental."""

import numbers
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyterrier as pt

from pyterrier_taskarith.data import as_numbers, checked_topics, reject_repeats, require_values
from pyterrier_taskarith.reranker import TaskArithReranker
from pyterrier_taskarith.terrier import first_stage as build_first_stage
from pyterrier_taskarith.tuning._criteria import best, overlaps, reciprocal_ranks, resampled, z_scores
from pyterrier_taskarith.tuning._nodes import NODES, AlphaCurve
from pyterrier_taskarith.tuning._pseudo_queries import candidate_run, random_sentences, read_corpus, titles

#: Values of α that can be suggested: those on which the recipe was studied.
SUGGESTED: tuple[float, ...] = tuple(step / 10 for step in range(13))
#: Documents from which pseudo-queries are made, and below which their noise decides.
DOCUMENTS, FEW_DOCUMENTS = 400, 200
#: Draws of the bootstrap, and the share of them that the interval holds.
RESAMPLES, INTERVAL = 1000, 0.95
#: Candidates of a real query that the re-ranker sees.
CANDIDATES = 100
#: Criterion -> how pseudo-queries are made for it. C needs none.
PSEUDO = {"A": titles, "B": random_sentences}


class SuggestionWarning(UserWarning):
    """A reason not to trust a suggested α."""


@dataclass(frozen=True)
class Spread:
    """How much the suggested α depends on the queries that happened to be drawn.

    Attributes:
        deviation: Standard deviation of α over the resamples.
        low: The lower end of the 95 % percentile interval.
        high: Its upper end.
        resamples: How often all queries were drawn anew.
    """

    deviation: float
    low: float
    high: float
    resamples: int

    def __str__(self) -> str:
        return (f"standard deviation {self.deviation:.2f}, {INTERVAL:.0%} interval {self.low:g} to {self.high:g}, over "
                f"{self.resamples} bootstrap resamples")


@dataclass(frozen=True)
class Suggestion:
    """An α that was read from no labels, and what it was read from. Experimental.

    Attributes:
        alpha: The suggested α.
        spread: Its bootstrap spread.
        curve: One row an α: ``alpha``; of each criterion used the mean ``A``, ``B``, ``C`` and its z-score over α,
            ``z_A``, ``z_B``, ``z_C``; their ``sum``, whose maximum is the suggestion; ``share``, the share of the
            resamples that chose this α.
        queries: Criterion -> how many queries it was computed on.
        reranker: The re-ranker at the suggested α; it shares its model with the one that was given.
        warnings: Why it should not be trusted, in words; each was also issued as a :class:`SuggestionWarning`.
    """

    alpha: float
    spread: Spread
    curve: pd.DataFrame
    queries: dict[str, int]
    reranker: TaskArithReranker
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        used = ", ".join(f"{name}: {count} {'queries' if name == 'C' else 'pseudo-queries'}"
                         for name, count in self.queries.items())
        edge = " (at the edge of the grid)" if self.alpha in (self.curve["alpha"].min(),
                                                              self.curve["alpha"].max()) else ""
        lines = [f"suggested α = {self.alpha:g}{edge}, without labels (experimental; {used})",
                 f"spread: {self.spread}", *(f"- {text}" for text in self.warnings)]
        return "\n".join(lines)


def suggest_alpha(reranker: TaskArithReranker, corpus: pd.DataFrame | Iterable[Mapping[str, object]] | None,
                  queries: pd.DataFrame | None = None, *, alphas: Sequence[float] = SUGGESTED,
                  nodes: Sequence[float] = NODES, documents: int = DOCUMENTS,
                  first_stage: pt.Transformer | None = None, seed: int = 0, trained_on_corpus: bool = False,
                  resamples: int = RESAMPLES, verbose: bool = True) -> Suggestion:
    """Suggests an α from documents and unlabelled queries. **Experimental**: with judged queries, use :func:`tune`.

    Three criteria are averaged over queries at each α, z-scored over α and added; the α with the highest sum is
    suggested, of equal sums the smallest:

    - A: titles (where there is none: first sentences) of random documents seek the bodies without them;
    - B: random sentences of 6 to 40 words seek the rest of their documents;
    - C: on the real queries, the mean overlap of the re-ranker's and the first stage's top 10 (of equal scores the
      earlier rows are in it); queries for which the first stage finds nothing are left out.

    For A and B, BM25's top 100 for the pseudo-query are the candidates; where the target is not among them the
    pseudo-query is left out. Then each word whose stem occurs in the target is dropped with probability ½ (two words
    are kept at least), the candidates are scored by the re-ranker alone, and the criterion is the mean reciprocal rank
    of the target. Scores are computed at the nodes and interpolated between them (:class:`AlphaCurve`). The cost is
    one scoring at each node of 100 candidates for each pseudo-query and query; a bi-encoder embeds each text twice at
    most (A and B differ in the title).

    How far to trust it: studied on 14 collections with one triple of small models, re-ranker alone, by the loss of
    nDCG@10 × 1000 against the best α:

    ==============================================  ====  =====
    α                                               mean  worst
    ==============================================  ====  =====
    0 (Θ_T)                                         17.7
    0.3                                              6.5
    0.5                                              6.6
    1 (the paper's zero-shot setting)               17.8  67
    tuned on 50 judged queries                       7
    this recipe                                      2.9
    this recipe, over resampled pseudo-queries       5.0  11.6
    ==============================================  ====  =====

    The recipe was designed on those collections and that vector. With other vectors it avoided the disasters of α = 1
    (mean loss 7 to 8, against 28.6) but was no better than α = 0.3; with useless vectors it picks small α. After
    fusion with BM25 at .5/.5 no criterion helps reliably.

    Args:
        reranker: Its own α is left as it is; several vectors share one α.
        corpus: A frame or dicts with ``docno``, ``text`` and, if there is one, ``title``. A text may begin with its
            title; one that does not gets it in front, as in the paper. All of it is indexed (English analysis) for
            each criterion; of a large corpus give a random sample of some ten thousand documents. None: C alone, a
            weaker fall-back.
        queries: ``qid`` and ``query``: real queries without judgements. None: A and B alone.
        alphas: Values of α among which to choose, within the nodes.
        nodes: Values of α at which scores are computed, five at least.
        documents: How many documents to draw for A, and again for B.
        first_stage: For C: a pipeline from ``queries`` to results with scores and texts. None: BM25 over the corpus.
        seed: Of the draws of documents, sentences, masked words and resamples.
        trained_on_corpus: Whether Θ_D was trained on this very corpus. B then rewards memory and is left out.
        resamples: How often the bootstrap draws the queries anew.
        verbose: Whether to show progress.

    Returns:
        The suggestion, with its spread, the curve, the re-ranker at the suggested α, and warnings.

    Raises:
        TypeError: If the re-ranker or the corpus is something else.
        ValueError: If the re-ranker has a ``text_loader``; ``alphas`` are fewer than two, repeated or outside the
            nodes; the corpus is empty, lacks a column or has no document that is long enough; there is neither corpus
            nor queries; a corpus is absent and ``first_stage`` too; ``queries`` repeat a qid; or ``first_stage`` lacks
            a column, repeats a document or gives all documents of a query the same score.
        RuntimeError: If BM25 is needed and there is no Java.
    """
    if not isinstance(reranker, TaskArithReranker):
        raise TypeError(f"suggest_alpha takes a TaskArithReranker first, not a {type(reranker).__name__}; it chooses α "
                        "for the re-ranker alone, not for a mix")
    if reranker.text_loader is not None:
        raise ValueError("suggest_alpha scores texts of pseudo-queries, which no text_loader knows: give it "
                         "reranker.copy(text_loader=None)")
    grid = _grid(alphas, nodes)
    for name, value, least in (("documents", documents, 1), ("resamples", resamples, 2), ("seed", seed, 0)):
        if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name}={value!r}: must be a whole number, {least} or more")
    if corpus is None and queries is None:
        raise ValueError("there is neither a corpus nor queries: give one of them, or better both")
    if corpus is None and first_stage is None:
        raise ValueError("without a corpus, give first_stage: a pipeline from queries to results with scores and texts")

    caveats = ["after fusion with BM25 at equal weights, .5/.5, no choice of α without labels was found to help "
               "reliably: this α is for the re-ranker alone"]
    runs: dict[str, pd.DataFrame] = {}
    read = None if corpus is None else read_corpus(corpus)
    if read is None:
        caveats.append("without a corpus, the overlap with the first stage (C) decides alone: a weaker fall-back")
    else:
        if trained_on_corpus:
            caveats.append("the domain model was trained on this corpus: random sentences (B) are left out, which "
                           "would reward memory; titles (A) may do so too")
        wanted = [name for name in PSEUDO if name == "A" or not trained_on_corpus]
        runs |= _pseudo_runs(read, wanted, documents, seed, caveats)
    if queries is None:
        caveats.append(f"without real queries, {' and '.join(runs)} decide{'s' if len(runs) == 1 else ''} alone")
    else:
        runs["C"] = _real_run(queries, read, first_stage, reranker.text_field)
    criteria = _values(reranker, runs, grid, nodes, verbose)
    return _suggestion(reranker, grid, criteria, resamples, seed, caveats)


def _grid(alphas: Sequence[float], nodes: Sequence[float]) -> np.ndarray:
    if isinstance(alphas, str | numbers.Real) or any(not isinstance(alpha, numbers.Real) for alpha in alphas):
        raise TypeError(f"alphas={alphas!r}: give a list of numbers")
    grid = np.array(sorted(float(alpha) for alpha in alphas))
    if not np.isfinite(grid).all() or len(np.unique(grid)) < len(grid):
        raise ValueError(f"alphas={list(alphas)}: values must be finite and distinct")
    if len(grid) < 2:
        raise ValueError(f"alphas={list(alphas)}: give two at least; of one there is nothing to choose")
    if grid[0] < min(nodes) or grid[-1] > max(nodes):
        raise ValueError(f"alphas go from {grid[0]:g} to {grid[-1]:g} and the nodes from {min(nodes):g} to "
                         f"{max(nodes):g}: scores are interpolated, so give nodes that enclose the alphas")
    return grid


def _pseudo_runs(corpus: pd.DataFrame, wanted: Sequence[str], documents: int, seed: int,
                 caveats: list[str]) -> dict[str, pd.DataFrame]:
    """Returns criterion -> candidates of its pseudo-queries; adds to the caveats where they are few."""
    runs = {}
    for name in wanted:
        pseudo = PSEUDO[name](corpus, documents, seed)
        if len(pseudo.queries):
            runs[name] = candidate_run(pseudo, seed=seed)
        count = runs[name]["qid"].nunique() if name in runs else 0
        if not count:
            runs.pop(name, None)
            caveats.append(f"no document of {len(corpus)} gave a pseudo-query for {name}, which is left out")
        elif count < FEW_DOCUMENTS:
            caveats.append(f"few documents: {name} has {count} pseudo-queries, from {len(pseudo.queries)} of "
                           f"{len(corpus)} documents; below {FEW_DOCUMENTS}, chance decides much")
    if not runs:
        raise ValueError(f"none of the {len(corpus)} documents gave a pseudo-query: they need a title of two words and "
                         "a body, or two sentences, that BM25 can find them by; are the texts too short?")
    return runs


def _real_run(queries: pd.DataFrame, corpus: pd.DataFrame | None, first_stage: pt.Transformer | None,
              text_field: str) -> pd.DataFrame:
    """Returns the first stage's top 100 for the real queries, with their texts in the column ``text``."""
    if not isinstance(queries, pd.DataFrame) or not {"qid", "query"} <= set(queries.columns):
        raise ValueError("queries must be a frame with qid and query")
    if not len(queries):
        raise ValueError("queries has no rows; leave it out to suggest an α without them")
    checked_topics(queries, "queries")
    if first_stage is not None:
        run = first_stage.transform(queries)
        absent = [name for name in ("qid", "docno", "score", text_field) if name not in run.columns]
        if absent:
            raise ValueError(f"the results of first_stage lack {absent}, and have {list(run.columns)}; end it with "
                             "pt.text.get_text, or with what else adds texts")
        run = run.rename(columns={text_field: "text"})
    else:
        with tempfile.TemporaryDirectory(prefix="taskarith-") as folder:
            run = build_first_stage(corpus[["docno", "text"]], f"{folder}/texts",  # type: ignore[index]
                                    num_results=CANDIDATES).transform(queries[["qid", "query"]])
    if not len(run):
        raise ValueError("the first stage found nothing for these queries")
    what = "first_stage's result"
    require_values(what, run, ["qid", "docno", "score"])
    run = run.assign(qid=run["qid"].astype(str), score=as_numbers(what, run, "score"))
    reject_repeats(what, run, ["qid", "docno"], "keep one row per query and document")
    if run.groupby("qid")["score"].nunique().max() == 1:
        raise ValueError("first_stage gives all documents of a query the same score, so it has no ranking for the "
                         "re-ranker to agree with; leave queries out, or give a first stage that ranks")
    # As it was asked: a first stage for Terrier may have stripped its signs.
    asked = dict(zip(queries["qid"].astype(str), queries["query"], strict=True))
    run = run.assign(query=run["qid"].map(asked))
    run = run.sort_values(["qid", "score"], ascending=[True, False], kind="stable")
    run = run.groupby("qid", sort=False).head(CANDIDATES)
    return run[["qid", "query", "docno", "text", "score"]].reset_index(drop=True)


def _values(reranker: TaskArithReranker, runs: Mapping[str, pd.DataFrame], grid: np.ndarray, nodes: Sequence[float],
            verbose: bool) -> dict[str, np.ndarray]:
    """Returns criterion -> (queries, α) values; one run holds all, so that a text they share is embedded once."""
    named = [run.assign(qid=name + ":" + run["qid"].astype(str)) for name, run in runs.items()]
    whole = pd.concat(named, ignore_index=True)[["qid", "query", "docno", "text"]]
    curve = AlphaCurve(reranker, whole.rename(columns={"text": reranker.text_field}), nodes=nodes, verbose=verbose)
    ends = np.cumsum([len(run) for run in runs.values()])
    columns: dict[str, list[np.ndarray]] = {name: [] for name in runs}
    for alpha in grid:
        for (name, run), scores in zip(runs.items(), np.split(curve.scores(float(alpha)), ends[:-1]), strict=True):
            qids = run["qid"].to_numpy()
            columns[name].append(overlaps(qids, run["score"].to_numpy(), scores) if name == "C"
                                 else reciprocal_ranks(qids, run["target"].to_numpy(dtype=bool), scores))
    return {name: np.stack(values, axis=1) for name, values in columns.items()}


def _suggestion(reranker: TaskArithReranker, grid: np.ndarray, criteria: Mapping[str, np.ndarray], resamples: int,
                seed: int, caveats: list[str]) -> Suggestion:
    means = {name: values.mean(axis=0) for name, values in criteria.items()}
    standard = {name: z_scores(mean) for name, mean in means.items()}
    total = sum(standard.values(), np.zeros(len(grid)))
    alpha = float(best(grid, total))
    drawn = resampled(grid, criteria, resamples, seed)
    low, high = np.quantile(drawn, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2], method="nearest")
    spread = Spread(float(drawn.std()), float(low), float(high), resamples)
    if not total.any():
        caveats.append("α changes nothing that these criteria measure: the curve is flat, and the smallest α is "
                       "returned")
    elif high - low > (grid[-1] - grid[0]) / 2:
        caveats.append(f"large spread: over resampled queries α goes from {low:g} to {high:g}, more than half of the "
                       "grid; more documents or queries would narrow it, a few judged queries decide better")
    for text in caveats:
        warnings.warn(text, SuggestionWarning, stacklevel=3)
    curve = pd.DataFrame({"alpha": grid, **means, **{f"z_{name}": values for name, values in standard.items()},
                          "sum": total, "share": [(drawn == value).mean() for value in grid]})
    return Suggestion(alpha, spread, curve, {name: len(values) for name, values in criteria.items()},
                      reranker.copy(alpha=alpha), tuple(caveats))
