"""Causal language models as rankers: how likely the query is after the document (RankingGPT)."""

import math
from collections.abc import Hashable, Sequence

import numpy as np
import torch

from pyterrier_taskarith.checkpoints import Checkpoint, family_of
from pyterrier_taskarith.errors import ScorerError
from pyterrier_taskarith.families import types_scored_by
from pyterrier_taskarith.scorers._batches import run_batches
from pyterrier_taskarith.scorers._causal_prompts import Prompts
from pyterrier_taskarith.scorers._causal_rows import Row, batch_of, pack, token_log_probabilities
from pyterrier_taskarith.scorers._module import build_module
from pyterrier_taskarith.scorers._scorer import TRUNCATIONS, Scorer, ScorerOptions

#: Attention implementations that take a mask of (batch, 1, length, length).
_MASKABLE = ("sdpa", "eager")


class Causal(Scorer):
    """Scores ``Document: {text} Query:{query}`` by the mean log-probability of the query's tokens.

    As RankingGPT (Zhang et al., 2023) does: https://github.com/Alibaba-NLP/RankingGPT. The mean over no tokens is not
    defined; for a query that has none the score is 0, the log-probability of saying nothing, and all texts tie.

    Attributes:
        tokens_computed: How many tokens went through the model so far, without padding.
    """

    def __init__(self, checkpoint: Checkpoint, options: ScorerOptions) -> None:
        """Builds the scorer of a causal language model.

        Raises:
            ScorerError: If the model type is not known to score this way, the truncation is unknown, or ``max_length``
                does not suit it or the model.
        """
        from transformers import AutoModelForCausalLM

        if options.truncation not in TRUNCATIONS:
            raise ScorerError(f"truncation={options.truncation!r}: choose 'keep_prompt' (RankingGPT's: document and "
                              "query in 512 tokens, or max_length) or 'paper' (256 tokens of document, 128 of query)")
        model_type = str(checkpoint.config["model_type"])
        family = family_of(model_type)
        if family.scorer != "causal":
            raise ScorerError(f"{checkpoint.source}: a {model_type!r} model is not known to be scored by query "
                              f"likelihood; {', '.join(types_scored_by('causal'))} are")
        module = build_module(checkpoint, AutoModelForCausalLM, options)
        super().__init__(checkpoint, module, options)
        positions = int(checkpoint.config.get("max_position_embeddings", 2048))
        self.prompts = Prompts(family.prompt, self.tokenizer, self.tokens, options.truncation, options.max_length,
                               positions)
        self.tokens_computed = 0
        window = getattr(self.module.config, "sliding_window", None)
        maskable = self.module.config._attn_implementation in _MASKABLE
        self._longest_shared = (window or math.inf) if maskable else 0

    def score(self, queries: Sequence[str], texts: Sequence[str], weights: Hashable) -> np.ndarray:
        """Returns the mean log-probability of each query's tokens after its text; see :class:`Scorer`."""
        rows = pack(self.prompts.ids(queries, texts), self._longest_shared)
        scores = np.zeros(len(texts), dtype=np.float32)
        # Apart, because rows with one query need no mask: what comes after a token never changes it.
        for some in ([row for row in rows if len(row.tails) == 1], [row for row in rows if len(row.tails) > 1]):
            def step(batch: np.ndarray, some: list[Row] = some) -> None:
                chosen = [some[position] for position in batch]
                scores[[index for row in chosen for index in row.indices]] = self._forward(chosen)

            self.budget = run_batches([len(row) for row in some], self.budget, step, workers=self.workers,
                                      verbose=self.options.verbose, label="scoring", unit="documents")
        self.pairs_scored += len(texts)
        self.tokens_computed += sum(map(len, rows))
        return scores

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

    def _tokenise(self, kind: str, texts: list[str]) -> list[list[int]]:
        return self.prompts.tokenise(kind, texts)

    @property
    def facts(self) -> dict[str, object]:
        """What decides a score beside the weights."""
        return {**super().facts, **self.prompts.facts}
