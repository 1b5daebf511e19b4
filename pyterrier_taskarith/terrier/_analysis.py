"""How Terrier turns a text into terms in each language, and which tokens it drops."""

import hashlib
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pyterrier as pt

#: Snowball's lists; Terrier ships English stop words alone.
_LISTS = Path(__file__).parent / "stopwords"
#: Terrier drops a token with more digits than this, or with a character more often in a row; it has no setting for it.
MOST_DIGITS, MOST_REPEATED = 4, 3
_LIMIT = "max.term.length"
#: Dropped tokens that are shown.
EXAMPLES = 5


@dataclass(frozen=True)
class Analysis:
    """How Terrier turns a text into terms.

    Attributes:
        tokeniser: PyTerrier's name of the tokeniser, for documents and queries.
        stemmer: PyTerrier's name of the stemmer, or its class in Terrier.
        stopwords: "terrier", or a file among the package's lists.
        longest: Characters of a token; a longer one is dropped.
    """

    tokeniser: str
    stemmer: str
    stopwords: str
    longest: int

    @property
    def words(self) -> str | list[str]:
        """The stop words as PyTerrier's indexers take them: "terrier" for Terrier's own, or a list."""
        return self.stopwords if self.stopwords == "terrier" else read_stopwords(self.stopwords)

    @property
    def recipe(self) -> dict[str, object]:
        """What decides the terms, in plain values."""
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
        RuntimeError: If the tokeniser was first used under another limit.
    """
    setup = pt.terrier.J.ApplicationSetup()  # of a class, pyjnius sets no static field
    before = setup.MAX_TERM_LENGTH, setup.getProperty(_LIMIT, str(setup.MAX_TERM_LENGTH))
    setup.MAX_TERM_LENGTH = analysis.longest  # for tokenisers
    setup.setProperty(_LIMIT, str(analysis.longest))  # for lexicons
    try:
        tokeniser = pt.terrier.TerrierTokeniser.java_tokeniser(pt.terrier.TerrierTokeniser(analysis.tokeniser))
        fits = ("ab" * analysis.longest)[:analysis.longest]
        if list(tokeniser.getTokens(f"{fits} {fits}a")) != [fits]:
            raise RuntimeError(
                f"Terrier's tokeniser {analysis.tokeniser!r} was used in this process with another limit on a term's "
                f"length than {analysis.longest}, which cannot be changed any more: make the first stage before "
                f"anything else uses that tokeniser (pt.rewrite.tokenise, an index), or in another process.")
        yield
    finally:
        setup.MAX_TERM_LENGTH = before[0]
        setup.setProperty(_LIMIT, before[1])


@dataclass
class Dropped:
    """Tokens that Terrier's tokeniser leaves out of an index.

    Attributes:
        tokens: All tokens, dropped ones included.
        longest: The limit on a token's length.
        counts: "long", "digits" (more than four), "repeated" (a character more than three times in a row) -> tokens.
        examples: Some of them.
    """

    tokens: int = 0
    longest: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, text: str, analysis: Analysis) -> None:
        """Counts a text's tokens."""
        self.longest = analysis.longest
        for token in _word(analysis.tokeniser).findall(text):
            self.tokens += 1
            if len(token) > MOST_REPEATED and (reason := _reason(token, analysis.longest)):
                self.counts[reason] += 1
                if len(self.examples) < EXAMPLES and token not in self.examples:
                    self.examples.append(token)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values; :meth:`from_dict` reads them."""
        return {"tokens": self.tokens, "longest": self.longest, "counts": dict(self.counts), "examples": self.examples}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Dropped":
        """Returns what :meth:`to_dict` wrote."""
        return cls(values["tokens"], values["longest"], Counter(values["counts"]), list(values["examples"]))

    def __str__(self) -> str:
        total = self.counts.total()
        if not total:
            return f"none of {self.tokens:,} tokens dropped"
        reasons = {"long": f"longer than {self.longest} characters", "digits": f"with more than {MOST_DIGITS} digits",
                   "repeated": f"with a character more than {MOST_REPEATED} times in a row"}
        parts = ", ".join(f"{self.counts[kind]:,} {words}" for kind, words in reasons.items() if self.counts[kind])
        some = ", ".join(repr(token if len(token) <= 40 else f"{token[:40]}…") for token in self.examples)
        return f"{total:,} of {self.tokens:,} tokens dropped by Terrier's tokeniser: {parts} (such as {some})"


def _reason(token: str, longest: int) -> str | None:
    """Returns why Terrier drops a token, or None."""
    if len(token) > longest:
        return "long"
    if len(token) > MOST_DIGITS and sum(map(str.isdecimal, token)) > MOST_DIGITS:
        return "digits"
    return "repeated" if _REPEATED.search(token) else None


_REPEATED = re.compile(rf"(.)\1{{{MOST_REPEATED}}}")


@cache
def _word(tokeniser: str) -> re.Pattern[str]:
    """Returns what a tokeniser takes for a token, before it drops some."""
    if tokeniser == "english":
        return re.compile("[A-Za-z0-9]+")
    # Java's letters, digits and combining marks in the 16-bit range: it reads what is beyond as two non-letters.
    kinds = {"Lu", "Ll", "Lt", "Lm", "Lo", "Nd", "Mn", "Mc"}
    inside = [code for code in range(0x10000) if unicodedata.category(chr(code)) in kinds]
    ranges, start = [], inside[0]
    for code, following in zip(inside, [*inside[1:], sys.maxunicode], strict=True):
        if following != code + 1:
            ranges.append(f"\\u{start:04x}-\\u{code:04x}")
            start = following
    return re.compile(f"[{''.join(ranges)}]+")
