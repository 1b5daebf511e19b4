"""monoT5: the log-probability of "true" against "false" at the first decoder step.

That step is computed at the price of one position: no key or value of the text is ever computed.
"""

import warnings
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.errors import ScorerError
from pyterrier_taskarith.families import family_of, published_ranker, ties_embeddings, types_scored_by
from pyterrier_taskarith.scorers._batches import pad
from pyterrier_taskarith.scorers._module import build_module
from pyterrier_taskarith.scorers._scorer import Scorer, ScorerOptions


class Seq2Seq(Scorer):
    """Scores ``Query: {query} Document: {text} Relevant:`` as monoT5 (Nogueira et al., 2020) does."""

    def __init__(self, checkpoint: Checkpoint, options: ScorerOptions) -> None:
        """Builds the scorer of a T5 or mT5 folder.

        Raises:
            ScorerError: If the tokenizer does not have the prediction tokens as single, distinct tokens, or
                ``max_length`` is too small for a prompt.
        """
        from transformers import AutoModelForSeq2SeqLM

        module = build_module(checkpoint, AutoModelForSeq2SeqLM, options)
        super().__init__(checkpoint, module, options)
        model_type = str(checkpoint.config["model_type"])
        family = family_of(model_type)
        if family.scorer != "seq2seq":
            raise ScorerError(f"{checkpoint.source}: a {model_type!r} model is not known to be scored by prediction "
                              f"tokens; {', '.join(types_scored_by('seq2seq'))} are")
        published = published_ranker(checkpoint.origin or checkpoint.source)
        self.prediction_tokens = self._choose_tokens(published.tokens if published else None)
        ids = self.tokenizer.convert_tokens_to_ids(list(self.prediction_tokens))
        if None in ids or self.tokenizer.unk_token_id in ids or ids[0] == ids[1]:
            raise ScorerError(f"{checkpoint.source}: {self.prediction_tokens} are not two single tokens of its "
                              "tokenizer; is it the tokenizer of a monoT5 model? If the model says other words for not "
                              "relevant and relevant, give them: token_false='▁no', token_true='▁yes'")
        config: Any = module.config
        start, rows = getattr(config, "decoder_start_token_id", None), checkpoint.shapes[family.embedding][0]
        if start is None or not 0 <= start < rows:
            raise ScorerError(f"{checkpoint.config_file}: decoder_start_token_id = {start} is not one of the {rows} "
                              "rows of the embedding")
        self._prompt = (published and published.prompt) or family.prompt
        before, after = self._prompt.split("{text}")
        self._before = before.strip()
        self.rows = torch.tensor(ids, device=options.device)
        self.max_length = options.max_length or int(checkpoint.config.get("n_positions", 512))
        self.end = [int(self.tokenizer.eos_token_id)]
        self.relevant = self._ids([after.strip()])[0]
        if self.max_length <= len(self.relevant) + len(self.end):
            stated = f"max_length={self.max_length}" if options.max_length else (
                f"{checkpoint.config_file}: n_positions = {self.max_length}")
            raise ScorerError(f"{stated} leaves no room for a query and a text: "
                              f"{after.strip()!r} and </s> alone take {len(self.relevant) + len(self.end)} tokens")
        self._scaled = ties_embeddings(checkpoint.config)

    def _choose_tokens(self, published: tuple[str, str] | None) -> tuple[str, str]:
        """Returns the tokens that are given, else those of the published ranker, else the family's, with a warning."""
        model_type = str(self.checkpoint.config["model_type"])
        usual = published or family_of(model_type).prediction_tokens or ("", "")
        given = self.options.token_false, self.options.token_true
        if published is None and None in given:
            warnings.warn(
                f"{self.checkpoint.source}: the prediction tokens of this ranker are not known, so those usual for "
                f"{model_type!r} models are used, {usual[0]} (not relevant) and {usual[1]} (relevant). If it says "
                "other words, give them; if not, give these: "
                f"token_false={usual[0]!r}, token_true={usual[1]!r}", stacklevel=2)
        return given[0] or usual[0], given[1] or usual[1]

    def score(self, queries: Sequence[str], texts: Sequence[str], weights: Hashable) -> np.ndarray:
        """Returns log P("true") of each pair; see :class:`Scorer`."""
        rows = self.prompts(queries, texts)
        scores = np.empty(len(rows), dtype=np.float32)

        def step(batch: np.ndarray) -> None:
            scores[batch] = self._forward([rows[position] for position in batch])

        self._run([len(row) for row in rows], step)
        self.pairs_scored += len(rows)
        return scores

    def prompts(self, queries: Sequence[str], texts: Sequence[str]) -> list[np.ndarray]:
        """Returns the token ids of each prompt, cut to ``max_length``.

        "keep_prompt" cuts the text and keeps ``Relevant:`` and ``</s>``, as pyterrier_t5 and the model's training do;
        "paper" cuts the whole prompt from the right and keeps ``</s>``, as the authors' evaluation did.
        """
        kept, cut = (self.relevant, []) if self.options.truncation == "keep_prompt" else ([], self.relevant)
        last = kept + self.end
        room = self.max_length - len(last)
        asked = self.tokens("query", queries)
        read = self.tokens("text", texts)
        return [np.concatenate([np.concatenate([query, text, cut])[:room], last]).astype(np.int64)
                for query, text in zip(asked, read, strict=True)]

    @torch.inference_mode()
    def _forward(self, rows: list[np.ndarray]) -> np.ndarray:
        ids, mask = pad(rows, self.pad_id, self.options.device)
        encoded = self.module.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        logits = first_step(self.module, encoded, mask, self.rows, scaled=self._scaled)
        return logits.float().log_softmax(-1)[:, 1].cpu().numpy()

    def _tokenise(self, kind: str, texts: list[str]) -> list[list[int]]:
        # Pieces never cross a space, so the prompt's parts are tokenised apart and a query or text only once.
        return self._ids([self._before.format(query=text) for text in texts] if kind == "query" else texts)

    def _ids(self, texts: list[str]) -> list[list[int]]:
        # No part of a prompt is ever longer than the whole.
        ids: list[list[int]] = self.tokenizer(texts, add_special_tokens=False, truncation=True,
                                              max_length=self.max_length)["input_ids"]
        return ids

    @property
    def facts(self) -> dict[str, object]:
        """What decides a score beside the weights."""
        return {**super().facts, "max_length": self.max_length, "truncation": self.options.truncation,
                "tokens": self.prediction_tokens, "prompt": self._prompt}

    @property
    def origins(self) -> dict[str, str]:
        """Where :attr:`facts` come from; see :class:`Scorer`."""
        known = published_ranker(self.checkpoint.origin or self.checkpoint.source)
        usual = f"usual for {self.checkpoint.config['model_type']} models"
        given = self.options.token_false is not None and self.options.token_true is not None
        return {**super().origins, "truncation": "argument or its default",
                "tokens": "argument" if given else "known of this ranker" if known else usual,
                "prompt": "known of this ranker" if known and known.prompt else usual}


