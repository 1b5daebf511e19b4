"""α without labels: a recipe that was studied and is not recommended; experiments/suggest_alpha.py shows what it costs.

Three criteria are averaged over queries at each α, z-scored over α and added; the α with the highest sum is suggested.

- A: titles (where there is none: first sentences) of random documents seek the bodies without them.
- B: random sentences of 6 to 40 words seek the rest of their documents.
- C: on real queries, the overlap of the re-ranker's and the first stage's top 10.

A and B are the reciprocal rank of the target among BM25's top 100 of the pseudo-query; then each word whose stem occurs
in the target is dropped with probability ½, and the candidates are scored by the re-ranker alone.
"""

import re
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import pyterrier as pt

from pyterrier_taskarith import AlphaCurve, TaskArithReranker
from pyterrier_taskarith.terrier import LANGUAGES, first_stage

#: What is chosen from.
SUGGESTED: tuple[float, ...] = tuple(step / 10 for step in range(13))
#: Pseudo-queries of each kind; candidates of each; where rankings are compared; draws of the bootstrap.
DOCUMENTS, CANDIDATES, DEPTH, RESAMPLES = 400, 100, 10, 1000
#: Words of a sentence that may become a pseudo-query, and those that masking leaves at least.
SHORTEST, LONGEST, KEPT = 6, 40, 2
#: A sentence ends at a blank line, or after a full stop (or ? !) and white space, unless a lower-case letter follows.
_SENTENCE_END = re.compile(r"\s*\n\s*\n\s*|(?<=[.!?])\s+(?![a-z])")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Suggestion:
    """An α that was read from no labels.

    Attributes:
        alpha: The suggested α.
        low: Lower end of the 95 % interval of α over queries drawn anew.
        high: Its upper end.
        deviation: Standard deviation of α over these draws.
        curve: A row for each α: each criterion's mean, its z-score, their sum, and the share of draws that chose it.
        queries: Criterion -> how many queries it was computed on.
    """

    alpha: float
    low: float
    high: float
    deviation: float
    curve: pd.DataFrame
    queries: dict[str, int]


def suggest_alpha(reranker: TaskArithReranker, corpus: pd.DataFrame | None, run: pd.DataFrame | None, *,
                  trained_on_corpus: bool = False, documents: int = DOCUMENTS, seed: int = 0) -> Suggestion:
    """Suggests an α.

    Args:
        reranker: Its own α is left as it is.
        corpus: docno, text and perhaps title, for A and B; None: C alone.
        run: The first stage's results on real queries, with texts, for C; None: A and B alone.
        trained_on_corpus: Whether Θ_D was trained on this very corpus. B then rewards memory and is left out.
        documents: How many pseudo-queries of each kind.
        seed: Of all draws.
    """
    runs: dict[str, pd.DataFrame] = {}
    if corpus is not None:
        whole = with_titles(corpus)
        runs["A"] = candidates(*titles(whole, documents, seed), seed)
        if not trained_on_corpus:
            runs["B"] = candidates(*random_sentences(whole, documents, seed), seed)
    if run is not None:
        ordered = run.sort_values(["qid", "score"], ascending=[True, False], kind="stable")
        runs["C"] = ordered.groupby("qid", sort=False).head(CANDIDATES).reset_index(drop=True)
    values = criteria(reranker, runs)
    z = {name: z_scores(each.mean(axis=0)) for name, each in values.items()}
    total, drawn = sum(z.values(), np.zeros(len(SUGGESTED))), resampled(values, seed)
    low, high = np.quantile(drawn, [0.025, 0.975], method="nearest")
    curve = pd.DataFrame({"alpha": SUGGESTED, **{name: each.mean(axis=0) for name, each in values.items()},
                          **{f"z_{name}": each for name, each in z.items()}, "sum": total,
                          "share": [(drawn == alpha).mean() for alpha in SUGGESTED]})
    return Suggestion(SUGGESTED[int(np.argmax(total))], float(low), float(high), float(drawn.std()), curve,
                      {name: len(each) for name, each in values.items()})


