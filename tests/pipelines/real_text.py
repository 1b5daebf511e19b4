"""A small collection of real text: docstrings of the standard library, each sought by its own first sentence."""

import importlib
import inspect
import math
import re
from collections import Counter
from functools import lru_cache
from pathlib import Path

import pandas as pd

import pyterrier_taskarith

#: The real triple that ships with the package: Θ_T, Θ_D, Θ_0 of a small bi-encoder.
MODELS = Path(pyterrier_taskarith.__file__).parent / "demo" / "models"
DEMO = (str(MODELS / "ranker"), str(MODELS / "domain"), str(MODELS / "base"))

_MODULES = ("bisect", "calendar", "collections", "copy", "csv", "difflib", "fractions", "functools", "glob", "heapq",
            "inspect", "itertools", "json", "logging", "os.path", "random", "shutil", "statistics", "string",
            "subprocess", "tempfile", "textwrap", "urllib.parse", "zipfile")


@lru_cache(maxsize=1)
def _parts() -> dict[str, tuple[str, str]]:
    """Returns docno -> (first sentence, the rest), for docstrings that have both."""
    found = {}
    for name in _MODULES:
        module = importlib.import_module(name)
        for member in sorted(vars(module)):
            value = getattr(module, member)
            text = inspect.getdoc(value) if callable(value) and not member.startswith("_") else None
            first, _, rest = (text or "").partition("\n\n")
            if len(first.split()) > 3 and len(rest.split()) > 15 and rest not in {old for _, old in found.values()}:
                found[f"{name}.{member}"] = " ".join(first.split()), " ".join(rest.split())
    return found


def documents() -> pd.DataFrame:
    """Returns docno and text: docstrings without their first sentence."""
    return pd.DataFrame([{"docno": docno, "text": rest} for docno, (_, rest) in _parts().items()])


def topics(count: int) -> pd.DataFrame:
    """Returns qid and query: first sentences, spread over the collection."""
    docnos = list(_parts())
    chosen = docnos[::max(1, len(docnos) // count)][:count]
    return pd.DataFrame([{"qid": f"q{docno}", "query": _parts()[docno][0]} for docno in chosen])


def qrels(queries: pd.DataFrame) -> pd.DataFrame:
    """Returns qid, docno and label: the docstring that a sentence was taken from, and those of its module."""
    rows = []
    for qid in queries["qid"]:
        target = qid.removeprefix("q")
        near = [docno for docno in _parts() if docno.rpartition(".")[0] == target.rpartition(".")[0]]
        rows += [{"qid": qid, "docno": docno, "label": 2 if docno == target else 1} for docno in near]
    return pd.DataFrame(rows)


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


@lru_cache(maxsize=4)
def candidates(count: int, depth: int) -> pd.DataFrame:
    """Returns qid, query, docno, text, score and rank: documents by the idf of the words they share with the query."""
    texts = documents()
    contents = [set(words(text)) for text in texts["text"]]
    df = Counter(word for content in contents for word in content)
    rows = []
    for topic in topics(count).itertuples():
        asked = set(words(topic.query))
        scores = [sum(math.log(len(contents) / df[word]) for word in sorted(asked & content)) for content in contents]
        best = sorted(range(len(scores)), key=lambda place: -scores[place])[:depth]
        rows += [{"qid": topic.qid, "query": topic.query, "docno": texts["docno"][place], "text": texts["text"][place],
                  "score": scores[place], "rank": rank} for rank, place in enumerate(best)]
    return pd.DataFrame(rows)
