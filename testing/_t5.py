"""T5 and mT5 triples: three sequence-to-sequence folders with slow sentencepiece tokenizers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import sqrt
from pathlib import Path
from typing import Any

import torch

from testing._folders import ROLES, PerRole, Triple, as_json, for_role, make_folders
from testing._layouts import write_weights
from testing._tokenizers import EXTRA_IDS, extended, sentencepiece_unigram, with_tokenizer_json
from testing._weights import parameter_shapes, random_tensor

SHARED = "shared.weight"
STRAY = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
BUCKETS = 32

__all__ = ["t5_triple"]


@dataclass(frozen=True)
class _Kind:
    """What differs between T5 and mT5.

    Attributes:
        class_name: the model class.
        bare: the class without an output matrix.
        config: the entries of config.json that are its own.
        copies: names that repeat `shared.weight`.
        extra_ids: sentinels that its tokenizer adds to the sentencepiece model.
    """

    class_name: str
    bare: str
    config: dict[str, Any]
    copies: tuple[str, ...]
    extra_ids: int


KINDS = {
    "t5": _Kind("T5ForConditionalGeneration", "T5Model",
                {"feed_forward_proj": "relu", "model_type": "t5", "n_positions": 512, "tie_word_embeddings": True},
                ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"), EXTRA_IDS),
    "mt5": _Kind("MT5ForConditionalGeneration", "MT5Model",
                 {"feed_forward_proj": "gated-gelu", "model_type": "mt5", "tie_word_embeddings": False},
                 ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"), 0),
}


def _spread(d_kv: int, name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Mean and deviation that let the first decoder step follow its text, so that scores differ between pairs."""
    if len(shape) == 1:  # the scale of a layer norm
        return 1.0, 0.1
    if name == SHARED or "relative_attention_bias" in name:
        return 0.0, 1.0
    deviation = 1 / sqrt(shape[1])
    if name.endswith(".q.weight"):  # T5 does not divide attention scores by the root of d_kv: its queries are small
        return 0.0, 1.7 * deviation / sqrt(d_kv)
    if name.endswith("EncDecAttention.o.weight"):  # all that the decoder's first step learns of the text
        return 0.0, 6 * deviation
    return 0.0, deviation


def t5_triple(
    folder: Path, *, kind: str = "t5", d_model: int = 32, layers: int = 2, heads: int = 2, d_kv: int = 8,
    d_ff: int = 64, vocab: int = 1000, rows_extra: PerRole[int] = 28, extra_tokens: PerRole[Sequence[str]] = (),
    tokenizer_json: PerRole[bool] = False, bare: PerRole[bool] = False, dtype: PerRole[torch.dtype] = torch.float32,
    layout: PerRole[str] = "safetensors", shards: PerRole[int] = 2, duplicated: PerRole[bool] = False,
    stray: PerRole[bool] = False, seed: int = 0,
) -> Triple:
    """Writes a T5 triple as the hub has them: three folders of the same class, tokenizers as `spiece.model` alone.

    Options typed `PerRole` take one value for all three folders, or a mapping from role ("base", "domain", "ranker")
    to value; roles left out keep the default.

    Args:
        folder: where `ranker`, `domain` and `base` are made.
        kind: "t5" (version 1.0: relu, one matrix for all embeddings and the output) or "mt5" (gated GELU, an output
            matrix of its own, no `n_positions` in its config and no sentinels beyond its sentencepiece model).
        d_model: width.
        layers: number of layers in encoder and decoder each.
        heads: number of attention heads.
        d_kv: width of a head.
        d_ff: width of the feed-forward layer.
        vocab: sentencepiece pieces, at most; the generated text bounds them too (about 600).
        rows_extra: rows of the embeddings beyond `len(tokenizer)`: 28 in T5 (32128 for 32100), 12 in mT5.
        extra_tokens: tokens after the trained ones; each moves the end of the embeddings by a row.
        tokenizer_json: adds the fast tokenizer's file, as google-t5's folders have; others have `spiece.model` alone.
        bare: a `T5Model`, which has no output matrix of its own.
        dtype: of all tensors.
        layout: "safetensors", "sharded", "bin" or "sharded_bin".
        shards: number of shards in the sharded layouts.
        duplicated: repeats `shared.weight` under the names tied to it, as old `.bin` files do.
        stray: adds the cross-attention's `relative_attention_bias` that T5's first files have and no model reads.
        seed: of the weights.

    Raises:
        FileExistsError: one of the three folders exists.
        ValueError: unknown kind, layout or role.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}: choose one of {', '.join(KINDS)}")
    made = KINDS[kind]
    triple = make_folders(folder)
    for role in ROLES:
        target: Path = getattr(triple, role)
        train = with_tokenizer_json if for_role(tokenizer_json, role, False) else sentencepiece_unigram
        tokenizer = extended(train(size=vocab, extra_ids=made.extra_ids), for_role(extra_tokens, role, ()))
        class_name, copies = made.class_name, made.copies
        if for_role(bare, role, False):
            class_name, copies = made.bare, tuple(name for name in made.copies if name != "lm_head.weight")
        config = {
            "architectures": [class_name], "d_ff": d_ff, "d_kv": d_kv, "d_model": d_model,
            "decoder_start_token_id": 0, "dropout_rate": 0.1, "eos_token_id": 1, "initializer_factor": 1.0,
            "is_encoder_decoder": True, "layer_norm_epsilon": 1e-6, "num_decoder_layers": layers, "num_heads": heads,
            "num_layers": layers, "output_past": True, "pad_token_id": 0, "relative_attention_num_buckets": BUCKETS,
            "vocab_size": tokenizer.size + for_role(rows_extra, role, 28), **made.config}
        shapes = {name: shape for name, shape in parameter_shapes(class_name, config).items()
                  if name not in made.copies}
        weights_dtype = for_role(dtype, role, torch.float32)
        own = {**shapes, STRAY: (BUCKETS, heads)} if for_role(stray, role, False) else shapes
        tensors = {name: random_tensor(name, shape, role=role, dtype=weights_dtype,
                                       spread=partial(_spread, d_kv), seed=seed)
                   for name, shape in own.items()}
        if for_role(duplicated, role, False):
            tensors |= dict.fromkeys(copies, tensors[SHARED])
        write_weights(target, tensors, layout=for_role(layout, role, "safetensors"), shards=for_role(shards, role, 2))
        (target / "config.json").write_bytes(
            as_json({**config, "torch_dtype": str(weights_dtype).removeprefix("torch.")}))
        tokenizer.write(target)
    return triple
