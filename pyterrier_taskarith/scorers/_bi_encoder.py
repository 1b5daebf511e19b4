"""Bi-encoders: query and document embedded apart, compared by cosine or dot product."""

import inspect
from collections.abc import Hashable, Sequence

import numpy as np
import torch
import torch.nn.functional as functional

from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.errors import ScorerError
from pyterrier_taskarith.scorers._batches import pad
from pyterrier_taskarith.scorers._module import build_module
from pyterrier_taskarith.scorers._recipes import POOLINGS, SIMILARITIES, read_recipe
from pyterrier_taskarith.scorers._scorer import Memo, Scorer, ScorerOptions, digest

#: Bytes of embeddings that are kept.
MEMO_BYTES = 32 * 2**20


class BiEncoder(Scorer):
    """Scores as sentence-transformers does, embedding each distinct text once per weights."""

    def __init__(self, checkpoint: Checkpoint, options: ScorerOptions) -> None:
        """Builds the scorer of a sentence-transformers folder, or of a bare encoder (mean pooling, cosine).

        Raises:
            ScorerError: If its folder asks for something that is not supported, or ``max_length`` does not fit it.
        """
        from transformers import AutoModel

        self.recipe = read_recipe(checkpoint, options.device)
        module = build_module(checkpoint, AutoModel, options, optional=("pooler.",))
        if getattr(module, "pooler", None) is not None:
            setattr(module, "pooler", None)  # noqa: B010 - typed as a module; an embedding is pooled from the last layer, not from this head
        super().__init__(checkpoint, module, options)
        stated = self.recipe.transformer
        if stated.lower_case:
            self._lower_case()
        self.max_length = self._input_length(stated.max_length)
        self.lengths = {kind: self._input_length(stated.lengths.get(kind, self.max_length))
                        for kind in ("query", "document")}
        self._types = self._token_types()
        self._embeddings: Memo[np.ndarray] = Memo(MEMO_BYTES)
        self.texts_embedded = 0
        self._prompt_tokens = {kind: self._count_prompt(text) for kind, text in self.recipe.prompts.items()}
        for kind, count in self._prompt_tokens.items():
            if not self.recipe.pool_prompt and count >= self.lengths[kind] - 1:
                raise ScorerError(f"{checkpoint.source}: the {kind} prompt takes {count} of {self.lengths[kind]} "
                                  "tokens, and its folder says include_prompt = false, so nothing would be left to "
                                  "pool; give a larger max_length")

    def score(self, queries: Sequence[str], texts: Sequence[str], weights: Hashable) -> np.ndarray:
        """Returns the similarity of each pair; see :class:`Scorer`."""
        distinct_queries, of_query = distinct(queries)
        distinct_texts, of_text = distinct(texts)
        scores = self.compare(self.embed("query", distinct_queries, weights),
                              self.embed("document", distinct_texts, weights), of_query, of_text)
        self.pairs_scored += len(texts)
        return scores

    def compare(self, queries: np.ndarray, texts: np.ndarray, of_query: np.ndarray, of_text: np.ndarray) -> np.ndarray:
        """Returns the model's similarity of pairs of embeddings.

        Args:
            queries: float32 (n, d).
            texts: float32 (m, d).
            of_query: For each pair, its row in ``queries``; int64.
            of_text: For each pair, its row in ``texts``; int64.

        Returns:
            float32 array, one similarity a pair.
        """
        ours, theirs = torch.from_numpy(queries), torch.from_numpy(texts)
        similarity = SIMILARITIES[self.recipe.similarity]
        scores = np.empty(len(of_text), dtype=np.float32)
        for start in range(0, len(of_text), 4096):
            rows = slice(start, start + 4096)
            scores[rows] = similarity(ours[of_query[rows]], theirs[of_text[rows]]).numpy()
        return scores

    def forget(self) -> None:
        """Forgets embeddings; see :class:`Scorer`."""
        self._embeddings.clear()

    def renormalise(self, embeddings: np.ndarray) -> np.ndarray:
        """Returns combined embeddings, scaled to length 1 where the model's last module is Normalize."""
        if not self.recipe.after or self.recipe.after[-1].apply is not functional.normalize:
            return embeddings
        return functional.normalize(torch.from_numpy(embeddings)).numpy()

    def embed(self, kind: str, texts: Sequence[str], weights: Hashable) -> np.ndarray:
        """Embeds texts with the module's present weights.

        Args:
            kind: "query" or "document".
            texts: n distinct strings.
            weights: A name of the present weights, by which embeddings are kept.

        Returns:
            float32 array (n, d).
        """
        keys = [(weights, kind, digest(text)) for text in texts]
        known = [self._embeddings.get(key) for key in keys]
        new = [position for position, embedding in enumerate(known) if embedding is None]
        tokens = self.tokens(kind, [texts[position] for position in new])
        self.texts_embedded += len(new)

        def step(batch: np.ndarray) -> None:
            embeddings = self._forward(kind, [tokens[position] for position in batch])
            for position, embedding in zip(batch, embeddings, strict=True):
                known[new[position]] = embedding
                self._embeddings.put(keys[new[position]], embedding, embedding.nbytes)

        self._run([len(row) for row in tokens], step, f"embedding ({kind})", "texts")
        return np.stack(known) if known else np.empty((0, 0), dtype=np.float32)  # type: ignore[arg-type]

    @torch.inference_mode()
    def _forward(self, kind: str, rows: list[np.ndarray]) -> list[np.ndarray]:
        ids, mask = pad(rows, self.pad_id, self.options.device)
        inputs = {"input_ids": ids, "attention_mask": mask, "return_dict": True}
        if self._types is not None:
            before, text, after = self._types
            special = len(before) + len(after)
            types = [np.concatenate([before, np.full(len(row) - special, text), after]) for row in rows]
            inputs["token_type_ids"], _ = pad(types, 0, self.options.device)
        hidden = self.module(**inputs).last_hidden_state
        if not self.recipe.pool_prompt:
            mask[:, :self._prompt_tokens[kind]] = 0
        pooled = torch.cat([POOLINGS[name](hidden, mask) for name in self.recipe.poolings], dim=-1).float()
        for step in self.recipe.after:
            pooled = step.apply(pooled)
        # A copy a row: a view would keep its whole batch alive in the memo.
        return [row.copy() for row in pooled.cpu().numpy()]

    def _token_types(self) -> tuple[np.ndarray, int, np.ndarray] | None:
        """Returns the token types of the tokens before a text, of its own, and of those after it.

        None where the tokenizer gives none or the model takes none. XLNet's differ, and GPT-2 embeds them.
        """
        sample = self.tokenizer("a")
        accepted = "token_type_ids" in inspect.signature(self.module.forward).parameters
        if not accepted or "token_type_ids" not in sample:
            return None
        types, of = np.asarray(sample["token_type_ids"]), sample.sequence_ids(0)
        start, end = of.index(0), len(of) - of[::-1].index(0)
        return types[:start], int(types[start]), types[end:]

    def _tokenise(self, kind: str, texts: list[str]) -> list[list[int]]:
        prompted = [self.recipe.prompts[kind] + text for text in texts]
        ids: list[list[int]] = self.tokenizer(prompted, truncation=True, max_length=self.lengths[kind])["input_ids"]
        return ids

    def _count_prompt(self, prompt: str) -> int:
        if not prompt:
            return 0
        ids = self.tokenizer(prompt)["input_ids"]
        return len(ids) - (ids[-1] in self.tokenizer.all_special_ids)

    @property
    def facts(self) -> dict[str, object]:
        """What decides a score beside the weights."""
        recipe = self.recipe
        return {**super().facts, "max_length": self.max_length, "lengths": self.lengths, "pooling": recipe.poolings,
                "modules": [step.name for step in recipe.after], "similarity": recipe.similarity,
                "prompts": dict(recipe.prompts), "pool_prompt": recipe.pool_prompt,
                "lower": recipe.transformer.lower_case}

    @property
    def origins(self) -> dict[str, str]:
        """Where :attr:`facts` come from; see :class:`Scorer`."""
        recipe, length = self.recipe, super().origins
        if self.options.max_length is None and recipe.transformer.max_length is not None:
            length["max_length"] = recipe.transformer.file.name
        return {**length,
                "lengths": recipe.transformer.file.name if recipe.transformer.lengths else length["max_length"],
                "lower": recipe.transformer.file.name or "default",
                **{fact: path.relative_to(self.checkpoint.located.root).as_posix()
                   for fact, path in recipe.origins.items()}}


def distinct(texts: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Returns the distinct texts and, for each text, its index among them."""
    index: dict[str, int] = {}
    indices = np.fromiter((index.setdefault(text, len(index)) for text in texts), dtype=np.int64, count=len(texts))
    return list(index), indices
