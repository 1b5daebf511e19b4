"""BM25 by Terrier over documents in memory, so that no query is lost and every text arrives whole."""

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyterrier as pt

from pyterrier_taskarith.java import ensure_java

__all__ = ["Texts", "first_stage"]

K1, B = 1.2, 0.75  # Terrier's defaults, stated so that they are on record
FORMAT = 1  # raise it when the same recipe would give another index
RECIPE = "recipe.json"


@dataclass(frozen=True)
class Analysis:
    """How Terrier turns a text into terms: the names of its tokeniser, stemmer and stop word list."""

    tokeniser: str
    stemmer: str
    stopwords: str


LANGUAGES = {"english": Analysis(tokeniser="english", stemmer="porter", stopwords="terrier")}


def first_stage(
    documents: pd.DataFrame, folder: str | Path, *, num_results: int = 100, language: str = "english"
) -> pt.Transformer:
    """BM25 over documents, as a pipeline from queries to results with texts.

    The pipeline is ``pt.rewrite.tokenise() >> bm25 >> pt.rewrite.reset() >> Texts(documents)``: without the first,
    Terrier would read ``C++: a/b`` as its query language; without the third, a re-ranker would see the stripped query.
    Texts are not kept in Terrier, which cuts what is longer than a field; they are joined by docno.

    The index is built in ``folder`` under a temporary name and renamed. A folder whose recipe (documents, analysis,
    Terrier's version) is the one asked for is used again; one with another recipe is built anew.

    Args:
        documents: Columns ``docno`` and ``text``, both str; docnos are distinct.
        folder: The index's own folder.
        num_results: How many documents to retrieve for a query, at least 1.
        language: The documents' language: "english".

    Returns:
        A transformer from (qid, query) to (qid, query, docid, docno, rank, score, text).

    Raises:
        RuntimeError: there is no Java (`ensure_java`).
        ValueError: an unknown language, no documents, a docno that occurs twice, a text that is no str, or a folder
            that holds something else than an index made here.
    """
    if language not in LANGUAGES:
        raise ValueError(f"There is no analysis for the language {language!r}; known: {', '.join(LANGUAGES)}.")
    if num_results < 1:
        raise ValueError(f"num_results must be at least 1, and is {num_results}.")
    texts = Texts(documents)
    if not len(documents):
        raise ValueError("There are no documents to index.")
    ensure_java()
    analysis = LANGUAGES[language]
    recipe = {
        "format": FORMAT, "documents": texts.fingerprint, "count": len(documents), "analysis": asdict(analysis),
        "terrier": str(pt.terrier.version()),
    }
    folder = Path(folder)
    if _read_recipe(folder) != recipe:
        _build(documents, folder, analysis, recipe)
    bm25 = pt.terrier.Retriever(
        str(folder / "data.properties"),
        wmodel="BM25",
        controls={"bm25.k_1": str(K1), "bm25.b": str(B)},
        num_results=num_results,
    )
    return pt.rewrite.tokenise(analysis.tokeniser) >> bm25 >> pt.rewrite.reset() >> texts


class Texts(pt.Transformer):
    """Adds the column ``text`` to results, by docno, from documents in memory.

    Args:
        documents: Columns ``docno`` and ``text``, both str; docnos are distinct.

    Raises:
        ValueError: a column is missing, a docno occurs twice, or a text is no str.
    """

    schematic = {"label": "Texts"}

    def __init__(self, documents: pd.DataFrame) -> None:
        super().__init__()
        missing = [column for column in ("docno", "text") if column not in documents.columns]
        if missing:
            raise ValueError(f"The documents lack the column {missing[0]!r}; they have {list(documents.columns)}.")
        self.documents = documents
        self._text_of: dict[str, str] = dict(zip(documents["docno"], documents["text"], strict=True))
        if len(self._text_of) != len(documents):
            repeated = documents["docno"][documents["docno"].duplicated()]
            raise ValueError(f"The docno {repeated.iloc[0]!r} occurs more than once.")
        faulty = [d for d, text in self._text_of.items() if not (isinstance(d, str) and isinstance(text, str))]
        if faulty:
            raise ValueError(f"{len(faulty)} documents have a docno or text that is no str, such as {faulty[:3]}.")
        digest = hashlib.sha256()
        for part in (part for pair in self._text_of.items() for part in pair):
            raw = str(part).encode("utf-8", "surrogatepass")
            digest.update(len(raw).to_bytes(8, "big") + raw)
        self.fingerprint = digest.hexdigest()

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """The results with their texts: the same rows and columns, and ``text``.

        Raises:
            ValueError: a docno is none of the documents'.
        """
        pt.validate.columns(inp, includes=["docno"], context=self)
        unknown = [docno for docno in inp["docno"] if docno not in self._text_of]
        if unknown:
            raise ValueError(
                f"{len(unknown)} of {len(inp)} results have a docno that is not among the {len(self._text_of)} "
                f"documents, such as {unknown[:3]}: were these results retrieved from other documents?"
            )
        texts = [self._text_of[docno] for docno in inp["docno"]]
        return inp.assign(text=pd.Series(texts, index=inp.index, dtype=self.documents["text"].dtype))

    def __eq__(self, other: object) -> bool:
        return self.fingerprint == other.fingerprint if isinstance(other, Texts) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), self.fingerprint))

    def __repr__(self) -> str:
        return f"Texts({len(self._text_of)} documents, {self.fingerprint[:8]})"


def _read_recipe(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / RECIPE).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _build(documents: pd.DataFrame, folder: Path, analysis: Analysis, recipe: dict[str, Any]) -> None:
    if folder.exists() and not (folder.is_dir() and (not any(folder.iterdir()) or (folder / RECIPE).exists())):
        raise ValueError(f"{folder} holds something else than an index made here: name another folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        indexer = pt.IterDictIndexer(
            str(scratch / "new"),
            meta={"docno": max(len(docno.encode()) for docno in documents["docno"])},
            text_attrs=["text"],
            tokeniser=analysis.tokeniser,
            stemmer=analysis.stemmer,
            stopwords=analysis.stopwords,
        )
        indexer.index({"docno": d, "text": t} for d, t in zip(documents["docno"], documents["text"], strict=True))
        (scratch / "new" / RECIPE).write_text(json.dumps(recipe, indent=2), encoding="utf-8")
        if folder.exists():
            os.replace(folder, scratch / "old")
        os.replace(scratch / "new", folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