def with_titles(corpus: pd.DataFrame) -> pd.DataFrame:
    """Returns docno, title ("" where there is none), body, and text: both; a text may begin with its title."""
    rows = []
    for document in corpus.to_dict("records"):
        title, text = document.get("title"), str(document["text"])
        title = title.strip() if isinstance(title, str) else ""
        body = text.removeprefix(title).lstrip() if title else text
        rows.append((str(document["docno"]), title, body, f"{title} {body}" if title else text))
    return pd.DataFrame(rows, columns=["docno", "title", "body", "text"])


def titles(corpus: pd.DataFrame, count: int, seed: int) -> tuple[dict[str, str], dict[str, str]]:
    """Criterion A: returns docno -> title or first sentence, of some documents, and docno -> body, of all."""
    heads, texts = {}, {}
    for row in corpus.itertuples():
        head = row.title if len(_words(row.title)) >= KEPT else next(iter(sentences(row.body)), "")
        rest = without(row.body, head)
        texts[row.docno] = rest if _words(rest) else row.text
        if len(_words(head)) >= KEPT and _words(rest):
            heads[row.docno] = head
    chosen = [docno for docno in _random(seed, "A").permutation(corpus["docno"]) if docno in heads][:count]
    return {docno: heads[docno] for docno in chosen}, texts


def random_sentences(corpus: pd.DataFrame, count: int, seed: int) -> tuple[dict[str, str], dict[str, str]]:
    """Criterion B: returns docno -> a sentence, of some documents, and docno -> text, without it where it was taken."""
    random, rows = _random(seed, "B's sentences"), corpus.set_index("docno")
    chosen: dict[str, str] = {}
    texts = rows["text"].to_dict()
    for docno in _random(seed, "B").permutation(corpus["docno"]):
        if len(chosen) == count:
            break
        title, body = rows.loc[docno, ["title", "body"]]
        fitting = [sentence for sentence in sentences(body) if SHORTEST <= len(_words(sentence)) <= LONGEST]
        if fitting:
            sentence = fitting[int(random.integers(len(fitting)))]
            # A title that says the same would give the target away.
            rest = " ".join(part for part in (without(title, sentence), without(body, sentence)) if part)
            if _words(rest):
                chosen[docno], texts[docno] = sentence, rest
    return chosen, texts


def sentences(text: str) -> list[str]:
    """Returns the sentences of a text, as they stand in it."""
    return [part for part in _SENTENCE_END.split(text) if part.strip()]


def without(text: str, sentence: str) -> str:
    """Returns the text without this sentence; case, spaces and signs do not matter."""
    return " ".join(part for part in sentences(text) if _words(part) != _words(sentence)).strip()


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _random(seed: int, purpose: str) -> np.random.Generator:
    """Returns a generator of its own for each purpose, so that one choice does not move another."""
    return np.random.default_rng([seed, *purpose.encode()])


def candidates(queries: Mapping[str, str], texts: Mapping[str, str], seed: int) -> pd.DataFrame:
    """Returns BM25's top 100 of each pseudo-query that finds its document, with the masked one in its place.

    Returns:
        Columns qid (the target's docno), query (masked), docno, text, score and target (bool).
    """
    documents = pd.DataFrame({"docno": list(texts), "text": list(texts.values())})
    asked = pd.DataFrame({"qid": list(queries), "query": [" ".join(query.split()) for query in queries.values()]})
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Skipping empty query")  # of stop words alone: it finds nothing
        run = first_stage(documents, f"{folder}/bodies", num_results=CANDIDATES).transform(asked.sort_values("qid"))
    run["target"] = run["qid"] == run["docno"]
    run = run[run.groupby("qid", sort=False)["target"].transform("any")]
    stem = lru_cache(maxsize=None)(pt.terrier.TerrierStemmer(LANGUAGES["english"].stemmer).stem)
    random = _random(seed, "mask")
    masked = {qid: mask(query, texts[qid], lambda text: set(map(stem, _words(text))), random)
              for qid, query in run[["qid", "query"]].drop_duplicates().itertuples(index=False)}
    return run.assign(query=run["qid"].map(masked))[["qid", "query", "docno", "text", "score", "target"]]


