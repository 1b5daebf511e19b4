"""How Terrier turns a text into terms in each language."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyterrier as pt

from pyterrier_taskarith.errors import SetupError

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
        """Returns the stop words as PyTerrier's indexers take them: "terrier" for Terrier's own, or a list."""
        return self.stopwords if self.stopwords == "terrier" else read_stopwords(self.stopwords)

    @property
    def recipe(self) -> dict[str, object]:
        """Returns what decides the terms, in plain values."""
        words = self.words
        digest = {} if words == "terrier" else {"words": hashlib.sha256("\n".join(words).encode()).hexdigest()}
        return {"tokeniser": self.tokeniser, "stemmer": self.stemmer, "stopwords": self.stopwords, **digest,
                "longest": self.longest}


#: English as Terrier does it by default; the others with compounds such as the German ones whole.
LANGUAGES = {
    "english": Analysis("english", "porter", "terrier", 20),
    "german": Analysis("utf", "german", "german.txt", 100),
    "spanish": Analysis("utf", "spanish", "spanish.txt", 100),
    "french": Analysis("utf", "FrenchSnowballStemmer", "french.txt", 100),
}


def read_stopwords(name: str) -> list[str]:
    """Returns the words of one of the package's lists."""
    lines = (_LISTS / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@contextmanager
def terrier_set_for(analysis: Analysis) -> Iterator[None]:
    """Keeps Terrier's limit on a term's length at the analysis's own; Java must have been looked for.

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
