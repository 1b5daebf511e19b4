"""The first decoder step of T5, at the price of one position: no key or value of the text is ever computed."""

from typing import Any

import torch
from torch import nn


def first_step(model: Any, encoded: torch.Tensor, mask: torch.Tensor, rows: torch.Tensor, *,  # noqa: ANN401
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


def _cross(attention: Any, query: torch.Tensor, encoded: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
    """Cross-attention of one position; query (n, d), encoded (n, length, d), bias (n, length) -> (n, d)."""
    heads, width = attention.n_heads, attention.key_value_proj_dim
    asked = attention.q(query).view(-1, heads, width)
    key = attention.k.weight.view(heads, width, -1)
    value = attention.v.weight.view(heads, width, -1)
    folded = torch.einsum("nhw,hwd->nhd", asked, key)
    scores = torch.matmul(folded, encoded.transpose(1, 2)) + bias.unsqueeze(1)
    attended = torch.matmul(scores.float().softmax(-1).to(encoded.dtype), encoded)
    return attention.o(torch.einsum("nhd,hwd->nhw", attended, value).reshape(len(query), heads * width))
