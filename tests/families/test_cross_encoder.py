"""BERT-style cross-encoders, as cross-encoder/ms-marco-…, with bert-base-uncased and a BERT of the domain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from testing import SAVED_BY, cross_encoder_triple, t5_triple
from tests.families.cases import BUFFER, NO_VECTOR, POOLER, Refused, Row
from tests.families.changes import (
    adapter,
    both,
    configured,
    disagreeing,
    edited,
    lacking,
    published,
    replaced,
    spoilt,
    trapped,
)
from tests.families.family import Family

# 5 of the embeddings, 16 of each of 2 layers, the pooler where all three have it; the classifier is the ranker's.
BODY, ALL = 37, 39
HEAD = ("cls",)
CLASSIFIER = {"classifier.weight": NO_VECTOR, "classifier.bias": NO_VECTOR}
EVERYWHERE = ("base", "domain", "ranker")
IDENTITY = "torch.nn.modules.linear.Identity"
#: As on the hub: the base with gamma and beta, the domain a .bin with the decoder twice, the ranker stating Identity.
HUB = {"layout": {"domain": "bin"}, "duplicated": {"domain": True}, "legacy_names": {"base": True},
       "pooler_in": EVERYWHERE, "saved_by": SAVED_BY[0], "activation": IDENTITY, "position_ids": {"ranker": True}}
HUB_KEPT = {**CLASSIFIER, "bert.embeddings.position_ids": BUFFER}
MIXED = {"base": torch.float32, "domain": torch.float16, "ranker": torch.bfloat16}


def next_sentence(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Adds BERT's second head, which masked language models that were trained further have lost."""
    return tensors | {"cls.seq_relationship.weight": torch.ones(2, 32), "cls.seq_relationship.bias": torch.ones(2)}


ROWS = [
    # hazard                                              merged  options of the factory, changes, what is kept
    Row("as published", ALL, HUB, kept=HUB_KEPT, unused=HEAD, scored=True, change=both(
        edited(next_sentence, "base"), published(ranker="bert-base-uncased", domain="bert-base-uncased",
                                                 base="bert-base-uncased"))),
    Row("pooler in the ranker alone", BODY, kept={**CLASSIFIER, **POOLER}, unused=HEAD, scored=True),
    Row("pooler in ranker and base", BODY, {"pooler_in": ("base", "ranker")}, kept={**CLASSIFIER, **POOLER},
        unused=HEAD),
    Row("nothing said of the activation: sigmoid", ALL, {"pooler_in": EVERYWHERE}, kept=CLASSIFIER, unused=HEAD,
        scored=True),
    Row("two labels", ALL, {"pooler_in": EVERYWHERE, "labels": 2}, kept=CLASSIFIER, unused=HEAD, scored=True),
    Row("ranker saved by sentence-transformers 6, with a prompt", ALL, kept=CLASSIFIER, unused=HEAD, scored=True,
        options={"pooler_in": EVERYWHERE, "saved_by": SAVED_BY[2], "activation": IDENTITY, "max_seq_length": 200,
                 "prompts": {"query": "find: "}, "default_prompt": "query"}),
    Row("shards with other boundaries in each", ALL, {**HUB, "layout": {"base": "sharded", "domain": "sharded_bin",
                                                                        "ranker": "sharded"},
                                                      "shards": {"base": 4, "domain": 3, "ranker": 2}}, kept=HUB_KEPT,
        unused=HEAD),
    Row("float32, float16, bfloat16", ALL, {**HUB, "dtype": MIXED}, kept=HUB_KEPT, unused=HEAD, scored=True),
    Row("a DistilBERT", 36, {"family": "distilbert", "layout": "bin"}, scored=True,
        unused=("vocab_transform", "vocab_layer_norm", "vocab_projector"),
        kept={**CLASSIFIER, "pre_classifier.weight": NO_VECTOR, "pre_classifier.bias": NO_VECTOR}),
    Row("a RoBERTa", BODY, {"family": "roberta", "layout": "bin", "duplicated": True, "pooler_in": ()}, scored=True,
        unused=("lm_head",), kept={f"classifier.{part}.{kind}": NO_VECTOR for part in ("dense", "out_proj")
                                   for kind in ("weight", "bias")}),
    Row("an ELECTRA", BODY + 2, {"family": "electra"}, unused=("discriminator_predictions",), scored=True,
        kept={f"classifier.{part}.{kind}": NO_VECTOR for part in ("dense", "out_proj") for kind in ("weight", "bias")}),
    Row("domain a LoRA adapter over the base", BODY, {"layout": "bin", "duplicated": True}, moved=4, unused=HEAD,
        change=adapter("domain", "query", "value"), kept={**CLASSIFIER, **POOLER}, scored=True),
]

KEY = "encoder.layer.1.attention.self.key.weight"
REFUSED = [
    # hazard                                              what the error says
    Refused("decoder matrix that is not the embedding", "cls.predictions.decoder.weight.*different values", HUB,
            disagreeing("cls.predictions.decoder.weight", "domain")),
    Refused("backbone parameter missing in the domain", rf"'{KEY}' is absent from Θ_D '{{domain}}'", HUB,
            lacking(KEY, "domain")),
    Refused("no classifier in the ranker", "lacks 2 parameters of BertForSequenceClassification: classifier.bias", HUB,
            edited(lambda tensors: {name: tensor for name, tensor in tensors.items() if "classifier" not in name},
                   "ranker"), only_scoring=True),
    Refused("domain of another width", "different architectures: intermediate_size 128 and 64",
            change=configured("domain", intermediate_size=64)),
    Refused("base that is a RoBERTa", "different architectures: model_type 'bert' and 'roberta'",
            change=replaced("base", lambda folder: cross_encoder_triple(folder, family="roberta").base)),
    Refused("domain that is a T5", "different architectures: model_type 'bert' and 't5'",
            change=replaced("domain", lambda folder: t5_triple(folder).domain)),
    Refused("not a number in the base", rf"Θ_0 '{{base}}': {KEY} holds 1 values that are NaN",
            change=spoilt(f"bert.{KEY}", "base")),
    Refused("code in the domain's weights", "holds something other than tensors.*refused", HUB,
            trapped("pytorch_model.bin", roles=("domain",))),
]


def cross_encoder_scores(folder: Path, queries: list[str], texts: list[str]) -> np.ndarray:
    """The scores of sentence-transformers' CrossEncoder in float32, of the last label, by the folder's activation."""
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    scores = model.predict(list(zip(queries, texts, strict=True)), show_progress_bar=False)
    return scores[:, -1] if scores.ndim == 2 else scores


class TestCrossEncoder(Family):
    name = "bert"
    make = staticmethod(cross_encoder_triple)
    rows = ROWS
    refused = REFUSED
    reference = staticmethod(cross_encoder_scores)
