"""Bi-encoder triples of BERT's kin: two masked language models and a sentence-transformers ranker."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import sqrt
from pathlib import Path
from typing import Any

import torch

from testing._folders import ROLES, PerRole, Triple, as_json, for_role, make_folders
from testing._layouts import write_weights
from testing._sentence_transformers import write_modules
from testing._tokenizers import TokenizerFiles, byte_level_bpe, extended, wordpiece
from testing._weights import LazyTensor, parameter_shapes, random_tensor

__all__ = ["bert_triple"]


def _bert_config(hidden: int, layers: int, heads: int) -> dict[str, Any]:
    return {"attention_probs_dropout_prob": 0.1, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
            "hidden_size": hidden, "initializer_range": 0.02, "intermediate_size": 4 * hidden, "layer_norm_eps": 1e-12,
            "max_position_embeddings": 512, "model_type": "bert", "num_attention_heads": heads,
            "num_hidden_layers": layers, "pad_token_id": 0, "position_embedding_type": "absolute",
            "type_vocab_size": 2, "use_cache": True}


def _roberta_config(hidden: int, layers: int, heads: int) -> dict[str, Any]:
    return {**_bert_config(hidden, layers, heads), "bos_token_id": 0, "eos_token_id": 2, "layer_norm_eps": 1e-5,
            "max_position_embeddings": 514, "model_type": "roberta", "pad_token_id": 1, "type_vocab_size": 1}


def _distilbert_config(hidden: int, layers: int, heads: int) -> dict[str, Any]:
    return {"activation": "gelu", "attention_dropout": 0.1, "dim": hidden, "dropout": 0.1, "hidden_dim": 4 * hidden,
            "initializer_range": 0.02, "max_position_embeddings": 512, "model_type": "distilbert", "n_heads": heads,
            "n_layers": layers, "pad_token_id": 0, "qa_dropout": 0.1, "seq_classif_dropout": 0.2,
            "sinusoidal_pos_embds": False, "tie_weights_": True}


@dataclass(frozen=True)
class _Family:
    """What differs between the families.

    Attributes:
        config: config.json from hidden size, layers and heads, but for vocabulary, dtype and class.
        tokenizer: trains a tokenizer of a given size, cased or not.
        masked: the class of base and domain.
        bare: the class of the ranker.
        prefix: what the masked model puts before the bare names.
        tied: name in the masked model to the name of the parameter it repeats.
    """

    config: Callable[[int, int, int], dict[str, Any]]
    tokenizer: Callable[[int, bool], TokenizerFiles]
    masked: str
    bare: str
    prefix: str
    tied: Mapping[str, str]


FAMILIES = {
    "bert": _Family(
        _bert_config, lambda size, cased: wordpiece(size=size, cased=cased, tokenizer_class="BertTokenizer"),
        "BertForMaskedLM", "BertModel", "bert.",
        {"cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
         "cls.predictions.decoder.bias": "cls.predictions.bias"}),
    "distilbert": _Family(
        _distilbert_config,
        lambda size, cased: wordpiece(size=size, cased=cased, tokenizer_class="DistilBertTokenizer"),
        "DistilBertForMaskedLM", "DistilBertModel", "distilbert.",
        {"vocab_projector.weight": "distilbert.embeddings.word_embeddings.weight"}),
    "roberta": _Family(
        _roberta_config, lambda size, cased: byte_level_bpe(size=size),  # always cased
        "RobertaForMaskedLM", "RobertaModel", "roberta.",
        {"lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
         "lm_head.decoder.bias": "lm_head.bias"}),
}


def _spread(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Mean and deviation that let an embedding follow its text's words, so that scores differ between pairs."""
    if name.endswith("bias"):
        return 0.0, 0.1
    if len(shape) == 1:  # the scale of a layer norm
        return 1.0, 0.1
    if "embeddings." in name:
        return 0.0, 1.0 if "word_embeddings" in name else 0.2
    return 0.0, 1 / sqrt(shape[1])


def _legacy(name: str) -> str:
    """The name that BERT's first checkpoints, converted from TensorFlow, have for a layer norm's parameters."""
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


def _positions(count: int) -> torch.Tensor:
    return torch.arange(count).reshape(1, count)