def first_step(model: Any, encoded: torch.Tensor, mask: torch.Tensor, rows: torch.Tensor, *,
               scaled: bool) -> torch.Tensor:
    """Returns the logits of a few tokens at the first decoder position.

    The decoder sees one token, so its self-attention is its value projection. In the cross-attention, q·(E W_k)ᵀ
    equals (q W_kᵀ)·Eᵀ and softmax(…)·(E W_v) equals (softmax(…)·E) W_v: both projections are folded into the one
    query position, and the products over all positions with W_k and W_v are not needed.

    Args:
        model: A ``T5ForConditionalGeneration`` or ``MT5ForConditionalGeneration``.
        encoded: The encoder's output, (n, length, d).
        mask: int (n, length); 0 marks padding.
        rows: int64 (k,), the tokens whose logits are wanted.
        scaled: Whether the last hidden state is divided by √d before the output matrix: where that matrix is the
            token embedding. Asked of the caller, because transformers 5 sets ``tie_word_embeddings`` in every loaded
            configuration, mT5's too.

    Returns:
        (n, k), in the dtype of ``encoded``.
    """
    config, decoder = model.config, model.decoder
    bias = torch.zeros(mask.shape, dtype=encoded.dtype, device=encoded.device)
    bias.masked_fill_(mask == 0, torch.finfo(encoded.dtype).min)
    start = torch.full((1,), config.decoder_start_token_id, device=encoded.device)
    hidden = decoder.embed_tokens(start).expand(len(encoded), -1)
    for block in decoder.block:
        own, cross, feed_forward = block.layer
        attention = own.SelfAttention
        hidden = hidden + attention.o(attention.v(own.layer_norm(hidden)))
        hidden = hidden + _cross(cross.EncDecAttention, cross.layer_norm(hidden), encoded, bias)
        hidden = feed_forward(hidden.unsqueeze(1)).squeeze(1)
    hidden = decoder.final_layer_norm(hidden)
    if scaled:
        hidden = hidden * config.d_model ** -0.5
    return nn.functional.linear(hidden, model.lm_head.weight[rows])


def _cross(attention: Any, query: torch.Tensor, encoded: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Cross-attention of one position; query (n, d), encoded (n, length, d), bias (n, length) -> (n, d)."""
    heads, width = attention.n_heads, attention.key_value_proj_dim
    asked = attention.q(query).view(-1, heads, width)
    key = attention.k.weight.view(heads, width, -1)
    value = attention.v.weight.view(heads, width, -1)
    folded = torch.einsum("nhw,hwd->nhd", asked, key)
    scores = torch.matmul(folded, encoded.transpose(1, 2)) + bias.unsqueeze(1)
    attended = torch.matmul(scores.float().softmax(-1).to(encoded.dtype), encoded)
    out: torch.Tensor = attention.o(torch.einsum("nhd,hwd->nhw", attended, value).reshape(len(query), heads * width))
    return out
