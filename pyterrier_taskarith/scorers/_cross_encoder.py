"""Cross-encoders: query and text read together by an encoder with a classification head.

Pairs are joined as the tokenizer joins them, but from the token ids of each text alone.
"""

import inspect
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.errors import ScorerError
from pyterrier_taskarith.families import family_of
from pyterrier_taskarith.scorers._batches import pad
from pyterrier_taskarith.scorers._module import build_module
from pyterrier_taskarith.scorers._recipes import ACTIVATIONS, read_pair_recipe
from pyterrier_taskarith.scorers._scorer import Scorer, ScorerOptions

#: One input: token ids, and token types or None where the tokenizer gives none; 1-d integer arrays of equal length.
Row = tuple[np.ndarray, np.ndarray | None]


@dataclass(frozen=True)
class PairTemplate:
    """What a tokenizer puts around two texts, and which token types it gives.

    Attributes:
        special: Token ids before, between and after the texts.
        types: Token type of each of the five parts (before, first text, between, second text, after), or None.
        cut_left: Whether a text that is too long loses its first tokens instead of its last.
    """

    special: tuple[np.ndarray, np.ndarray, np.ndarray]
    types: tuple[int, ...] | None
    cut_left: bool

    def join(self, first: np.ndarray, second: np.ndarray, kept: tuple[int, int]) -> Row:
        """Returns the pair, with as many tokens of both texts as are kept."""
        first, second = self._cut(first, kept[0]), self._cut(second, kept[1])
        before, between, after = self.special
        parts = (before, first, between, second, after)
        return np.concatenate(parts), None if self.types is None else np.repeat(
            self.types, [len(part) for part in parts])

    def _cut(self, ids: np.ndarray, count: int) -> np.ndarray:
        return ids[len(ids) - count:] if self.cut_left else ids[:count]


def longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """Returns how many tokens of two texts are kept: the longer one is cut first, as the tokenizers library does.

    Where both are cut and the room is odd, the longer one keeps one token more; the second, if they are equal.
    """
    if first + second <= room:
        return first, second
    shorter = min(first, second)
    longer = max(shorter, room - shorter)
    if shorter + longer > room:
        shorter, longer = room // 2, room - room // 2
    return (shorter, longer) if first <= second else (longer, shorter)


def pair_template(tokenizer: Any) -> PairTemplate | None:
    """Returns the template by which a tokenizer joins pairs, read from a pair that it has joined.

    Returns:
        None where the tokenizer is slow, or does more than put tokens around the texts.
    """
    if not tokenizer.is_fast:
        return None
    joined = tokenizer("a", "b")
    of, ids = joined.sequence_ids(0), np.asarray(joined["input_ids"], dtype=np.int32)
    indices = [[index for index, text in enumerate(of) if text == number] for number in (0, 1)]
    if not all(indices):
        return None
    bounds = [0, *(bound for found in indices for bound in (found[0], found[-1] + 1)), len(of)]
    parts = [slice(*pair) for pair in pairwise(bounds)]
    types = None
    if "token_type_ids" in joined:
        types = tuple((joined["token_type_ids"][part] or [0])[0] for part in parts)
    template = PairTemplate((ids[parts[0]], ids[parts[2]], ids[parts[4]]), types, tokenizer.truncation_side == "left")
    apart = [np.asarray(tokenizer(text, add_special_tokens=False)["input_ids"], dtype=np.int32) for text in "ab"]
    rejoined, given = template.join(apart[0], apart[1], (len(apart[0]), len(apart[1])))
    same = rejoined.tolist() == ids.tolist() and (given is None or given.tolist() == joined["token_type_ids"])
    return template if same else None


