"""A pair has the score that it has alone, whatever it is scored with, in every scorer and family."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from testing import bert_triple, cross_encoder_triple, llama_triple, t5_triple
from tests.reranking import assert_scores_agree
from tests.scorers.reference import edit_json, pairs, plain_texts, scorer_of

#: Sizes of random models.
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
CAUSAL = {**SMALL, "num_key_value_heads": 1, "head_dim": 8}


def classifier(name: str, **config: object):
    """Returns what makes a random classifier of a class of transformers, with BERT's tokenizer."""
    def make(folder: Path) -> Path:
        import transformers

        torch.manual_seed(3)
        kind = getattr(transformers, f"{name}Config")(vocab_size=500, num_labels=1, initializer_range=.3, **config)
        model = getattr(transformers, f"{name}ForSequenceClassification")(kind)
        for parameter in model.parameters():
            parameter.data += .1 * torch.randn(parameter.shape)
        model.save_pretrained(folder / "model")
        for file in (cross_encoder_triple(folder / "bert").ranker).glob("*token*"):
            shutil.copy(file, folder / "model")
        if name == "MPNet":  # it takes no token types
            edit_json(folder / "model" / "tokenizer_config.json", model_input_names=["input_ids", "attention_mask"])
        return folder / "model"
    return make


#: Name -> what writes such a folder. The padding of configuration and tokenizer ([PAD] is 0) often differ.
FOLDERS = {
    "bi-encoder, bert": lambda folder: bert_triple(folder).ranker,
    "bi-encoder, roberta": lambda folder: bert_triple(folder, family="roberta").ranker,
    "bi-encoder, distilbert": lambda folder: bert_triple(folder, family="distilbert", pooling="max").ranker,
    **{f"cross-encoder, {family}": lambda folder, family=family: cross_encoder_triple(folder, family=family).ranker
       for family in ("bert", "roberta", "distilbert", "electra")},
    "seq2seq, t5": lambda folder: t5_triple(folder).ranker,
    "seq2seq, mt5": lambda folder: t5_triple(folder, kind="mt5").ranker,
    "causal, llama": lambda folder: llama_triple(folder, dtype=torch.float32).ranker,
    "classifier, Qwen3, another padding": classifier("Qwen3", **CAUSAL, pad_token_id=102),
    "classifier, Qwen3, no padding": classifier("Qwen3", **CAUSAL, pad_token_id=None),
    "classifier, Llama": classifier("Llama", **CAUSAL, pad_token_id=7),
    "classifier, Mistral, a window": classifier("Mistral", **CAUSAL, pad_token_id=3, sliding_window=8),
    "classifier, Gemma": classifier("Gemma", **CAUSAL, pad_token_id=4),
    "classifier, GPT-2": classifier("GPT2", n_embd=16, n_head=2, n_layer=2, n_positions=600, pad_token_id=9),
    "classifier, ModernBERT": classifier("ModernBert", **SMALL, pad_token_id=0, cls_token_id=2, sep_token_id=3),
    "classifier, ModernBERT, mean": classifier("ModernBert", **SMALL, pad_token_id=5, classifier_pooling="mean"),
    "classifier, DeBERTa": classifier("DebertaV2", **SMALL, pad_token_id=0, relative_attention=True,
                                      position_biased_input=False, pos_att_type=["p2c", "c2p"]),
    "classifier, XLNet": classifier("XLNet", d_model=16, n_layer=2, n_head=2, d_inner=24, pad_token_id=5),
    "classifier, MPNet": classifier("MPNet", **SMALL, pad_token_id=1, max_position_embeddings=600),
    "classifier, ALBERT": classifier("Albert", **SMALL, embedding_size=8, pad_token_id=0),
}


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.filterwarnings("ignore:.*prediction tokens of this ranker")
def test_a_pair_scores_the_same_alone_and_in_any_batch(tmp_path, name, side):
    folder = FOLDERS[name](tmp_path)
    path = folder / "tokenizer_config.json"
    edit_json(path, padding_side=side) if path.is_file() else path.write_text(json.dumps({"padding_side": side}))
    queries, texts = pairs(plain_texts()[::2])
    scorer = scorer_of(folder)
    alone = np.array([scorer.score([query], [text], (query, text))[0]
                      for query, text in zip(queries, texts, strict=True)])
    assert len(set(alone.round(5))) > len(alone) / 2
    order = np.random.default_rng(0).permutation(len(texts))
    shuffled = scorer.score([queries[index] for index in order], [texts[index] for index in order], "shuffled")
    assert_scores_agree(shuffled, alone[order])
    scorer.budget = 10**6
    assert_scores_agree(scorer.score(queries, texts, "all at once"), alone)


@pytest.mark.parametrize("name", [name for name in FOLDERS if name.startswith("classifier")])
def test_classifiers_score_as_sentence_transformers_does_one_by_one(tmp_path, name):
    from tests.scorers.settings import cross_encoder_scores

    folder = FOLDERS[name](tmp_path)
    queries, texts = pairs(plain_texts()[::2])
    expected = cross_encoder_scores(folder, queries, texts)
    np.testing.assert_allclose(scorer_of(folder).score(queries, texts, "w"), expected, atol=1e-5, rtol=1e-5)
