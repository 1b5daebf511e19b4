"""Llama triples: three causal language models with sentencepiece tokenizers, their shards cut in different places."""

from __future__ import annotations

from functools import partial
from math import sqrt
from pathlib import Path
from typing import Any

import torch

from testing._folders import ROLES, PerRole, Triple, as_json, for_role, make_folders
from testing._layouts import write_weights
from testing._llama_tokenizer import sentencepiece_bpe
from testing._weights import LazyTensor, parameter_shapes, random_tensor

CLASS = "LlamaForCausalLM"
ROPE_THETA = 10000.0
SHARDS = {"base": 2, "domain": 3, "ranker": 4}

__all__ = ["llama_triple"]


def _config(hidden: int, layers: int, heads: int, kv_heads: int, intermediate: int, vocab: int) -> dict[str, Any]:
    """config.json with the keys of Llama-2-7b-hf, but for the dtype."""
    return {"architectures": [CLASS], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": hidden,
            "initializer_range": 0.02, "intermediate_size": intermediate, "max_position_embeddings": 4096,
            "model_type": "llama", "num_attention_heads": heads, "num_hidden_layers": layers,
            "num_key_value_heads": kv_heads, "pretraining_tp": 1, "rms_norm_eps": 1e-5, "rope_scaling": None,
            "tie_word_embeddings": False, "transformers_version": "4.31.0.dev0", "use_cache": True,
            "vocab_size": vocab}


def _spread(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Mean and deviation that let a query's likelihood follow its document, so that scores differ between pairs."""
    if len(shape) == 1:  # the scale of a norm
        return 1.0, 0.1
    if "embed_tokens" in name:
        return 0.0, 1.0
    deviation = 1 / sqrt(shape[1])
    if name.endswith(("q_proj.weight", "k_proj.weight")):  # attention that picks a few tokens
        return 0.0, 1.5 * deviation
    if name.endswith(("o_proj.weight", "lm_head.weight")):
        return 0.0, 2 * deviation
    return 0.0, deviation


def _frequencies(width: int) -> torch.Tensor:
    return 1.0 / (ROPE_THETA ** (torch.arange(0, width, 2, dtype=torch.float32) / width))


def _with_frequencies(tensors: dict[str, LazyTensor], width: int) -> dict[str, LazyTensor]:
    """Puts the rotary buffer of each layer after its output projection, where old files have it."""
    found: dict[str, LazyTensor] = {}
    buffer = LazyTensor((width // 2,), torch.float32, partial(_frequencies, width))
    for name, tensor in tensors.items():
        found[name] = tensor
        if name.endswith("self_attn.o_proj.weight"):
            found[name.replace("o_proj.weight", "rotary_emb.inv_freq")] = buffer
    return found


def llama_triple(
    folder: Path, *, hidden: int = 32, layers: int = 2, heads: int = 4, kv_heads: int | None = None,
    intermediate: int | None = None, vocab: int = 700, dtype: PerRole[torch.dtype] = torch.float16,
    layout: PerRole[str] = "sharded", shards: PerRole[int] = SHARDS, inv_freq: PerRole[bool] = False,
    pad_token: PerRole[bool] = False, tokenizer_json: PerRole[bool] = False, seed: int = 0,
) -> Triple:
    """Writes a Llama triple as the hub has them: three folders of the same class and, as a rule, 16-bit shards.

    Options typed `PerRole` take one value for all three folders, or a mapping from role ("base", "domain", "ranker")
    to value; roles left out keep the default. Llama-2-7B is `hidden=4096, layers=32, heads=32, intermediate=11008,
    vocab=32000`. A shard is in memory while it is written, so large models want many.

    Args:
        folder: where `ranker`, `domain` and `base` are made.
        hidden: width.
        layers: number of layers.
        heads: number of attention heads, which divides `hidden` into even parts.
        kv_heads: number of heads of keys and values; None: as many as `heads`.
        intermediate: width of the feed-forward layer; None: 8/3 of `hidden`, as in Llama.
        vocab: pieces of the tokenizer, exactly; those that the corpus does not give (beyond 1500) are never used.
        dtype: of all tensors but the rotary buffers.
        layout: "safetensors", "sharded", "bin" or "sharded_bin".
        shards: number of shards in the sharded layouts.
        inv_freq: adds the float32 buffers `model.layers.N.self_attn.rotary_emb.inv_freq` that old files have.
        pad_token: adds the token [PAD] and its row to both matrices: 32001 rows for 32000.
        tokenizer_json: adds the fast tokenizer to `tokenizer.model`.
        seed: of the weights.

    Raises:
        FileExistsError: one of the three folders exists.
        ValueError: unknown layout or role, or a `vocab` too small for the bytes and letters.
    """
    widths = (hidden, layers, heads, kv_heads or heads, intermediate or 8 * hidden // 3)
    made = {role: sentencepiece_bpe(size=vocab, pad=for_role(pad_token, role, False),
                                    tokenizer_json=for_role(tokenizer_json, role, False)) for role in ROLES}
    triple = make_folders(folder)
    for role in ROLES:
        target: Path = getattr(triple, role)
        tokenizer = made[role]
        config = _config(*widths, tokenizer.size) | ({"pad_token_id": vocab} if tokenizer.size > vocab else {})
        weights_dtype = for_role(dtype, role, torch.float16)
        tensors = {name: random_tensor(name, shape, role=role, dtype=weights_dtype, spread=_spread, seed=seed)
                   for name, shape in parameter_shapes(CLASS, config).items()}
        if for_role(inv_freq, role, False):
            tensors = _with_frequencies(tensors, hidden // heads)
        write_weights(target, tensors, layout=for_role(layout, role, "sharded"),
                      shards=for_role(shards, role, SHARDS[role]))
        (target / "config.json").write_bytes(
            as_json({**config, "torch_dtype": str(weights_dtype).removeprefix("torch.")}))
        (target / "generation_config.json").write_bytes(as_json(
            {"_from_model_config": True, **{key: config[key] for key in config if key.endswith("token_id")},
             "transformers_version": config["transformers_version"]}))
        tokenizer.write(target)
    return triple
