"""Causal language models as rankers: how likely the query is after the document (RankingGPT)."""

import math
import re
from collections.abc import Hashable, Sequence

import numpy as np
import torch

from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.errors import ScorerError
from pyterrier_taskarith.families import family_of, types_scored_by
from pyterrier_taskarith.scorers._causal_rows import Prompt, Row, batch_of, pack, token_log_probabilities
from pyterrier_taskarith.scorers._module import build_module
from pyterrier_taskarith.scorers._scorer import Scorer, ScorerOptions

#: Attention implementations that take a mask of (batch, 1, length, length).
_MASKABLE = ("sdpa", "eager")
#: Tokens of a document and of a query in the paper's evaluation.
PAPER_DOCUMENT, PAPER_QUERY = 256, 128
#: Tokens of prompt, document and query together in RankingGPT's evaluation, and how many it keeps free.
LENGTH, SPARE = 512, 10
#: The padding token that RankingGPT adds to its tokenizers, and what it writes for it in a text.
PAD = ("[PAD]", "PAD")
_BYTE = re.compile("<0x([0-9A-F]{2})>")


class Causal(Scorer):
    """Scores ``Document: {text} Query:{query}`` by the mean log-probability of the query's tokens.

    As RankingGPT (Zhang et al., 2023) does: https://github.com/Alibaba-NLP/RankingGPT. The mean over no tokens is not
    defined; for a query that has none the score is 0, the log-probability of no text, and all texts tie.

    Truncation "paper": a document of 256 tokens and a query of 128, each cut, decoded and encoded again, as the paper's
    evaluation does. "keep_prompt": as in RankingGPT's own evaluation, the document has what prompt and query leave of
    512 tokens (or ``max_length``) less 10; it too is decoded and encoded again. Beyond RankingGPT, a query that would
    leave nothing of these tokens is cut as well.

    Attributes:
        tokens_computed: How many tokens went through the model so far, without padding.
    """

    def __init__(self, checkpoint: Checkpoint, options: ScorerOptions) -> None:
        """Builds the scorer of a causal language model.

        Raises:
            ScorerError: If the model type is not known to score this way, or ``max_length`` does not suit it or the
                model.
        """
        from transformers import AutoModelForCausalLM

        model_type = str(checkpoint.config["model_type"])
        family = family_of(model_type)
        if family.scorer != "causal":
            raise ScorerError(f"{checkpoint.source}: a {model_type!r} model is not known to be scored by query "
                              f"likelihood; {', '.join(types_scored_by('causal'))} are")
        module = build_module(checkpoint, AutoModelForCausalLM, options)
        super().__init__(checkpoint, module, options)
        self._prompt, self.truncation, self.tokens_computed = family.prompt, options.truncation, 0
        ids = self.tokenizer("x")["input_ids"]
        self._begin = ids[:1] if ids[:1] == [self.tokenizer.bos_token_id] else []
        if ids[-1] == self.tokenizer.eos_token_id:
            raise ScorerError(f"{checkpoint.tokenizer_folder}: its tokenizer ends every text with {ids[-1]} "
                              f"({self.tokenizer.eos_token}), after which no query can follow; set add_eos_token = "
                              "false in its tokenizer_config.json")
        self._lead_text, self._lead = self._find_lead()
        self.max_length, self._room, self._longest_query = self._lengths(options.max_length)
        window = getattr(self.module.config, "sliding_window", None)
        maskable = self.module.config._attn_implementation in _MASKABLE
        self._longest_shared = (window or math.inf) if maskable else 0

    def _lengths(self, asked: int | None) -> tuple[int | None, int, int]:
        """Returns the most tokens of prompt, document and query together, of a document, and of a query.

        Raises:
            ScorerError: If ``max_length`` is given to the paper's truncation, or does not suit prompt or model.
        """
        if self.truncation == "paper":
            if asked is not None:
                raise ScorerError(f"max_length={asked} has no effect with truncation='paper', which reads "
                                  f"{PAPER_DOCUMENT} tokens of a text and {PAPER_QUERY} of a query; leave it out")
            return None, PAPER_DOCUMENT, PAPER_QUERY
        positions = int(self.checkpoint.config.get("max_position_embeddings", 2048))
        max_length = asked or min(LENGTH, positions)
        # As in RankingGPT, counted with its own placeholder.
        length = len(self._begin) + len(self._ids([self._prompt.format(text="{doc}")])[0])
        room = max_length - length - SPARE - len(self._begin)
        if room < 1 or max_length > positions:
            raise ScorerError(f"max_length={max_length}: the prompt takes {length} tokens, {SPARE} are kept free, "
                              f"and the model has {positions} positions")
        return max_length, room, room

    def score(self, queries: Sequence[str], texts: Sequence[str], weights: Hashable) -> np.ndarray:
        """Returns the mean log-probability of each query's tokens after its text; see :class:`Scorer`."""
        rows = pack(self.prompts(queries, texts), self._longest_shared)
        scores = np.zeros(len(texts), dtype=np.float32)
        # Apart, because rows with one query need no mask: what comes after a token never changes it.
        for some in ([row for row in rows if len(row.tails) == 1], [row for row in rows if len(row.tails) > 1]):
            def step(batch: np.ndarray, some: list[Row] = some) -> None:
                chosen = [some[position] for position in batch]
                scores[[index for row in chosen for index in row.indices]] = self._forward(chosen)

            self._run([len(row) for row in some], step, unit="documents")
        self.pairs_scored += len(texts)
        self.tokens_computed += sum(map(len, rows))
        return scores

    def prompts(self, queries: Sequence[str], texts: Sequence[str]) -> list[Prompt]:
        """Returns the prompt of each pair."""
        asked, read = self.tokens("query", queries), self.tokens("text", texts)
        rooms = [self._room if self.max_length is None else max(0, self._room - len(query)) for query in asked]
        # A text that fits is the same for every query.
        kinds = ["source" if len(text) <= room else f"source/{room}" for text, room in zip(read, rooms, strict=True)]
        sources = self._of_kinds(kinds, texts)
        tails = self.tokens("tail", queries)
        # No piece reaches over a space unless it is all spaces. So what follows "Query:" changes no token of a
        # document, unless the document's own end joins with the space before it; then the whole prompt is tokenised.
        count = len(self._lead)
        unsure = [index for index, source in enumerate(sources)
                  if not count or source[-count:].tolist() != self._lead]
        wholes = self.tokens("whole", [self._prompt.format(text=self._cut(read[index], rooms[index]))
                                       + self._shown(queries[index], asked[index]) for index in unsure])
        whole = dict(zip(unsure, wholes, strict=True))
        return [Prompt(whole[index] if index in whole else
                       np.concatenate([source[:len(source) - count], tails[index]]), len(source))
                for index, source in enumerate(sources)]

    def _tokenise(self, kind: str, texts: list[str]) -> list[list[int]]:
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
                     for text, ids in zip(texts, self.tokens("query", texts), strict=True)]
            return self._ids(texts)
        if name == "source":
            longest = int(room or self._room)
            texts = [self._prompt.format(text=self._cut(ids, longest)) for ids in self.tokens("text", texts)]
        return [[*self._begin, *ids] for ids in self._ids(texts)]

    @torch.inference_mode()
    def _forward(self, rows: list[Row]) -> np.ndarray:
        """Returns the score of each tail of each row, in their order."""
        batch = batch_of(rows, self.options.device, self.options.dtype)
        hidden = self.module.base_model(input_ids=batch.ids, attention_mask=batch.mask, position_ids=batch.positions,
                                        use_cache=False).last_hidden_state
        hidden = hidden.flatten(0, 1)[batch.sources]
        found = token_log_probabilities(self.module.get_output_embeddings(), hidden, batch.picks, batch.targets)
        counts = [len(tail) for row in rows for tail in row.tails]
        return np.bincount(batch.owners, found.cpu().numpy()) / counts

    def _of_kinds(self, kinds: list[str], texts: Sequence[str]) -> list[np.ndarray]:
        indices: dict[str, list[int]] = {}
        for index, kind in enumerate(kinds):
            indices.setdefault(kind, []).append(index)
        found: dict[int, np.ndarray] = {}
        for kind, here in indices.items():
            found.update(zip(here, self.tokens(kind, [texts[index] for index in here]), strict=True))
        return [found[index] for index in range(len(kinds))]

    def _cut(self, ids: np.ndarray, count: int) -> str:
        """Returns the text of the first tokens.

        Each byte of a character that is cut in two becomes a mark, as in sentencepiece, which RankingGPT decodes with;
        transformers' fast decoder would make marks of the whole characters before it, too.
        """
        kept = ids[:count].tolist()
        loose = _loose_bytes(self.tokenizer.convert_ids_to_tokens(kept[-3:]))
        text: str = self.tokenizer.decode(kept[:len(kept) - loose]) + "\ufffd" * loose
        return text.replace(*PAD)

    def _shown(self, query: str, ids: np.ndarray) -> str:
        """Returns a query as it stands in the prompt."""
        if self.max_length is None or len(ids) > self._longest_query:
            return self._cut(ids, self._longest_query)
        return query.replace(*PAD)

    def _find_lead(self) -> tuple[str, list[int]]:
        """Returns the text before the query and its ids, no ids where document and query are tokenised together."""
        whole, document = self._ids([self._prompt.format(text="x"), "Document: x"])
        for text in ("Query:", " Query:"):  # sentencepiece puts a space before every text, byte-level BPE does not
            lead = self._ids([text])[0]
            if lead and whole == document + lead:
                return text, lead
        return " Query:", []

    def _ids(self, texts: list[str], limit: int | None = None) -> list[list[int]]:
        if not texts:
            return []
        found: list[list[int]] = self.tokenizer(texts, add_special_tokens=False, truncation=limit is not None,
                                                max_length=limit)["input_ids"]
        return found

    @property
    def facts(self) -> dict[str, object]:
        """What decides a score beside the weights."""
        return {**super().facts, "truncation": self.truncation, "max_length": self.max_length, "prompt": self._prompt}


def _loose_bytes(pieces: list[str]) -> int:
    """Returns the number of byte pieces ("<0xE6>") at the end that are an incomplete character of UTF-8."""
    for count, piece in enumerate(reversed(pieces), start=1):
        found = _BYTE.fullmatch(piece)
        byte = int(found[1], 16) if found else 0
        if byte < 0x80:
            return 0
        if byte >= 0xC0:  # the first of as many bytes as it has leading ones
            return count if 8 - (byte ^ 0xFF).bit_length() > count else 0
    return 0
