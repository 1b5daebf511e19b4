"""Queries made from documents themselves, where nobody has judged any: a title seeks its body, a sentence its text."""

import re
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import pyterrier as pt

from pyterrier_taskarith.terrier import LANGUAGES, first_stage

#: Words of a sentence that may become a pseudo-query.
SHORTEST, LONGEST = 6, 40
#: Words of a pseudo-query that masking leaves at least.
KEPT = 2
#: Chance that a word is dropped whose stem occurs in the target.
DROPPED = 0.5
#: Candidates of a pseudo-query.
CANDIDATES = 100
#: A sentence ends at a blank line, or after a full stop (or ? !) and white space before what is no lower-case letter.
_SENTENCE_END = re.compile(r"\s*\n\s*\n\s*|(?<=[.!?])\s+(?![a-z])")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class PseudoQueries:
    """Pseudo-queries, each with the document it was taken from.

    Attributes:
        queries: ``qid`` (the docno of the target, a str) and ``query``: whole, nothing masked.
        texts: ``docno`` and ``text`` of every document, as a candidate; the targets' texts lack their pseudo-query.
    """

    queries: pd.DataFrame
    texts: pd.DataFrame


def read_corpus(corpus: pd.DataFrame | Iterable[Mapping[str, object]]) -> pd.DataFrame:
    """Returns documents with their title apart from their body, whichever way they are given.

    Args:
        corpus: ``docno``, ``text`` and, where there are any, ``title``; a text may begin with its title.

    Returns:
        Columns ``docno``, ``title`` ("" where there is none), ``body`` (the text without the title before it) and
        ``text`` (title + " " + body, as in the paper), all str; one row a document, in the order given.

    Raises:
        TypeError: If it is neither a frame nor an iterable of dicts.
        ValueError: If there is no document, a column is missing, or a text is no str.
    """
    frame = corpus if isinstance(corpus, pd.DataFrame) else _from_dicts(corpus)
    if not len(frame):
        raise ValueError("the corpus is empty: give documents with docno and text")
    absent = [column for column in ("docno", "text") if column not in frame.columns]
    if absent:
        raise ValueError(f"the corpus lacks {absent}; it has {list(frame.columns)}: documents need docno and text, "
                         "and may have a title")
    docnos = frame["docno"].astype(str).tolist()
    bad = [docno for docno, text in zip(docnos, frame["text"], strict=True) if not isinstance(text, str)]
    if bad:
        raise ValueError(f"{len(bad)} documents have a text that is no str, such as docno {bad[:3]}")
    if len(set(docnos)) < len(docnos):
        repeated = pd.Series(docnos)
        raise ValueError(f"the docno {repeated[repeated.duplicated()].iloc[0]!r} occurs more than once in the corpus")
    titles = frame["title"].tolist() if "title" in frame.columns else [""] * len(frame)
    rows = [(docno, *_apart(title.strip() if isinstance(title, str) else "", text))
            for docno, title, text in zip(docnos, titles, frame["text"], strict=True)]
    return pd.DataFrame(rows, columns=["docno", "title", "body", "text"])


def _from_dicts(corpus: object) -> pd.DataFrame:
    if not isinstance(corpus, Iterable) or isinstance(corpus, str | bytes | Mapping):
        raise TypeError(f"corpus is a {type(corpus).__name__}: give a frame with docno and text, or dicts with both")
    documents = list(corpus)
    for document in documents:
        if not isinstance(document, Mapping):
            raise TypeError(f"the corpus holds a {type(document).__name__}: give dicts with docno and text")
    return pd.DataFrame(documents)


def _apart(title: str, text: str) -> tuple[str, str, str]:
    """Returns the title, the text without it, and both together."""
    if not title:
        return "", text, text
    if text.startswith(title) and not text[len(title):len(title) + 1].isalnum():
        body = text[len(title):].lstrip()
        # "Berlin" before "Berlin is a city": the subject of a sentence, not the title in front of the body.
        subject = len(_words(title)) < SHORTEST and body[:1].islower() and text != text.lower()
        if not subject:
            return title, body, text
    return title, text, f"{title} {text}"


def sentences(text: str) -> list[str]:
    """Returns the sentences of a text, as they stand in it."""
    return [part for part in _SENTENCE_END.split(text) if part.strip()]


def without(text: str, sentence: str) -> str:
    """Returns the text without this sentence, wherever it stands as one; case, spaces and signs do not matter."""
    unwanted, kept, start = _words(sentence), [], 0
    for end in [*_SENTENCE_END.finditer(text), None]:
        if _words(text[start:end.start() if end else len(text)]) != unwanted:
            kept.append(text[start:end.end() if end else len(text)])
        start = end.end() if end else start
    return "".join(kept).strip()


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def titles(documents: pd.DataFrame, count: int, seed: int) -> PseudoQueries:
    """Criterion A: a document's title, or first sentence, seeks the body without it.

    A title of fewer than two words is none. Every document, target or not, is a candidate without its title or first
    sentence; one that is nothing else stays whole, and is no target.

    Args:
        documents: As :func:`read_corpus` returns them.
        count: How many pseudo-queries to make, where there are enough documents.
        seed: Of the choice of documents.
    """
    heads, bodies = [], []
    for title, body in zip(documents["title"], documents["body"], strict=True):
        head = title if len(_words(title)) >= KEPT else next(iter(sentences(body)), "")
        heads.append(head)
        bodies.append(without(body, head))
    usable = [len(_words(head)) >= KEPT and bool(_words(body)) for head, body in zip(heads, bodies, strict=True)]
    chosen = [place for place in _shuffled(len(documents), seed, "A") if usable[place]][:count]
    texts = [body if _words(body) else text for body, text in zip(bodies, documents["text"], strict=True)]
    return _pseudo_queries(documents, {place: heads[place] for place in chosen}, texts)


