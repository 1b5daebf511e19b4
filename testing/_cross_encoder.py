"""Cross-encoder triples of BERT's kin: two pre-trained models and a ranker with a classification head."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from testing._bert import FAMILIES, _bert_config, _Family, _legacy, _positions, _spread
from testing._folders import ROLES, PerRole, Triple, as_json, for_role, make_folders
from testing._layouts import write_weights
from testing._tokenizers import wordpiece
from testing._weights import LazyTensor, parameter_shapes, random_tensor

__all__ = ["SAVED_BY", "cross_encoder_triple"]


def _electra_config(hidden: int, layers: int, heads: int) -> dict[str, Any]:
    # As in electra-small, embeddings are narrower than the layers and a projection lies between.
    return {**_bert_config(hidden, layers, heads), "embedding_size": hidden // 2, "model_type": "electra",
            "summary_activation": "gelu", "summary_last_dropout": 0.1, "summary_type": "first",
            "summary_use_proj": True}


@dataclass(frozen=True)
class _Kind:
    """A family, and the class of its ranker."""

    family: _Family
    ranker: str


KINDS = {
    "bert": _Kind(FAMILIES["bert"], "BertForSequenceClassification"),
    "distilbert": _Kind(FAMILIES["distilbert"], "DistilBertForSequenceClassification"),
    "roberta": _Kind(FAMILIES["roberta"], "RobertaForSequenceClassification"),
    "electra": _Kind(
        # The hub's ELECTRA to start from is the discriminator, which has no masked-language-model head.
        _Family(_electra_config,
                lambda size, cased: wordpiece(size=size, cased=cased, tokenizer_class="ElectraTokenizer"),
                "ElectraForPreTraining", "ElectraModel", "electra.", {}),
        "ElectraForSequenceClassification"),
}

#: Who saved the ranker, which decides where its activation is stated: sentence-transformers 2 to 3, 4 to 5.3, since.
SAVED_BY = ("sentence-transformers 2", "sentence-transformers 4", "sentence-transformers 6")


def _write_modules(folder: Path, activation: str | None, prompts: Mapping[str, str], default_prompt: str | None,
                   max_seq_length: int | None) -> None:
    """Writes what sentence-transformers 6 puts beside the transformer of a cross-encoder."""
    module = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"}
    (folder / "modules.json").write_bytes(as_json([module]))
    (folder / "config_sentence_transformers.json").write_bytes(as_json({
        "__version__": {"pytorch": "2.9.0", "sentence_transformers": "5.7.0", "transformers": "4.57.0"},
        "activation_fn": activation, "default_prompt_name": default_prompt, "model_type": "CrossEncoder",
        "prompts": dict(prompts)}))
    length = {} if max_seq_length is None else {"max_seq_length": max_seq_length}
    (folder / "sentence_bert_config.json").write_bytes(as_json({
        "transformer_task": "sequence-classification", "module_output_name": "scores",
        "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}}, **length}))


def _activation_in_config(saved_by: str, activation: str | None) -> dict[str, Any]:
    if activation is None or saved_by == SAVED_BY[2]:
        return {}
    if saved_by == SAVED_BY[0]:
        return {"sbert_ce_default_activation_function": activation}
    return {"sentence_transformers": {"activation_fn": activation, "version": "4.1.0"}}


def cross_encoder_triple(
    folder: Path, *, family: str = "bert", hidden: int = 32, layers: int = 2, heads: int = 2, vocab: int = 500,
    labels: int = 1, activation: str | None = None, saved_by: str = SAVED_BY[1],
    prompts: Mapping[str, str] | None = None, default_prompt: str | None = None, max_seq_length: int | None = None,
    dtype: PerRole[torch.dtype] = torch.float32, layout: PerRole[str] = "safetensors", shards: PerRole[int] = 2,
    pooler_in: Collection[str] = ("ranker",), legacy_names: PerRole[bool] = False, position_ids: PerRole[bool] = False,
    duplicated: PerRole[bool] = False, seed: int = 0,
) -> Triple:
    """Writes a cross-encoder triple as the hub has them: two pre-trained models and a sequence classifier.

    Options typed `PerRole` take one value for all three folders, or a mapping from role ("base", "domain", "ranker")
    to value; roles left out keep the default.

    Args:
        folder: where `ranker`, `domain` and `base` are made.
        family: "bert", "distilbert", "roberta" or "electra".
        hidden: width; the inner layer is four times as wide.
        layers: number of layers.
        heads: number of attention heads, which divides `hidden`.
        vocab: tokens of the tokenizer and rows of the word embeddings, at most; the generated text bounds them too.
        labels: of the ranker.
        activation: path of the function that the ranker states for its logits, such as
            "torch.nn.modules.linear.Identity"; None states none.
        saved_by: one of `SAVED_BY`.
        prompts: name to prompt; needs `saved_by="sentence-transformers 6"`, as the next two do.
        default_prompt: name of the prompt that is put before the query.
        max_seq_length: tokens of a pair; None leaves it to the tokenizer, which says 512.
        dtype: of all floating-point tensors.
        layout: "safetensors", "sharded", "bin" or "sharded_bin".
        shards: number of shards in the sharded layouts.
        pooler_in: roles whose file has the backbone's pooler, where the family has one; RoBERTa's ranker never has.
        legacy_names: `LayerNorm.gamma` and `.beta` instead of `.weight` and `.bias`.
        position_ids: adds the int64 buffer `embeddings.position_ids`, shape (1, positions).
        duplicated: repeats the tied decoder matrix (and bias) in masked models, as `.bin` files on the hub do.
        seed: of the weights.

    Raises:
        FileExistsError: one of the three folders exists.
        ValueError: unknown family, layout, role or `saved_by`, or an option that `saved_by` does not have.
    """
    if family not in KINDS:
        raise ValueError(f"unknown family {family!r}: choose one of {', '.join(KINDS)}")
    if saved_by not in SAVED_BY:
        raise ValueError(f"unknown saved_by {saved_by!r}: choose one of {', '.join(SAVED_BY)}")
    if unknown := set(pooler_in) - set(ROLES):
        raise ValueError(f"unknown roles {sorted(unknown)} in pooler_in: choose of {', '.join(ROLES)}")
    if saved_by != SAVED_BY[2] and (prompts or default_prompt or max_seq_length):
        raise ValueError(f"prompts and max_seq_length are stated by {SAVED_BY[2]!r} alone")
    kind = KINDS[family].family
    tokenizer = kind.tokenizer(vocab, False)
    config = {**kind.config(hidden, layers, heads), "vocab_size": tokenizer.size}
    names = {number: f"LABEL_{number}" for number in range(labels)}
    head = {"id2label": names, "label2id": {name: number for number, name in names.items()},
            **_activation_in_config(saved_by, activation)}
    poolers = {kind.prefix + name: shape for name, shape in parameter_shapes(kind.bare, config).items()
               if name.startswith("pooler.")}
    pretrained = {name: shape for name, shape in parameter_shapes(kind.masked, config).items() if name not in poolers}
    classifier = dict(parameter_shapes(KINDS[family].ranker, {**config, "id2label": names}))
    triple = make_folders(folder)
    for role in ROLES:
        target: Path = getattr(triple, role)
        ranks = role == "ranker"
        shapes = dict(classifier) if ranks else {**pretrained, **(poolers if role in pooler_in else {})}
        if role not in pooler_in:
            shapes = {name: shape for name, shape in shapes.items() if name not in poolers}
        weights_dtype = for_role(dtype, role, torch.float32)
        tensors = {
            name: random_tensor(name.removeprefix(kind.prefix), shape, role=role, dtype=weights_dtype, spread=_spread,
                                seed=seed)
            for name, shape in shapes.items() if name not in kind.tied}
        if not ranks and for_role(duplicated, role, False):
            tensors |= {name: tensors[source] for name, source in kind.tied.items()}
        if for_role(legacy_names, role, False):
            tensors = {_legacy(name): tensor for name, tensor in tensors.items()}
        if for_role(position_ids, role, False):
            count = config["max_position_embeddings"]
            buffer = LazyTensor((1, count), torch.int64, partial(_positions, count))
            tensors = {f"{kind.prefix}embeddings.position_ids": buffer, **tensors}
        write_weights(target, tensors, layout=for_role(layout, role, "safetensors"), shards=for_role(shards, role, 2))
        (target / "config.json").write_bytes(as_json({
            "architectures": [KINDS[family].ranker if ranks else kind.masked], **config, **(head if ranks else {}),
            "torch_dtype": str(weights_dtype).removeprefix("torch.")}))
        tokenizer.write(target)
        if ranks and saved_by == SAVED_BY[2]:
            _write_modules(target, activation, prompts or {}, default_prompt, max_seq_length)
    return triple
