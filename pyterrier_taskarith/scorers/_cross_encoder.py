"""Cross-encoders: query and text read together by an encoder with a classification head."""

import inspect
import sys
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch

from pyterrier_taskarith.checkpoints import Checkpoint, family_of
from pyterrier_taskarith.errors import ScorerError
from pyterrier_taskarith.scorers._batches import pad, run_batches
from pyterrier_taskarith.scorers._module import build_module
from pyterrier_taskarith.scorers._pairs import ACTIVATIONS, JoinedPairs, Pairs, Row, pair_template, read_pair_recipe
from pyterrier_taskarith.scorers._scorer import Scorer, ScorerOptions


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
        self.max_length = self._limit(options.max_length)
        self.room = self.max_length - self.tokenizer.num_special_tokens_to_add(pair=True)
        self.template = pair_template(self.tokenizer)
        # DistilBERT has no token types, but its tokenizer may be BERT's, which gives them.
        self._typed = "token_type_ids" in inspect.signature(module.forward).parameters
        read_first_token_only(self.module)

    def _limit(self, asked: int | None) -> int:
        """Returns the tokens of a pair, special ones included.

        Raises:
            ScorerError: If more are asked for than the model has positions, or no more than the special tokens.
        """
        positions = int(getattr(self.module.config, "max_position_embeddings", -1))
        # RoBERTa's and MPNet's positions start after the padding's. -1 is XLNet's way to say any length.
        unused = getattr(getattr(self.module.base_model, "embeddings", None), "padding_idx", None)
        usable = sys.maxsize if positions == -1 else positions - (0 if unused is None else int(unused) + 1)
        stated = self.recipe.max_length or int(self.tokenizer.model_max_length)
        limit, special = stated if asked is None else asked, self.tokenizer.num_special_tokens_to_add(pair=True)
        if limit <= special or (asked is not None and asked > usable):
            raise ScorerError(f"max_length={limit}: {self.checkpoint.source} has {usable} positions, and {special} of "
                              "them go to special tokens")
        return min(limit, usable)

    def score(self, queries: Sequence[str], texts: Sequence[str], weights: Hashable) -> np.ndarray:
        """Returns the score of each pair; see :class:`Scorer`."""
        pairs = self.pairs(queries, texts)
        scores = np.empty(len(texts), dtype=np.float32)

        def step(batch: np.ndarray) -> None:
            scores[batch] = self._forward([pairs[int(index)] for index in batch])

        self.budget = run_batches(pairs.lengths, self.budget, step, workers=self.workers,
                                  verbose=self.options.verbose, label="scoring", unit="pairs")
        self.pairs_scored += len(texts)
        return scores

    def pairs(self, queries: Sequence[str], texts: Sequence[str]) -> Pairs | JoinedPairs:
        """Returns each query with the text of the same index, joined and cut exactly as the tokenizer does it."""
        if self.template is None:
            return self._joined(queries, texts)
        first, second = self.tokens("query", queries), self.tokens("text", texts)
        # Of two texts that each fill an odd room, the longer one keeps one token more; which it is they no longer show.
        unclear = [index for index, both in enumerate(zip(first, second, strict=True))
                   if self.room % 2 and min(map(len, both)) >= self.room]
        return Pairs(self.template, first, second, self.room, {
            index: (self._count(self.recipe.prompt + queries[index]), self._count(texts[index])) for index in unclear})

    def _count(self, text: str) -> int:
        return len(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def _joined(self, queries: Sequence[str], texts: Sequence[str]) -> JoinedPairs:
        if not texts:
            return JoinedPairs([])
        rows = self.tokenizer([self.recipe.prompt + query for query in queries], list(texts),
                              truncation="longest_first", max_length=self.max_length)
        types = rows.get("token_type_ids", [None] * len(texts))
        return JoinedPairs([(np.asarray(ids, dtype=np.int32), None if given is None else np.asarray(given))
                            for ids, given in zip(rows["input_ids"], types, strict=True)])

    def _tokenise(self, kind: str, texts: list[str]) -> list[list[int]]:
        if kind == "query":
            texts = [self.recipe.prompt + text for text in texts]
        ids: list[list[int]] = self.tokenizer(texts, add_special_tokens=False, truncation=True,
                                              max_length=self.room)["input_ids"]
        return ids

    @torch.inference_mode()
    def _forward(self, rows: list[Row]) -> np.ndarray:
        device = self.options.device
        ids, mask = pad([ids for ids, _ in rows], self.tokenizer.pad_token_id or 0, device)
        inputs = {"input_ids": ids, "attention_mask": mask}
        types = [given for _, given in rows if given is not None]
        if types and self._typed:
            inputs["token_type_ids"], _ = pad(types, 0, device)
        logits = self.module(**inputs).logits.float()
        return ACTIVATIONS[self.recipe.activation](logits)[:, -1].cpu().numpy()

    @property
    def facts(self) -> dict[str, object]:
        """What decides a score beside the weights."""
        return {**super().facts, "max_length": self.max_length, "labels": self.labels,
                "activation": self.recipe.activation, "prompt": self.recipe.prompt}


def read_first_token_only(module: Any) -> bool:
    """Cuts the last layer to the first token, where that is known to be all that the head reads; the rest is not used.

    The part of the layer gets its inputs for that token alone. Parameters and their names stay as they are.

    Returns:
        Whether the model type is known.
    """
    part = family_of(module.config.model_type).first_token_from
    if part:
        cut = module.base_model.get_submodule(part.format(module.config.num_hidden_layers - 1))
        cut.register_forward_pre_hook(lambda _, inputs: tuple(states[:, :1] for states in inputs))
    return bool(part)