def bert_triple(
    folder: Path, *, family: str = "bert", hidden: int = 32, layers: int = 2, heads: int = 2,
    vocab: PerRole[int] = 500, cased: PerRole[bool] = False, extra_tokens: PerRole[Sequence[str]] = (),
    dtype: PerRole[torch.dtype] = torch.float32, layout: PerRole[str] = "safetensors", shards: PerRole[int] = 2,
    pooling: str = "mean", similarity: str = "cosine", normalize: bool = False, max_seq_length: int = 64,
    prompts: Mapping[str, str] | None = None, transformer_path: str = "", prefixed_base: PerRole[bool] = True,
    pooler_in: Collection[str] = ("ranker",), legacy_names: PerRole[bool] = False, position_ids: PerRole[bool] = False,
    duplicated: PerRole[bool] = False, seed: int = 0,
) -> Triple:
    """Writes a bi-encoder triple as the hub has them: two masked language models and a sentence-transformers folder.

    Options typed `PerRole` take one value for all three folders, or a mapping from role ("base", "domain", "ranker")
    to value; roles left out keep the default.

    Args:
        folder: where `ranker`, `domain` and `base` are made.
        family: a name in FAMILIES.
        hidden: width; the inner layer is four times as wide.
        layers: number of layers.
        heads: number of attention heads, which divides `hidden`.
        vocab: tokens of the tokenizer and rows of the word embeddings, at most; the generated text bounds them too.
        cased: a tokenizer that keeps capitals (RoBERTa's always does): other tokens in the same rows.
        extra_tokens: tokens, with rows of their own, after the trained ones.
        dtype: of all floating-point tensors.
        layout: "safetensors", "sharded", "bin" or "sharded_bin".
        shards: number of shards in the sharded layouts.
        pooling: "mean", "cls" or "max".
        similarity: "cosine" or "dot".
        normalize: adds a module that scales embeddings to length 1.
        max_seq_length: tokens the ranker reads of a text, at most 512.
        prompts: name to prompt, of the ranker.
        transformer_path: the ranker's transformer within its folder: "" or, in old models, "0_Transformer".
        prefixed_base: base and domain are masked language models with prefix and head; else bare models.
        pooler_in: roles whose file has a pooler (DistilBERT has none); masked models carry it as `bert.pooler.*`.
        legacy_names: `LayerNorm.gamma` and `.beta` instead of `.weight` and `.bias`.
        position_ids: adds the int64 buffer `embeddings.position_ids`, shape (1, positions).
        duplicated: repeats the tied decoder matrix (and bias) in masked models, as `.bin` files on the hub do.
        seed: of the weights.

    Raises:
        FileExistsError: one of the three folders exists.
        ValueError: unknown family, layout, pooling, similarity or role.
    """
    if family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}: choose one of {', '.join(FAMILIES)}")
    if unknown := set(pooler_in) - set(ROLES):
        raise ValueError(f"unknown roles {sorted(unknown)} in pooler_in: choose of {', '.join(ROLES)}")
    kind = FAMILIES[family]
    triple = make_folders(folder)
    for role in ROLES:
        target: Path = getattr(triple, role)
        tokenizer = extended(kind.tokenizer(for_role(vocab, role, 500), for_role(cased, role, False)),
                             for_role(extra_tokens, role, ()))
        config = {**kind.config(hidden, layers, heads), "vocab_size": tokenizer.size}
        bare_shapes, masked_shapes = (parameter_shapes(name, config) for name in (kind.bare, kind.masked))
        masked = role != "ranker" and for_role(prefixed_base, role, True)
        shapes = {kind.prefix + name: shape for name, shape in bare_shapes.items()} if masked else dict(bare_shapes)
        if role not in pooler_in:
            shapes = {name: shape for name, shape in shapes.items() if "pooler." not in name}
        if masked:
            shapes |= {name: shape for name, shape in masked_shapes.items() if not name.startswith(kind.prefix)}
        weights_dtype = for_role(dtype, role, torch.float32)
        tensors = {
            name: random_tensor(name.removeprefix(kind.prefix), shape, role=role, dtype=weights_dtype, spread=_spread,
                                seed=seed)
            for name, shape in shapes.items() if name not in kind.tied}
        if masked and for_role(duplicated, role, False):
            tensors |= {name: tensors[source] for name, source in kind.tied.items()}
        if for_role(legacy_names, role, False):
            tensors = {_legacy(name): tensor for name, tensor in tensors.items()}
        if for_role(position_ids, role, False):
            count = config["max_position_embeddings"]
            buffer = LazyTensor((1, count), torch.int64, partial(_positions, count))
            tensors = {f"{kind.prefix if masked else ''}embeddings.position_ids": buffer, **tensors}
        if role == "ranker":
            target = write_modules(target, hidden=hidden, pooling=pooling, similarity=similarity, normalize=normalize,
                                   max_seq_length=max_seq_length, prompts=prompts, transformer_path=transformer_path)
        write_weights(target, tensors, layout=for_role(layout, role, "safetensors"), shards=for_role(shards, role, 2))
        (target / "config.json").write_bytes(as_json({
            "architectures": [kind.masked if masked else kind.bare], **config,
            "torch_dtype": str(weights_dtype).removeprefix("torch.")}))
        tokenizer.write(target)
    return triple
