"""The prompt of query likelihood: truncated as RankingGPT or the paper does, tokenised once a query and text."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyterrier_taskarith.errors import ScorerError

#: Tokens of a document and of a query in the paper's evaluation.
PAPER_DOCUMENT, PAPER_QUERY = 256, 128
#: Tokens of prompt, document and query together in RankingGPT's evaluation, and how many it keeps free.
LENGTH, SPARE = 512, 10
#: The padding token that RankingGPT adds to its tokenizers, and what it writes for it in a text.
PAD = ("[PAD]", "PAD")
_BYTE = re.compile("<0x([0-9A-F]{2})>")


@dataclass(frozen=True)
class Prompt:
    """Token ids of a pair.

    Attributes:
        ids: int32, document and query.
        start: Where the query's tokens begin: after as many as ``Document: {text} Query:`` has alone.
    """

    ids: np.ndarray
    start: int


class Prompts:
    """Makes prompts from queries and texts.

    "paper": a document of 256 tokens and a query of 128, each cut, decoded and encoded again, as the paper's
    evaluation does. "keep_prompt": as RankingGPT's own evaluation does, the document has what prompt and query leave
    of 512 tokens (or ``max_length``) less 10; it too is decoded and encoded again. Beyond RankingGPT, a query that
    would leave nothing of these tokens is cut as well.
    """

    def __init__(self, prompt: str, tokenizer: Any, tokens: Callable[[str, Sequence[str]], list[np.ndarray]],
                 truncation: str, max_length: int | None, positions: int) -> None:
        """Learns how long the prompt is and how the tokenizer joins its parts.

        Args:
            prompt: With ``{text}``; the query follows it.
            tokenizer: Of transformers.
            tokens: Remembers what :meth:`tokenise` gives, by kind and text.
            truncation: "keep_prompt" or "paper".
            max_length: Instead of 512, or None.
            positions: How many the model has.

        Raises:
            ScorerError: If ``max_length`` is given to the paper's truncation, or does not suit prompt or model.
        """
        self._prompt, self._tokenizer, self._tokens, self.truncation = prompt, tokenizer, tokens, truncation
        first = tokenizer("x")["input_ids"][:1]
        self._begin = first if first == [tokenizer.bos_token_id] else []
        self._lead_text, self._lead = self._find_lead()
        if truncation == "paper":
            if max_length is not None:
                raise ScorerError(f"max_length={max_length} has no effect with truncation='paper', which reads "
                                  f"{PAPER_DOCUMENT} tokens of a text and {PAPER_QUERY} of a query; leave it out")
            self.max_length, self._room, self._longest_query = None, PAPER_DOCUMENT, PAPER_QUERY
            return
        self.max_length = max_length or min(LENGTH, positions)
        # As RankingGPT does, of the prompt as it is written there.
        length = len(self._begin) + len(self._ids([prompt.format(text="{doc}")])[0])
        self._room = self._longest_query = self.max_length - length - SPARE - len(self._begin)
        if self._room < 1 or self.max_length > positions:
            raise ScorerError(f"max_length={self.max_length}: the prompt takes {length} tokens, {SPARE} are kept free, "
                              f"and the model has {positions} positions")

    @property
    def facts(self) -> dict[str, object]:
        """What decides the prompts beside the tokenizer."""
        return {"truncation": self.truncation, "max_length": self.max_length, "prompt": self._prompt}

    def ids(self, queries: Sequence[str], texts: Sequence[str]) -> list[Prompt]:
        """Returns the prompt of each pair."""
        asked, read = self._tokens("query", queries), self._tokens("text", texts)
        rooms = [self._room_beside(query) for query in asked]
        # A text that fits is the same for every query.
        kinds = ["source" if len(text) <= room else f"source/{room}" for text, room in zip(read, rooms, strict=True)]
        sources = self._of_kinds(kinds, texts)
        tails = self._tokens("tail", queries)
        unsure = [index for index, source in enumerate(sources) if not self._ends_apart(source)]
        wholes = self._tokens("whole", [self._prompt.format(text=self._cut(read[index], rooms[index]))
                                        + self._shown(queries[index], asked[index]) for index in unsure])
        whole = dict(zip(unsure, wholes, strict=True))
        return [Prompt(whole[index] if index in whole else
                       np.concatenate([source[:len(source) - len(self._lead)], tails[index]]), len(source))
                for index, source in enumerate(sources)]

    def tokenise(self, kind: str, texts: list[str]) -> list[list[int]]:
        """Returns token ids of texts.

        Args:
            kind: "query" or "text": of these alone, no longer than is ever read. "source": of ``Document: {text}
                Query:``; "source/n": with the text cut to n tokens. "tail": of ``Query:{query}``. "whole": of a prompt.
            texts: What to tokenise.
        """
        name, _, room = kind.partition("/")
        if name == "query":
            return self._ids([text.replace(*PAD) for text in texts], self._longest_query + 1)
        if name == "text":
            return self._ids(texts, self._room)
        if name == "tail":
            texts = [self._lead_text + self._shown(text, ids)
                     for text, ids in zip(texts, self._tokens("query", texts), strict=True)]
            return self._ids(texts)
        if name == "source":
            longest = int(room or self._room)
            texts = [self._prompt.format(text=self._cut(ids, longest)) for ids in self._tokens("text", texts)]
        return [[*self._begin, *ids] for ids in self._ids(texts)]

    def _room_beside(self, query: np.ndarray) -> int:
        """Returns how many tokens of a document go with a query."""
        return self._room if self.max_length is None else max(0, self._room - len(query))

    def _of_kinds(self, kinds: list[str], texts: Sequence[str]) -> list[np.ndarray]:
        indices: dict[str, list[int]] = {}
        for index, kind in enumerate(kinds):
            indices.setdefault(kind, []).append(index)
        found: dict[int, np.ndarray] = {}
        for kind, here in indices.items():
            found.update(zip(here, self._tokens(kind, [texts[index] for index in here]), strict=True))
        return [found[index] for index in range(len(kinds))]

    def _cut(self, ids: np.ndarray, count: int) -> str:
        """Returns the text of the first tokens.

        Each byte of a character that is cut in two becomes a mark, as in sentencepiece, which RankingGPT decodes with;
        transformers' fast decoder would make marks of the whole characters before it, too.
        """
        kept = ids[:count].tolist()
        loose = _loose_bytes(self._tokenizer.convert_ids_to_tokens(kept[-3:]))
        text: str = self._tokenizer.decode(kept[:len(kept) - loose]) + "\ufffd" * loose
        return text.replace(*PAD)

    def _shown(self, query: str, ids: np.ndarray) -> str:
        """Returns a query as it stands in the prompt."""
        if self.max_length is None or len(ids) > self._longest_query:
            return self._cut(ids, self._longest_query)
        return query.replace(*PAD)

    def _find_lead(self) -> tuple[str, list[int]]:
        """Returns what the query's part begins with, and its ids; none where parts cannot be tokenised apart."""
        whole, document = self._ids([self._prompt.format(text="x"), "Document: x"])
        for text in ("Query:", " Query:"):  # sentencepiece puts a space before every text, byte-level BPE does not
            lead = self._ids([text])[0]
            if lead and whole == document + lead:
                return text, lead
        return " Query:", []

    def _ends_apart(self, source: np.ndarray) -> bool:
        """Returns whether a query changes no token of its document.

        No piece reaches over a space unless it is all spaces. So what follows ``Query:`` matters for its own word
        alone, unless the document's own end joins with the space before it; then the whole prompt is tokenised.
        """
        count = len(self._lead)
        return bool(count) and source[-count:].tolist() == self._lead

    def _ids(self, texts: list[str], limit: int | None = None) -> list[list[int]]:
        if not texts:
            return []
        found: list[list[int]] = self._tokenizer(texts, add_special_tokens=False, truncation=limit is not None,
                                                 max_length=limit)["input_ids"]
        return found


def _loose_bytes(pieces: list[str]) -> int:
    """Returns how many pieces at the end, "<0xE6>" and the like, begin a character of UTF-8 and do not finish it."""
    for count, piece in enumerate(reversed(pieces), start=1):
        found = _BYTE.fullmatch(piece)
        byte = int(found[1], 16) if found else 0
        if byte < 0x80:
            return 0
        if byte >= 0xC0:  # the first of as many bytes as it has leading ones
            return count if 8 - (byte ^ 0xFF).bit_length() > count else 0
    return 0
