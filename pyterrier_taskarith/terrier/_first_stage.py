"""BM25 by Terrier, so that no query is lost and every text arrives whole."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyterrier as pt

from pyterrier_taskarith.data import Texts, TextSource
from pyterrier_taskarith.terrier._analysis import LANGUAGES, Analysis, Dropped, terrier_set_for
from pyterrier_taskarith.terrier._java import ensure_java

__all__ = ["Texts", "dropped_of", "first_stage"]

K1, B = 1.2, 0.75  # Terrier's defaults, stated so that they are on record
FORMAT = 1  # raise it when the same recipe would give another index
RECIPE, DROPPED = "recipe.json", "dropped.json"


def first_stage(
    documents: pd.DataFrame | TextSource, folder: str | Path, *, num_results: int = 100, language: str = "english",
    texts: bool = True, verbose: bool = False
) -> pt.Transformer:
    """BM25 over documents, as a pipeline from queries to results with texts.

    The pipeline is ``pt.rewrite.tokenise() >> bm25 >> pt.rewrite.reset() >> documents``: without the first, Terrier
    would read ``C++: a/b`` as its query language; without the third, a re-ranker would see the stripped query. Texts
    are not kept in Terrier, which cuts what is longer than a field; they are joined by docno.

    English is Terrier's default: its tokeniser for ASCII, Porter's stemmer and its stop words. German, Spanish and
    French have Terrier's UTFTokeniser (``pt.rewrite.tokenise("utf")`` for queries), Snowball's stemmer and stop words,
    and tokens of up to 100 characters instead of 20. What the tokeniser drops all the same, such as numbers of five
    digits, is counted: `dropped_of`.

    The index is built in ``folder`` under a temporary name and renamed. A folder whose recipe (documents, analysis,
    Terrier's version) is the one asked for is used again; one with another recipe is built anew.

    Args:
        documents: Columns ``docno`` and ``text``, both str, docnos distinct; or what gives texts by docno.
        folder: The index's own folder.
        num_results: How many documents to retrieve for a query, at least 1.
        language: The documents' language: "english", "german", "spanish" or "french".
        texts: Whether results get their texts; without, they are for a re-ranker that loads texts itself.
        verbose: Whether to say what is indexed and what was dropped.

    Returns:
        A transformer from (qid, query) to (qid, query, docid, docno, rank, score, text).

    Raises:
        RuntimeError: there is no Java (`ensure_java`), or Terrier's tokeniser was used before with another limit on a
            term's length.
        ValueError: an unknown language, no documents, a docno that occurs twice, a text that is no str, or a folder
            that holds something else than an index made here.
    """
    if language not in LANGUAGES:
        raise ValueError(f"There is no analysis for the language {language!r}; known: {', '.join(LANGUAGES)}.")
    if num_results < 1:
        raise ValueError(f"num_results must be at least 1, and is {num_results}.")
    source = documents if isinstance(documents, TextSource) else Texts(documents)
    if not source.count:
        raise ValueError("There are no documents to index.")
    ensure_java()
    analysis = LANGUAGES[language]
    recipe = {
        "format": FORMAT, "documents": source.fingerprint, "count": source.count, "analysis": analysis.recipe,
        "terrier": str(pt.terrier.version()),
    }
    folder = Path(folder).absolute()  # Terrier takes relative ones to lie in a folder "var"
    with terrier_set_for(analysis):
        if _read(folder / RECIPE) != recipe or dropped_of(folder) is None:
            _build(source, folder, analysis, recipe)
        tokenise = pt.rewrite.tokenise(analysis.tokeniser)
    if verbose:
        print(f"BM25 index of {source.count:,} documents ({language}): {dropped_of(folder)}", file=sys.stderr)
    bm25 = pt.terrier.Retriever(
        str(folder / "data.properties"),
        wmodel="BM25",
        controls={"bm25.k_1": str(K1), "bm25.b": str(B)},
        num_results=num_results,
    )
    pipeline = tokenise >> bm25 >> pt.rewrite.reset()
    return pipeline >> source if texts else pipeline


def dropped_of(folder: str | Path) -> Dropped | None:
    """Returns which tokens Terrier's tokeniser left out of an index made here; None where there is no index."""
    values = _read(Path(folder) / DROPPED)
    return None if values is None else Dropped.from_dict(values)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _build(source: TextSource, folder: Path, analysis: Analysis, recipe: dict[str, Any]) -> None:
    if folder.exists() and not (folder.is_dir() and (not any(folder.iterdir()) or (folder / RECIPE).exists())):
        raise ValueError(f"{folder} holds something else than an index made here: name another folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    dropped = Dropped(longest=analysis.longest)

    def rows() -> Iterator[dict[str, str]]:
        for docno, text in source.pairs():
            dropped.add(text, analysis)
            yield {"docno": docno, "text": text}

    try:
        indexer = pt.IterDictIndexer(
            str(scratch / "new"),
            meta={"docno": source.docno_bytes},
            text_attrs=["text"],
            tokeniser=analysis.tokeniser,
            stemmer=analysis.stemmer,
            stopwords=analysis.words,
        )
        index = pt.IndexFactory.of(indexer.index(rows()))
        indexed = index.getCollectionStatistics().getNumberOfDocuments()
        index.close()
        if indexed != source.count:  # Terrier logs what goes wrong in its threads, and goes on
            raise RuntimeError(f"Terrier indexed {indexed} of {source.count} documents; its log above says why.")
        for name, values in ((RECIPE, recipe), (DROPPED, dropped.to_dict())):
            (scratch / "new" / name).write_text(json.dumps(values, indent=2), encoding="utf-8")
        if folder.exists():
            os.replace(folder, scratch / "old")
        os.replace(scratch / "new", folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