def mask(query: str, target: str, stems: Callable[[str], set[str]], random: np.random.Generator) -> str:
    """Returns a query without each word that its target has too, by a chance of ½; two words are kept at least."""
    words, there = [word for word in query.split() if _WORD.search(word)], stems(target)
    kept = [not (stems(word) & there and random.random() < 0.5) for word in words]
    lost = random.permutation(np.flatnonzero(~np.array(kept, dtype=bool)))
    for place in lost[:max(0, KEPT - sum(kept))]:
        kept[place] = True
    return " ".join(word for word, stays in zip(words, kept, strict=True) if stays)


def criteria(reranker: TaskArithReranker, runs: Mapping[str, pd.DataFrame]) -> dict[str, np.ndarray]:
    """Returns criterion -> (queries, α) values; one run holds all, so that a text they share is embedded once."""
    whole = pd.concat([run.assign(qid=name + ":" + run["qid"].astype(str)) for name, run in runs.items()])
    curve = AlphaCurve(reranker, whole[["qid", "query", "docno", "text"]].rename(
        columns={"text": reranker.text_field}).reset_index(drop=True), verbose=False)
    ends = np.cumsum([len(run) for run in runs.values()])
    columns: dict[str, list[np.ndarray]] = {name: [] for name in runs}
    for alpha in SUGGESTED:
        for (name, run), scores in zip(runs.items(), np.split(curve.scores(alpha), ends[:-1]), strict=True):
            found = run[["qid", "score"]].reset_index(drop=True).assign(neural=scores)
            if name == "C":
                values = found.groupby("qid", sort=False)[["score", "neural"]].apply(overlap)
            else:
                values = found.assign(target=run["target"].to_numpy()).groupby("qid", sort=False)[
                    ["target", "neural"]].apply(reciprocal_rank)
            columns[name].append(values.to_numpy())
    return {name: np.stack(values, axis=1) for name, values in columns.items()}


def reciprocal_rank(rows: pd.DataFrame) -> float:
    """Returns the reciprocal rank of a query's target; of equal scores it takes the middle place."""
    aim = rows.loc[rows["target"], "neural"].iloc[0]
    return float(1 / (1 + (rows["neural"] > aim).sum() + ((rows["neural"] == aim).sum() - 1) / 2))


def overlap(rows: pd.DataFrame) -> float:
    """Returns the share of the first stage's top 10 that is in the re-ranker's; ties by the rows' order."""
    first, neural = (set(rows[name].sort_values(ascending=False, kind="stable").index[:DEPTH])
                     for name in ("score", "neural"))
    return len(first & neural) / min(len(rows), DEPTH)


def z_scores(means: np.ndarray) -> np.ndarray:
    """Returns values over α (the last axis) with mean 0 and standard deviation 1; 0 where α changes nothing."""
    deviation = means.std(axis=-1, keepdims=True)
    flat = deviation <= 1e-12 * np.abs(means).max(axis=-1, keepdims=True)
    scores: np.ndarray = np.divide(means - means.mean(axis=-1, keepdims=True), deviation, out=np.zeros_like(means),
                                   where=~flat)
    return scores


def resampled(values: Mapping[str, np.ndarray], seed: int) -> np.ndarray:
    """Returns the α of each bootstrap draw, in which every criterion's queries are drawn anew."""
    random, sums = np.random.default_rng([seed, *b"bootstrap"]), np.zeros((RESAMPLES, len(SUGGESTED)))
    for each in values.values():
        count = len(each)
        sums += z_scores(random.multinomial(count, np.full(count, 1 / count), size=RESAMPLES) @ each / count)
    alphas: np.ndarray = np.asarray(SUGGESTED)[np.argmax(sums, axis=1)]
    return alphas
