"""Llama folders load in transformers, hold what their options say, and merge as plain state dicts do."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import sentencepiece
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pyterrier_taskarith import Checkpoint, TaskVector
from testing import llama_triple, passages, questions
from tests.testing.test_factories import LAYOUTS, ROLES, TEXTS, load, read


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folders_load_completely_in_every_layout(tmp_path, layout):
    triple = llama_triple(tmp_path, layout=layout, inv_freq={"base": True})
    for role in ROLES:
        folder = getattr(triple, role)
        model, missing, unexpected = load(AutoModelForCausalLM, folder)
        assert not missing and {name for name in unexpected if "inv_freq" not in name} == set()
        files, state = read(folder), model.state_dict()
        buffers = [files.pop(f"model.layers.{layer}.self_attn.rotary_emb.inv_freq")
                   for layer in range(2 if role == "base" else 0)]
        assert all(torch.equal(buffer, model.model.rotary_emb.inv_freq) for buffer in buffers)
        assert set(files) == set(state) and "model.layers.1.self_attn.q_proj.weight" in files
        assert all(torch.equal(state[name], tensor.to(state[name].dtype)) for name, tensor in files.items())
        assert {tensor.dtype for tensor in files.values()} == {torch.float16}
        assert not torch.equal(files["lm_head.weight"], files["model.embed_tokens.weight"])


def test_shards_are_cut_in_different_places(tmp_path):
    triple = llama_triple(tmp_path)
    maps = [json.loads((getattr(triple, role) / "model.safetensors.index.json").read_text())["weight_map"]
            for role in ROLES]
    assert [len(set(shards.values())) for shards in maps] == [2, 3, 4]
    assert len({name for name, shard in maps[0].items() if shard.startswith("model-00001")}
               ^ {name for name, shard in maps[2].items() if shard.startswith("model-00001")}) > 3


def test_sizes_are_the_callers(tmp_path):
    triple = llama_triple(tmp_path, hidden=48, layers=3, heads=6, kv_heads=2, intermediate=40, vocab=800,
                          dtype={"domain": torch.bfloat16})
    shapes = {name: tuple(tensor.shape) for name, tensor in read(triple.domain).items()}
    assert shapes["model.embed_tokens.weight"] == shapes["lm_head.weight"] == (800, 48)
    assert shapes["model.layers.2.self_attn.k_proj.weight"] == (16, 48)
    assert shapes["model.layers.2.mlp.down_proj.weight"] == (48, 40) and len(shapes) == 3 * 9 + 3
    assert {tensor.dtype for tensor in read(triple.domain).values()} == {torch.bfloat16}
    configs = [json.loads((getattr(triple, role) / "config.json").read_text()) for role in ROLES]
    assert [config["torch_dtype"] for config in configs] == ["float16", "bfloat16", "float16"]
    assert configs[0]["num_key_value_heads"] == 2 and configs[0]["vocab_size"] == 800


@pytest.mark.parametrize("tokenizer_json", [False, True])
def test_the_tokenizer_is_its_sentencepiece_model(tmp_path, tokenizer_json):
    folder = llama_triple(tmp_path, tokenizer_json=tokenizer_json, layers=1).ranker
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    assert (folder / "tokenizer.json").is_file() == tokenizer_json
    assert [pieces.id_to_piece(row) for row in (0, 1, 2, 3, 258)] == ["<unk>", "<s>", "</s>", "<0x00>", "<0xFF>"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer(TEXTS)["input_ids"] == [[1, *pieces.encode(text)] for text in TEXTS]
    assert all(tokenizer.decode(pieces.encode(text)) == text for text in [*TEXTS, "  two  spaces 日本"])
    assert (tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    assert len(tokenizer) == pieces.get_piece_size() == 700 and tokenizer.pad_token is None
    ids = tokenizer(TEXTS)["input_ids"]
    assert 0 not in [token for row in ids for token in row]


def test_a_padding_token_makes_one_row_more(tmp_path):
    triple = llama_triple(tmp_path, pad_token={"ranker": True}, tokenizer_json={"domain": True}, layers=1)
    base, ranker = read(triple.base), read(triple.ranker)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        assert base[name].shape == (700, 32) and ranker[name].shape == (701, 32)
    tokenizers = [AutoTokenizer.from_pretrained(getattr(triple, role)) for role in ROLES]
    assert [tokenizer.pad_token_id for tokenizer in tokenizers] == [None, None, 700]
    assert tokenizers[0](TEXTS)["input_ids"] == tokenizers[1](TEXTS)["input_ids"] == tokenizers[2](TEXTS)["input_ids"]
    config = json.loads((triple.ranker / "config.json").read_text())
    assert (config["vocab_size"], config["pad_token_id"]) == (701, 700)
    assert json.loads((triple.ranker / "added_tokens.json").read_text()) == {"[PAD]": 700}
    assert AutoModelForCausalLM.from_pretrained(triple.ranker).lm_head.weight.shape == (701, 32)


def test_a_vocabulary_of_the_real_size_is_filled_up_with_tokens_of_no_text(tmp_path):
    small = llama_triple(tmp_path / "small", vocab=1500, hidden=8, heads=2, layers=1).base
    folder = llama_triple(tmp_path / "full", vocab=32000, hidden=8, heads=2, layers=1).base
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) == 32000 == read(folder)["lm_head.weight"].shape[0]
    assert tokenizer(TEXTS)["input_ids"] == AutoTokenizer.from_pretrained(small)(TEXTS)["input_ids"]


def test_vocabularies_too_small_are_named(tmp_path):
    with pytest.raises(ValueError, match="vocab=100 is too small"):
        llama_triple(tmp_path, vocab=100)


def test_likelihoods_differ_between_documents(tmp_path):
    folder = llama_triple(tmp_path).ranker
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).float()
    scores = []
    for text in passages(20):
        source = tokenizer(f"Document: {text} Query:")["input_ids"]
        query = tokenizer(questions(1)[0], add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            logits = model(torch.tensor([source + query])).logits[0, len(source) - 1:-1].log_softmax(-1)
        scores.append(float(logits[torch.arange(len(query)), query].mean()))
    assert np.std(scores) > 0.1


def test_same_seed_writes_the_same_bytes(tmp_path):
    def digests(name: str, seed: int) -> dict[str, str]:
        folder = tmp_path / name
        llama_triple(folder, seed=seed, tokenizer_json=True, layers=1)
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted(folder.rglob("*")) if path.is_file()}

    first, again, other = digests("first", 3), digests("again", 3), digests("other", 4)
    assert first == again and len(first) == 3 * 7 + 9
    assert {name for name in first if first[name] != other[name]} == {
        name for name in first if name.endswith(".safetensors")}


def test_domain_and_ranker_lie_near_the_base(tmp_path):
    triple = llama_triple(tmp_path, dtype=torch.float32)
    base, domain, ranker = (read(getattr(triple, role)) for role in ROLES)
    for name in base:
        steps = [(tensor[name] - base[name]).flatten() for tensor in (domain, ranker)]
        assert all(0 < step.norm() < 0.5 * base[name].norm() for step in steps)
        assert abs(torch.cosine_similarity(*steps, dim=0)) < 0.7


def test_a_triple_with_every_hazard_merges_as_plain_state_dicts_do(tmp_path):
    triple = llama_triple(tmp_path, inv_freq={"base": True, "ranker": True}, pad_token={"ranker": True},
                          layout={"domain": "sharded_bin"}, dtype={"domain": torch.bfloat16})
    base, domain, ranker = (read(getattr(triple, role)) for role in ROLES)
    (Checkpoint(triple.ranker) + 0.7 * TaskVector(triple.domain, triple.base)).save(tmp_path / "merged")
    merged = read(tmp_path / "merged")
    assert set(merged) == set(ranker)
    for name, tensor in merged.items():
        expected = ranker[name].float()
        if "inv_freq" not in name:
            rows = slice(len(base[name])) if "embed" in name or "lm_head" in name else slice(None)
            step = domain[name].float() - base[name].float()
            expected[rows] = torch.add(expected[rows], step, alpha=0.7)
        assert torch.equal(tensor, expected.to(ranker[name].dtype)), name