def random_sentences(documents: pd.DataFrame, count: int, seed: int) -> PseudoQueries:
    """Criterion B: a random sentence of 6 to 40 words seeks the rest of its document, title included.

    Args:
        documents: As :func:`read_corpus` returns them.
        count: How many pseudo-queries to make, where there are enough documents.
        seed: Of the choice of documents and sentences.
    """
    random = _random(seed, "B's sentences")
    chosen: dict[int, str] = {}
    texts = documents["text"].tolist()
    for place in _shuffled(len(documents), seed, "B"):
        if len(chosen) == count:
            break
        title, body = documents["title"].iloc[place], documents["body"].iloc[place]
        fitting = [sentence for sentence in sentences(body) if SHORTEST <= len(_words(sentence)) <= LONGEST]
        if not fitting:
            continue
        sentence = fitting[int(random.integers(len(fitting)))]
        # A title that says the same would give the target away.
        rest = " ".join(part for part in (without(title, sentence), without(body, sentence)) if part)
        if _words(rest):
            chosen[place], texts[place] = sentence, rest
    return _pseudo_queries(documents, chosen, texts)


def _pseudo_queries(documents: pd.DataFrame, chosen: dict[int, str], texts: list[str]) -> PseudoQueries:
    docnos = documents["docno"].tolist()
    queries = [(docnos[place], " ".join(query.split())) for place, query in sorted(chosen.items())]
    return PseudoQueries(pd.DataFrame(queries, columns=["qid", "query"], dtype=object),
                         pd.DataFrame({"docno": docnos, "text": texts}))


def _random(seed: int, purpose: str) -> np.random.Generator:
    """Returns a generator of its own for each purpose, so that one choice does not move another."""
    return np.random.default_rng([seed, *purpose.encode()])


def _shuffled(count: int, seed: int, purpose: str) -> list[int]:
    return _random(seed, purpose).permutation(count).tolist()


def mask(query: str, target: str, stems: Callable[[str], set[str]], random: np.random.Generator) -> str:
    """Drops words of a query that its target has too, so that a re-ranker needs more than the same words.

    Args:
        query: Words between white space; one without a letter or digit is dropped and does not count.
        target: The target's text.
        stems: The stems in a text. A word occurs in the target if any of its stems does ("IL-6" has two).
        random: Decides by chance.

    Returns:
        The query without each occurring word by a chance of ½, and with two words at least.
    """
    words = [word for word in query.split() if _WORD.search(word)]
    there = stems(target)
    kept = [not (stems(word) & there and random.random() < DROPPED) for word in words]
    lost = random.permutation(np.flatnonzero(~np.array(kept, dtype=bool)))
    for place in lost[:max(0, KEPT - sum(kept))]:
        kept[place] = True
    return " ".join(word for word, stays in zip(words, kept, strict=True) if stays)


def terrier_stems(language: str = "english") -> Callable[[str], set[str]]:
    """Returns a function from a text to its stems, by the stemmer of the first stage; it needs a running Java."""
    stem = lru_cache(maxsize=None)(pt.terrier.TerrierStemmer(LANGUAGES[language].stemmer).stem)
    return lambda text: {stem(word) for word in _words(text)}


def candidate_run(pseudo: PseudoQueries, *, seed: int, stems: Callable[[str], set[str]] | None = None) -> pd.DataFrame:
    """Returns BM25's top 100 of each whole pseudo-query, with the masked one in its place.

    Args:
        pseudo: The pseudo-queries and the texts to retrieve from.
        seed: Of the masking.
        stems: As in :func:`mask`; None: Terrier's.

    Returns:
        Columns ``qid`` (the target's docno), ``query`` (masked), ``docno``, ``text``, ``score`` (BM25's, float) and
        ``target`` (bool), query by query; those whose target is not among the candidates are left out.

    Raises:
        RuntimeError: If there is no Java.
    """
    with tempfile.TemporaryDirectory(prefix="taskarith-") as folder, warnings.catch_warnings():
        # A pseudo-query of stop words alone finds nothing, and is left out with those whose target is not found.
        warnings.filterwarnings("ignore", message="Skipping empty query")
        run = first_stage(pseudo.texts, f"{folder}/bodies", num_results=CANDIDATES).transform(pseudo.queries)
    run["target"] = run["qid"] == run["docno"]
    run = run[run.groupby("qid", sort=False)["target"].transform("any")]
    stems, random = stems or terrier_stems(), _random(seed, "mask")
    texts = dict(zip(pseudo.texts["docno"], pseudo.texts["text"], strict=True))
    masked = {qid: mask(query, texts[qid], stems, random)
              for qid, query in run[["qid", "query"]].drop_duplicates().itertuples(index=False)}
    run = run.assign(query=run["qid"].map(masked))
    return run[["qid", "query", "docno", "text", "score", "target"]].reset_index(drop=True)
