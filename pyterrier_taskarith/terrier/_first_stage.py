"""BM25 by Terrier, so that no query is lost and every text arrives whole."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyterrier as pt

from pyterrier_taskarith._files import new_folder, remove_left
from pyterrier_taskarith._json import read_json
from pyterrier_taskarith.data import Texts, TextSource
from pyterrier_taskarith.errors import DataError, SetupError
from pyterrier_taskarith.terrier._java import ensure_java

#: Snowball's lists; Terrier ships English stop words alone.
_LISTS = Path(__file__).parent / "stopwords"
_LIMIT = "max.term.length"


@dataclass(frozen=True)
class Analysis:
    """How Terrier turns a text into terms.

    Attributes:
        tokeniser: PyTerrier's name of the tokeniser, for documents and queries.
        stemmer: PyTerrier's name of the stemmer, or its class in Terrier.
        stopwords: "terrier", or a file among the package's lists.
        longest: Characters of a token; a longer one is left out.
    """

    tokeniser: str
    stemmer: str
    stopwords: str
    longest: int

    @property
    def words(self) -> str | list[str]:
        """The stop words for PyTerrier's indexers: "terrier" for Terrier's own, or a list."""
        if self.stopwords == "terrier":
            return self.stopwords
        lines = (_LISTS / self.stopwords).read_text(encoding="utf-8").splitlines()
        return [line for line in lines if line and not line.startswith("#")]

    @property
    def recipe(self) -> dict[str, object]:
        """The settings that determine the terms, as JSON values."""
        words = self.words
        digest = {} if words == "terrier" else {"words": hashlib.sha256("\n".join(words).encode()).hexdigest()}
        return {"tokeniser": self.tokeniser, "stemmer": self.stemmer, "stopwords": self.stopwords, **digest,
                "longest": self.longest}


#: English as in Terrier by default; the others keep long compounds such as the German ones.
LANGUAGES = {
    "english": Analysis("english", "porter", "terrier", 20),
    "german": Analysis("utf", "german", "german.txt", 100),
    "spanish": Analysis("utf", "spanish", "spanish.txt", 100),
    "french": Analysis("utf", "FrenchSnowballStemmer", "french.txt", 100),
}


@contextmanager
def terrier_set_for(analysis: Analysis) -> Iterator[None]:
    """Sets Terrier's limit on a term's length to that of the analysis while in the block; needs `ensure_java` first.

    Terrier's tokenisers read the limit once in a process, when they are first used, and its lexicon when it is written.

    Raises:
        SetupError: If the tokeniser was first used under another limit.
    """
    setup = pt.terrier.J.ApplicationSetup()  # of a class, pyjnius sets no static field
    before = setup.MAX_TERM_LENGTH, setup.getProperty(_LIMIT, str(setup.MAX_TERM_LENGTH))
    setup.MAX_TERM_LENGTH = analysis.longest  # for tokenisers
    setup.setProperty(_LIMIT, str(analysis.longest))  # for lexicons
    try:
        tokeniser = pt.terrier.TerrierTokeniser.java_tokeniser(pt.terrier.TerrierTokeniser(analysis.tokeniser))
        fits = ("ab" * analysis.longest)[:analysis.longest]
        if list(tokeniser.getTokens(f"{fits} {fits}a")) != [fits]:
            raise SetupError(
                f"Terrier's tokeniser {analysis.tokeniser!r} was used in this process with another limit on a term's "
                f"length than {analysis.longest}, which cannot be changed any more: make the first stage before "
                f"anything else uses that tokeniser (pt.rewrite.tokenise, an index), or in another process.")
        yield
    finally:
        setup.MAX_TERM_LENGTH = before[0]
        setup.setProperty(_LIMIT, before[1])


K1, B = 1.2, 0.75  # Terrier's defaults, stated so that they are on record
FORMAT = 2  # raise it when the same recipe would give another index
RECIPE = "recipe.json"


def first_stage(
    documents: pd.DataFrame | TextSource, folder: str | Path, *, num_results: int = 100, language: str = "english",
    texts: bool = True, verbose: bool = False
) -> pt.Transformer:
    """Returns BM25 over documents, as a pipeline from queries to results with texts.

    The pipeline is ``pt.rewrite.tokenise() >> bm25 >> pt.rewrite.reset() >> documents``: without the first, Terrier
    would read ``C++: a/b`` as its query language; without the third, a re-ranker would see the stripped query. Texts
    are not kept in Terrier, which cuts what is longer than a field; they are joined by docno.

    English is Terrier's default: its tokeniser for ASCII, Porter's stemmer and its stop words. German, Spanish and
    French have Terrier's UTFTokeniser (``pt.rewrite.tokenise("utf")`` for queries), Snowball's stemmer and stop words,
    and tokens of up to 100 characters instead of 20. In every language Terrier leaves out longer tokens, tokens with
    more than four digits, and tokens with a character more than three times in a row.

    An index is built once for the same documents, analysis and version of Terrier, in a subfolder that is named after
    a hash of these. So a folder may hold the indexes of several collections, and several processes may use it; those
    of documents that have changed since stay until you delete them.

    Args:
        documents: Columns ``docno`` and ``text``, both str, docnos distinct; or a `TextSource`.
        folder: The folder of indexes.
        num_results: How many documents to retrieve for a query, at least 1.
        language: The documents' language: "english", "german", "spanish" or "french".
        texts: Whether results get their texts; without, they are for a re-ranker that loads texts itself.
        verbose: Whether to show the progress of indexing.

    Returns:
        A transformer from (qid, query) to (qid, query, docid, docno, rank, score, text).

    Raises:
        SetupError: There is no Java (`ensure_java`), or Terrier's tokeniser was used before with another limit on a
            token's length, or Terrier did not index every document.
        DataError: An unknown language, no documents, a docno that occurs twice, a text that is not a str, or an index
            that was changed after it was built.
    """
    if language not in LANGUAGES:
        raise DataError(f"There is no analysis for the language {language!r}; known: {', '.join(LANGUAGES)}.")
    if num_results < 1:
        raise DataError(f"num_results must be at least 1, and is {num_results}.")
    source = documents if isinstance(documents, TextSource) else Texts(documents)
    if not source.count:
        raise DataError("There are no documents to index.")
    ensure_java()
    analysis = LANGUAGES[language]
    recipe = {
        "format": FORMAT, "documents": source.fingerprint, "count": source.count, "analysis": analysis.recipe,
        "terrier": str(pt.terrier.version()),
    }
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
    index = Path(folder).absolute() / f"{language}-{digest[:16]}"  # Terrier looks for relative ones in a folder "var"
    with terrier_set_for(analysis):
        remove_left(index)
        if not index.exists():
            with suppress(FileExistsError), new_folder(index) as new:  # another process may be faster
                _build(source, new, analysis, recipe, verbose)
        tokenise = pt.rewrite.tokenise(analysis.tokeniser)
    bm25 = pt.terrier.Retriever(
        str(index / "data.properties"),
        wmodel="BM25",
        controls={"bm25.k_1": str(K1), "bm25.b": str(B)},
        num_results=num_results,
    )
    _check(index, recipe)  # after opening it, so that the index that was opened is checked
    pipeline: pt.Transformer = tokenise >> bm25 >> pt.rewrite.reset()
    return pipeline >> source if texts else pipeline


def _check(index: Path, recipe: dict[str, Any]) -> None:
    """Raises a DataError if the index does not hold this recipe."""
    try:
        found = read_json(index / RECIPE, DataError)
    except (FileNotFoundError, DataError):
        found = None
    if found != recipe:
        raise DataError(f"{index} is not the index that was built under this name: {RECIPE} in it is missing or says "
                        "something else. Delete the folder, and it is built again.")


def _build(source: TextSource, folder: Path, analysis: Analysis, recipe: dict[str, Any], verbose: bool) -> None:
    indexer = pt.IterDictIndexer(
        str(folder),
        meta={"docno": source.docno_bytes},
        text_attrs=["text"],
        tokeniser=analysis.tokeniser,
        stemmer=analysis.stemmer,
        stopwords=analysis.words,
    )
    pairs = pt.tqdm(source.pairs(), desc="BM25 index", unit="doc", total=source.count, disable=not verbose)
    index = pt.IndexFactory.of(indexer.index({"docno": docno, "text": text} for docno, text in pairs))
    indexed = index.getCollectionStatistics().getNumberOfDocuments()
    index.close()
    if indexed != source.count:  # Terrier logs what goes wrong in its threads, and goes on
        raise SetupError(f"Terrier indexed {indexed} of {source.count} documents; its log above says why.")
    (folder / RECIPE).write_text(json.dumps(recipe, indent=2), encoding="utf-8")
