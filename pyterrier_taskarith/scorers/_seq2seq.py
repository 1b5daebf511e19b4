"""monoT5 and its kin: the log-probability of "true" against "false" at the first decoder step."""

from collections.abc import Hashable, Sequence

import numpy as np
import torch

from pyterrier_taskarith.checkpoints import Checkpoint, family_of, ties_embeddings
from pyterrier_taskarith.errors import ScorerError
from pyterrier_taskarith.families import prediction_tokens, types_scored_by
from pyterrier_taskarith.scorers._batches import pad, run_batches
from pyterrier_taskarith.scorers._kept import Kept
from pyterrier_taskarith.scorers._module import build_module
from pyterrier_taskarith.scorers._scorer import TRUNCATIONS, Scorer, ScorerOptions
from pyterrier_taskarith.scorers._t5_decoder import first_step


class Seq2Seq(Scorer):
    """Scores ``Query: {query} Document: {text} Relevant:`` as monoT5 (Nogueira et al., 2020) does."""

    def __init__(self, checkpoint: Checkpoint, options: ScorerOptions) -> None:
        """Builds the scorer of a T5 or mT5 folder.

        Raises:
            ScorerError: If the tokenizer does not have the prediction tokens as single, distinct tokens, the
                truncation is unknown, or ``max_length`` is too small for a prompt.
        """
        from transformers import AutoModelForSeq2SeqLM

        if options.truncation not in TRUNCATIONS:
            raise ScorerError(f"truncation={options.truncation!r}: choose 'keep_prompt' (cut the text, keep "
                              "'Relevant:') or 'paper' (cut the whole prompt from the right)")
        module = build_module(checkpoint, AutoModelForSeq2SeqLM, dtype=options.dtype, device=options.device)
        super().__init__(checkpoint, module, options)
        model_type = str(checkpoint.config["model_type"])
        family = family_of(model_type)
        if family.scorer != "seq2seq":
            raise ScorerError(f"{checkpoint.source}: a {model_type!r} model is not known to be scored by prediction "
                              f"tokens; {', '.join(types_scored_by('seq2seq'))} are")
        self.prediction_tokens = options.prediction_tokens or prediction_tokens(
            checkpoint.origin or checkpoint.source, model_type)
        ids = self.tokenizer.convert_tokens_to_ids(list(self.prediction_tokens))
        if None in ids or self.tokenizer.unk_token_id in ids or ids[0] == ids[1]:
            raise ScorerError(f"{checkpoint.source}: the tokenizer has no single tokens {self.prediction_tokens}; "
                              "is it the tokenizer of a monoT5 model? If the model says other words for not relevant "
                              "and relevant, give them: prediction_tokens=('▁no', '▁yes')")
        before, after = family.prompt.split("{text}")
        self._before = before.strip()
        self.rows = torch.tensor(ids, device=options.device)
        self.max_length = options.max_length or int(checkpoint.config.get("n_positions", 512))
        self.end = [int(self.tokenizer.eos_token_id)]
        self.relevant = self._ids([after.strip()])[0]
        if self.max_length <= len(self.relevant) + len(self.end):
            raise ScorerError(f"max_length={self.max_length} leaves no room for a query and a text: "
                              f"{after.strip()!r} and </s> alone are {len(self.relevant) + len(self.end)} tokens")
        self._scaled = ties_embeddings(checkpoint.config)

    def score(self, queries: Sequence[str], texts: Sequence[str], weights: Hashable) -> np.ndarray:
        """Returns log P("true") of each pair; see :class:`Scorer`."""
        rows = self.prompts(queries, texts)
        scores = np.empty(len(rows), dtype=np.float32)

        def step(batch: np.ndarray) -> None:
            scores[batch] = self._forward([rows[position] for position in batch])

        self.budget = run_batches([len(row) for row in rows], self.budget, step, workers=self.workers,
                                  verbose=self.options.verbose, label="scoring", unit="pairs")
        self.pairs_scored += len(rows)
        return scores

    def keep(self, kept: Kept | None) -> bool:
        """Keeps the encoder's output while decoder layers alone change; see :meth:`Scorer.keep`."""
        self.kept = kept if kept is not None and kept.side == "decoder" else None
        return self.kept is not None

    def prompts(self, queries: Sequence[str], texts: Sequence[str]) -> list[np.ndarray]:
        """Returns the token ids of each prompt, cut to ``max_length``.

        "keep_prompt" cuts the text and keeps ``Relevant:`` and ``</s>``, as pyterrier_t5 and the model's training do;
        "paper" cuts the whole prompt from the right and keeps ``</s>``, as the authors' evaluation did.
        """
        tail = self.relevant + self.end
        room, last = (self.max_length - len(tail), tail) if self.options.truncation == "keep_prompt" else (
            self.max_length - len(self.end), self.end)
        between = [] if self.options.truncation == "keep_prompt" else self.relevant
        asked = self.tokens("query", queries)
        read = self.tokens("text", texts)
        return [np.concatenate([np.concatenate([query, text, between])[:room], last]).astype(np.int64)
                for query, text in zip(asked, read, strict=True)]

    @torch.inference_mode()
    def _forward(self, rows: list[np.ndarray]) -> np.ndarray:
        ids, mask = pad(rows, self.tokenizer.pad_token_id, self.options.device)
        inputs = {"input_ids": ids, "attention_mask": mask}

        def encode() -> torch.Tensor:
            return self.module.get_encoder()(**inputs).last_hidden_state

        encoded = encode() if self.kept is None else self.kept.of(inputs, encode)
        logits = first_step(self.module, encoded, mask, self.rows, scaled=self._scaled)
        return logits.float().log_softmax(-1)[:, 1].cpu().numpy()

    def _tokenise(self, kind: str, texts: list[str]) -> list[list[int]]:
        # Pieces never cross a space, so the prompt's parts are tokenised apart and a query or text only once.
        return self._ids([self._before.format(query=text) for text in texts] if kind == "query" else texts)

    def _ids(self, texts: list[str]) -> list[list[int]]:
        # No part of a prompt is ever longer than the whole.
        return self.tokenizer(texts, add_special_tokens=False, truncation=True,
                              max_length=self.max_length)["input_ids"]

    @property
    def facts(self) -> dict[str, object]:
        """What decides a score beside the weights."""
        return {**super().facts, "max_length": self.max_length, "truncation": self.options.truncation,
                "tokens": self.prediction_tokens}