class CrossEncoder(Scorer):
    """Scores as sentence-transformers' ``CrossEncoder.predict`` does at its defaults.

    Of a model with two labels, ``predict`` returns two numbers; the score is the second (not relevant, relevant).
    """

    def __init__(self, checkpoint: Checkpoint, options: ScorerOptions) -> None:
        """Builds the scorer of a model with a classification head.

        Raises:
            ScorerError: If it has other than one or two labels, ``max_length`` does not fit it, or its folder asks
                for something that is not supported.
        """
        from transformers import AutoModelForSequenceClassification

        module = build_module(checkpoint, AutoModelForSequenceClassification, options)
        super().__init__(checkpoint, module, options)
        self.labels = int(self.module.config.num_labels)
        if self.labels not in (1, 2):
            raise ScorerError(f"{checkpoint.source} has {self.labels} labels; a re-ranker has one (relevance) or two "
                              "(not relevant, relevant)")
        self.recipe = read_pair_recipe(checkpoint, self.labels)
        if self.recipe.transformer.lower_case:
            self._lower_case()
        self.max_length = self._input_length(self.recipe.transformer.max_length, pair=True)
        self.room = self.max_length - self.tokenizer.num_special_tokens_to_add(pair=True)
        self.template = pair_template(self.tokenizer)
        # DistilBERT has no token types, but its tokenizer may be BERT's, which gives them.
        self._typed = "token_type_ids" in inspect.signature(module.forward).parameters
        # XLNet's head reads the last position of the batch.
        self._left = getattr(self.module.config, "summary_type", None) == "last"
        if self.module.config.pad_token_id is None:
            self.module.config.pad_token_id = self.pad_id  # without it a causal model's head takes no batch
        read_first_token_only(self.module)

    def score(self, queries: Sequence[str], texts: Sequence[str], weights: Hashable) -> np.ndarray:
        """Returns the score of each pair; see :class:`Scorer`."""
        lengths, pair = self.pairs(queries, texts)
        scores = np.empty(len(texts), dtype=np.float32)

        def step(batch: np.ndarray) -> None:
            scores[batch] = self._forward([pair(int(index)) for index in batch])

        self._run(lengths, step)
        self.pairs_scored += len(texts)
        return scores

    def pairs(self, queries: Sequence[str], texts: Sequence[str]) -> tuple[list[int], Callable[[int], Row]]:
        """Joins each query with the text of the same index, cut exactly as the tokenizer does it.

        Returns:
            The number of tokens of each pair, special ones included, and a function that returns the pair of an index;
            it joins them when it is called, so that many pairs take little memory.
        """
        if self.template is None:
            rows = self._joined(queries, texts)
            return [len(ids) for ids, _ in rows], rows.__getitem__
        template, first, second = self.template, self.tokens("query", queries), self.tokens("text", texts)
        # Of two texts that each fill an odd room, the longer one keeps one token more; cut, they do not show which is.
        unclear = [index for index, both in enumerate(zip(first, second, strict=True))
                   if self.room % 2 and min(map(len, both)) >= self.room]
        counts = {index: (self._count(self.recipe.prompt + queries[index]), self._count(texts[index]))
                  for index in unclear}

        def join(index: int) -> Row:
            lengths = counts.get(index, (len(first[index]), len(second[index])))
            return template.join(first[index], second[index], longest_first(*lengths, self.room))

        special = sum(map(len, template.special))
        return [special + min(len(one) + len(other), self.room) for one, other in zip(first, second, strict=True)], join

    def _count(self, text: str) -> int:
        return len(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def _joined(self, queries: Sequence[str], texts: Sequence[str]) -> list[Row]:
        """Returns pairs that the tokenizer itself has joined."""
        if not texts:
            return []
        rows = self.tokenizer([self.recipe.prompt + query for query in queries], list(texts),
                              truncation="longest_first", max_length=self.max_length)
        types = rows.get("token_type_ids", [None] * len(texts))
        return [(np.asarray(ids, dtype=np.int32), None if given is None else np.asarray(given))
                for ids, given in zip(rows["input_ids"], types, strict=True)]

    def _tokenise(self, kind: str, texts: list[str]) -> list[list[int]]:
        if kind == "query":
            texts = [self.recipe.prompt + text for text in texts]
        ids: list[list[int]] = self.tokenizer(texts, add_special_tokens=False, truncation=True,
                                              max_length=self.room)["input_ids"]
        return ids

    @torch.inference_mode()
    def _forward(self, rows: list[Row]) -> np.ndarray:
        device = self.options.device
        ids, mask = pad([ids for ids, _ in rows], self.pad_id, device, left=self._left)
        inputs = {"input_ids": ids, "attention_mask": mask, "return_dict": True}
        types = [given for _, given in rows if given is not None]
        if types and self._typed:
            inputs["token_type_ids"], _ = pad(types, 0, device, left=self._left)
        logits = self.module(**inputs).logits.float()
        return ACTIVATIONS[self.recipe.activation](logits)[:, -1].cpu().numpy()

    @property
    def facts(self) -> dict[str, object]:
        """What decides a score beside the weights."""
        return {**super().facts, "max_length": self.max_length, "labels": self.labels,
                "activation": self.recipe.activation, "prompt": self.recipe.prompt,
                "lower": self.recipe.transformer.lower_case}

    @property
    def origins(self) -> dict[str, str]:
        """Where :attr:`facts` come from; see :class:`Scorer`."""
        length = super().origins
        if self.options.max_length is None and self.recipe.transformer.max_length is not None:
            length["max_length"] = self.recipe.transformer.file.name
        return {**length, "labels": "config.json",
                **{fact: path.name for fact, path in self.recipe.origins.items()}}


def read_first_token_only(module: Any) -> bool:
    """Cuts the last layer to the first token, where the head is known to read no other.

    The part of the layer gets its inputs for that token alone. Parameters and their names stay as they are.

    Returns:
        Whether the model type is known and the model has layers.
    """
    part = family_of(module.config.model_type).first_token_from
    if part and module.config.num_hidden_layers:
        cut = module.base_model.get_submodule(part.format(module.config.num_hidden_layers - 1))
        cut.register_forward_pre_hook(lambda _, inputs: tuple(states[:, :1] for states in inputs))
        return True
    return False
