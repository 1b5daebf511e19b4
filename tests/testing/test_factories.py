"""The factory's folders load in the libraries that users load them with, and hold what their options say."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    T5ForConditionalGeneration,
    T5Tokenizer,
)

from testing import (
    LazyTensor,
    bert_triple,
    byte_level_bpe,
    passages,
    questions,
    sentencepiece_unigram,
    sentences,
    t5_triple,
    wordpiece,
    write_weights,
)

BERT_FAMILIES = ["bert", "distilbert", "roberta"]
LAYOUTS = ["safetensors", "sharded", "bin", "sharded_bin"]
ROLES = ["base", "domain", "ranker"]
TEXTS = [*sentences(20, seed=1), "Query: a Document: b Relevant: true false", "", "Größe: 12.5 % (naïve) \n x\ty"]


def read(folder: Path) -> dict[str, torch.Tensor]:
    """Reads a folder's tensors with the libraries of the formats, whatever its layout."""
    tensors: dict[str, torch.Tensor] = {}
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")]):
        own = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
        assert not set(own) & set(tensors)
        tensors |= own
    return tensors


def load(auto: type, folder: Path) -> tuple[torch.nn.Module, set[str], set[str]]:
    """Loads a folder and returns the model, the missing names and the unexpected names."""
    model, info = auto.from_pretrained(folder, output_loading_info=True)
    assert not info["mismatched_keys"] and not info.get("error_msgs")
    return model.eval(), set(info["missing_keys"]), set(info["unexpected_keys"])


# --- bi-encoders


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", BERT_FAMILIES)
def test_bert_folders_load_completely_in_every_layout(tmp_path, family, layout):
    triple = bert_triple(tmp_path, family=family, layout=layout)
    for role in ("base", "domain"):
        model, missing, unexpected = load(AutoModelForMaskedLM, getattr(triple, role))
        assert (missing, unexpected) == (set(), set())
        files = read(getattr(triple, role))
        assert all(name.startswith((f"{family}.", "cls.", "vocab_", "lm_head.")) for name in files)
        state = model.state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in files.items())
        assert set(files) == {name for name in state if "decoder." not in name and name != "vocab_projector.weight"}
    model, missing, unexpected = load(AutoModel, triple.ranker)
    assert (missing, unexpected) == (set(), set())
    assert set(read(triple.ranker)) == set(model.state_dict())
    assert any(name.startswith("pooler.") for name in model.state_dict()) == (family != "distilbert")


@pytest.mark.parametrize("family", BERT_FAMILIES)
def test_weights_do_not_depend_on_how_they_are_written(tmp_path, family):
    plain = bert_triple(tmp_path / "plain", family=family)
    other = bert_triple(tmp_path / "other", family=family, layout="sharded_bin", shards=3, prefixed_base=False,
                        dtype=torch.bfloat16, duplicated=True, position_ids=True)
    for role in ROLES:
        files = {name.removeprefix(f"{family}."): tensor for name, tensor in read(getattr(plain, role)).items()}
        bare = read(getattr(other, role))
        assert bare.pop("embeddings.position_ids").dtype == torch.int64
        assert {tensor.dtype for tensor in bare.values()} == {torch.bfloat16}
        assert all(torch.equal(files[name].to(torch.bfloat16), tensor) for name, tensor in bare.items())
        assert len(bare) > 20


def test_domain_and_ranker_lie_near_the_base_in_different_directions(tmp_path):
    triple = bert_triple(tmp_path)
    base, domain, ranker = (
        {name.removeprefix("bert."): tensor for name, tensor in read(getattr(triple, role)).items()} for role in ROLES)
    for name in set(base) & set(ranker):
        steps = [(tensor[name] - base[name]).flatten() for tensor in (domain, ranker)]
        assert all(step.norm() > 0 for step in steps)
        assert all(step.norm() < 0.5 * base[name].norm() for step in steps)
        assert abs(torch.cosine_similarity(*steps, dim=0)) < 0.7
    assert len(set(base) & set(ranker)) > 30


@pytest.mark.parametrize("family", BERT_FAMILIES)
def test_bare_bases_have_no_prefix_and_no_head(tmp_path, family):
    triple = bert_triple(tmp_path, family=family, prefixed_base=False)
    assert set(read(triple.base)) == {name for name in read(triple.ranker) if not name.startswith("pooler.")}
    _, missing, unexpected = load(AutoModel, triple.base)
    assert missing == {name for name in read(triple.ranker) if name.startswith("pooler.")}
    assert not unexpected


@pytest.mark.parametrize("family", BERT_FAMILIES)
def test_hazards_of_old_bert_files_load_to_the_same_model(tmp_path, family):
    plain = bert_triple(tmp_path / "plain", family=family)
    old = bert_triple(tmp_path / "old", family=family, layout="bin", position_ids=True, duplicated=True,
                      legacy_names=True)
    for role, auto in (("base", AutoModelForMaskedLM), ("domain", AutoModelForMaskedLM), ("ranker", AutoModel)):
        files = read(getattr(old, role))
        prefix = "" if role == "ranker" else f"{family}."
        assert files[f"{prefix}embeddings.position_ids"].shape == (1, 514 if family == "roberta" else 512)
        assert f"{prefix}embeddings.LayerNorm.gamma" in files and f"{prefix}embeddings.LayerNorm.weight" not in files
        model, missing, unexpected = load(auto, getattr(old, role))
        assert not missing and unexpected <= {f"{prefix}embeddings.position_ids"}
        expected, _, _ = load(auto, getattr(plain, role))
        assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in expected.state_dict().items())
    decoder = {"bert": "cls.predictions.decoder", "distilbert": "vocab_projector", "roberta": "lm_head.decoder"}[family]
    base = read(old.base)
    assert torch.equal(base[f"{decoder}.weight"], base[f"{family}.embeddings.word_embeddings.weight"])
    assert not any("decoder" in name for name in read(old.ranker))


def test_pooler_can_be_in_the_masked_models_too(tmp_path):
    triple = bert_triple(tmp_path, family="roberta", pooler_in=("base", "ranker"))
    _, missing, unexpected = load(AutoModelForMaskedLM, triple.base)
    assert not missing and unexpected == {"roberta.pooler.dense.weight", "roberta.pooler.dense.bias"}
    assert not any("pooler" in name for name in read(triple.domain))


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
@pytest.mark.parametrize("family", BERT_FAMILIES)
def test_ranker_is_a_sentence_transformer_with_the_pooling_asked_for(tmp_path, family, pooling):
    ranker = bert_triple(tmp_path, family=family, pooling=pooling, max_seq_length=16).ranker
    model = SentenceTransformer(str(ranker), device="cpu")
    assert model.max_seq_length == 16 and len(model) == 2
    backbone, tokenizer = AutoModel.from_pretrained(ranker).eval(), AutoTokenizer.from_pretrained(ranker)
    inputs = tokenizer(TEXTS[:5], padding=True, truncation=True, max_length=16, return_tensors="pt")
    with torch.inference_mode():
        states = backbone(**inputs).last_hidden_state
    mask = inputs["attention_mask"][:, :, None]
    pooled = {"cls": states[:, 0], "mean": (states * mask).sum(1) / mask.sum(1),
              "max": states.masked_fill(mask == 0, -torch.inf).amax(1)}[pooling]
    np.testing.assert_allclose(model.encode(TEXTS[:5]), pooled.numpy(), atol=1e-5)


def test_similarity_normalisation_and_prompts_reach_sentence_transformers(tmp_path):
    plain = SentenceTransformer(str(bert_triple(tmp_path / "a").ranker), device="cpu")
    options = {"similarity": "dot", "normalize": True, "prompts": {"query": "query: ", "document": "passage: "},
               "transformer_path": "0_Transformer"}
    model = SentenceTransformer(str(bert_triple(tmp_path / "b", **options).ranker), device="cpu")
    assert (plain.similarity_fn_name, model.similarity_fn_name) == ("cosine", "dot")
    assert len(model) == 3 and (tmp_path / "b/ranker/0_Transformer/model.safetensors").is_file()
    expected = plain.encode("query: acute gene")
    np.testing.assert_allclose(model.encode("acute gene", prompt_name="query"),
                               expected / np.linalg.norm(expected), atol=1e-6)


@pytest.mark.parametrize("family", BERT_FAMILIES)
def test_bi_encoder_scores_differ_between_pairs(tmp_path, family):
    model = SentenceTransformer(str(bert_triple(tmp_path, family=family).ranker), device="cpu")
    scores = model.similarity(model.encode(questions(30)), model.encode(passages(30)))
    assert scores.std() > 0.05


# --- sequence to sequence


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["t5", "mt5"])
def test_t5_folders_load_completely_in_every_layout(tmp_path, kind, layout):
    triple = t5_triple(tmp_path, kind=kind, layout=layout)
    for role in ROLES:
        folder = getattr(triple, role)
        model, missing, unexpected = load(AutoModelForSeq2SeqLM, folder)
        assert (missing, unexpected) == (set(), set())
        files, state = read(folder), model.state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in files.items())
        assert ("lm_head.weight" in files) == (kind == "mt5")
        tied = torch.equal(state["lm_head.weight"], state["shared.weight"])
        assert tied == (kind == "t5")
        assert files["shared.weight"].shape == (len(AutoTokenizer.from_pretrained(folder)) + 28, 32)
        config = json.loads((folder / "config.json").read_text())
        assert config["tie_word_embeddings"] == (kind == "t5") and config["decoder_start_token_id"] == 0
        assert config.get("n_positions") == (512 if kind == "t5" else None)


@pytest.mark.parametrize("kind", ["t5", "mt5"])
def test_old_t5_files_repeat_tied_matrices_and_load_to_the_same_model(tmp_path, kind):
    plain = t5_triple(tmp_path / "plain", kind=kind)
    old = t5_triple(tmp_path / "old", kind=kind, layout="bin", duplicated=True, stray=True)
    files = read(old.domain)
    extra = {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight",
             "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"}
    extra |= {"lm_head.weight"} if kind == "t5" else set()
    assert set(files) - set(read(plain.domain)) == extra
    assert torch.equal(files["decoder.embed_tokens.weight"], files["shared.weight"])
    model, missing, unexpected = load(T5ForConditionalGeneration if kind == "t5" else AutoModelForSeq2SeqLM, old.domain)
    assert not missing and unexpected <= {name for name in extra if "relative_attention_bias" in name}
    expected, _, _ = load(AutoModelForSeq2SeqLM, plain.domain)
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in expected.state_dict().items())


@pytest.mark.parametrize("kind", ["t5", "mt5"])
def test_prediction_tokens_are_single_and_distinct(tmp_path, kind):
    folder = t5_triple(tmp_path, kind=kind).ranker
    sentinels = 100 if kind == "t5" else 0
    for tokenizer in (T5Tokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)):
        ids = [tokenizer.encode(word) for word in ("true", "false", "yes", "no")]
        assert all(len(pair) == 2 and pair[1] == 1 for pair in ids)
        assert tokenizer.convert_ids_to_tokens([pair[0] for pair in ids]) == ["▁true", "▁false", "▁yes", "▁no"]
        assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
        assert tokenizer("Relevant: true", add_special_tokens=False)["input_ids"][-1] == ids[0][0]
        assert len(tokenizer) > 500
        if sentinels:
            assert tokenizer.convert_tokens_to_ids(["<extra_id_0>", "<extra_id_99>"]) == [
                len(tokenizer) - 1, len(tokenizer) - sentinels]


@pytest.mark.parametrize("kind", ["t5", "mt5"])
def test_pyterrier_t5_ranks_with_the_folder(tmp_path, kind):
    from pyterrier_t5 import MonoT5ReRanker, mT5ReRanker

    folder = str(t5_triple(tmp_path, kind=kind).ranker)
    frame = pd.DataFrame({"qid": [str(i // 5) for i in range(20)], "docno": [f"d{i}" for i in range(20)],
                          "query": np.repeat(questions(4), 5), "text": passages(20)})
    if kind == "t5":
        reranker = MonoT5ReRanker(tok_model=folder, model=folder, batch_size=1, device="cpu", verbose=False)
    else:
        reranker = mT5ReRanker(tok_model=folder, model=folder, batch_size=1, verbose=False)
    ranked = reranker.transform(frame.copy()).set_index("docno").loc[frame["docno"]]
    assert ranked["score"].std() > 0.05 and (ranked["score"] < 0).all()

    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    wanted = [tokenizer.encode(word)[0] for word in (("true", "false") if kind == "t5" else ("yes", "no"))]
    for row in ranked.head(3).itertuples():
        inputs = tokenizer(f"Query: {row.query} Document: {row.text} Relevant:", return_tensors="pt")
        with torch.inference_mode():
            logits = model.to(reranker.device)(**inputs.to(reranker.device), decoder_input_ids=torch.zeros(
                (1, 1), dtype=torch.long, device=reranker.device)).logits
        assert row.score == pytest.approx(logits[0, 0, wanted].log_softmax(0)[0].item(), abs=1e-4)


# --- all families


@pytest.mark.parametrize("make", [
    pytest.param(lambda folder, family=family: bert_triple(folder, family=family), id=family)
    for family in BERT_FAMILIES
] + [pytest.param(lambda folder, kind=kind: t5_triple(folder, kind=kind), id=kind) for kind in ("t5", "mt5")])
def test_tokenizers_of_a_triple_agree(tmp_path, make):
    triple = make(tmp_path)
    base, domain, ranker = (AutoTokenizer.from_pretrained(getattr(triple, role)) for role in ROLES)
    assert base(TEXTS)["input_ids"] == domain(TEXTS)["input_ids"] == ranker(TEXTS)["input_ids"]
    assert base.get_vocab() == domain.get_vocab() == ranker.get_vocab()
    ids = [i for row in ranker(TEXTS)["input_ids"] for i in row]
    assert ids.count(ranker.unk_token_id) < 0.02 * len(ids)
    model = json.loads((triple.ranker / "config.json").read_text())
    assert max(ids) < model["vocab_size"] and ranker.pad_token_id == model["pad_token_id"]


@pytest.mark.parametrize("make", [bert_triple, t5_triple])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_same_seed_writes_the_same_bytes(tmp_path, make, layout):
    def digests(parent: Path) -> dict[str, str]:
        return {str(path.relative_to(parent)): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted(parent.rglob("*")) if path.is_file()}

    for name, seed in (("first", 3), ("again", 3), ("other", 4)):
        make(tmp_path / name, layout=layout, seed=seed)
    first, again, other = (digests(tmp_path / name) for name in ("first", "again", "other"))
    assert first == again and len(first) > 10
    weights = {name for name in first if Path(name).suffix in (".bin", ".safetensors")}
    assert {name for name in first if first[name] != other[name]} == weights


@pytest.mark.slow
def test_another_process_trains_the_same_tokenizers():
    code = (
        "from testing._tokenizers import byte_level_bpe, sentencepiece_unigram, wordpiece\n"
        "import hashlib\n"
        "for made in (wordpiece(size=500, tokenizer_class='BertTokenizer'), byte_level_bpe(size=500),\n"
        "             sentencepiece_unigram(size=1000, extra_ids=100)):\n"
        "    print(hashlib.sha256(b''.join(made.files.values())).hexdigest())\n")
    there = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True, text=True,
                           capture_output=True).stdout.split()
    here = (wordpiece(size=500, tokenizer_class="BertTokenizer"), byte_level_bpe(size=500),
            sentencepiece_unigram(size=1000, extra_ids=100))
    assert there == [hashlib.sha256(b"".join(made.files.values())).hexdigest() for made in here]


def test_shards_hold_about_equal_bytes_in_file_order(tmp_path):
    def zeros(count: int) -> LazyTensor:
        return LazyTensor((count,), torch.float32, lambda: torch.zeros(count))

    write_weights(tmp_path, {"a": zeros(100), "b": zeros(10), "c": zeros(10), "d": zeros(10), "e": zeros(100)},
                  layout="sharded", shards=2)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 920  # half is 460: a, b and c reach it, with 480
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    assert index["weight_map"] == {"a": first, "b": first, "c": first, "d": second, "e": second}


@pytest.mark.parametrize("make", [bert_triple, t5_triple])
@pytest.mark.parametrize(("layout", "index"), [("sharded", "model.safetensors.index.json"),
                                               ("sharded_bin", "pytorch_model.bin.index.json")])
def test_shards_are_complete_and_indexed(tmp_path, make, layout, index):
    folder = make(tmp_path, layout=layout, shards=3, dtype=torch.float16).domain
    content = json.loads((folder / index).read_text())
    stem, suffix = index.removesuffix(".index.json").split(".")
    names = [f"{stem}-{i:05d}-of-00003.{suffix}" for i in (1, 2, 3)]
    assert sorted(path.name for path in folder.glob(f"{stem}-*")) == names
    for name in names:
        own = load_file(folder / name) if suffix == "safetensors" else torch.load(folder / name, weights_only=True)
        assert own and set(own) == {tensor for tensor, file in content["weight_map"].items() if file == name}
    tensors = read(folder)
    assert content["metadata"]["total_size"] == sum(tensor.nbytes for tensor in tensors.values())
    assert content["weight_map"].keys() == tensors.keys()


def test_options_may_differ_between_the_folders(tmp_path):
    triple = bert_triple(tmp_path, layout={"base": "bin", "domain": "sharded"}, shards={"domain": 5},
                         dtype={"ranker": torch.float16}, legacy_names={"base": True}, prefixed_base={"domain": False})
    assert (triple.base / "pytorch_model.bin").is_file() and (triple.ranker / "model.safetensors").is_file()
    assert len(list(triple.domain.glob("model-*-of-00005.safetensors"))) == 5
    dtypes = [{tensor.dtype for tensor in read(getattr(triple, role)).values()} for role in ROLES]
    assert dtypes == [{torch.float32}, {torch.float32}, {torch.float16}]
    assert json.loads((triple.ranker / "config.json").read_text())["torch_dtype"] == "float16"
    assert "bert.embeddings.LayerNorm.gamma" in read(triple.base)
    assert "embeddings.LayerNorm.weight" in read(triple.domain)


def test_sizes_are_the_callers(tmp_path):
    large = bert_triple(tmp_path / "bert", hidden=48, layers=3, heads=4, vocab=300)
    model = AutoModel.from_pretrained(large.ranker)
    assert (model.config.hidden_size, model.config.num_hidden_layers, model.config.num_attention_heads) == (48, 3, 4)
    assert model.config.vocab_size == len(AutoTokenizer.from_pretrained(large.ranker)) == 300
    t5 = T5ForConditionalGeneration.from_pretrained(
        t5_triple(tmp_path / "t5", d_model=24, layers=1, heads=3, d_kv=4, d_ff=40, rows_extra=5).ranker)
    assert t5.encoder.block[0].layer[0].SelfAttention.q.weight.shape == (12, 24)
    assert len(t5.encoder.block) == len(t5.decoder.block) == 1


@pytest.mark.parametrize(("make", "options", "message"), [
    (bert_triple, {"family": "albert"}, "unknown family 'albert'"),
    (bert_triple, {"pooling": "median"}, "unknown pooling 'median'"),
    (bert_triple, {"similarity": "euclid"}, "unknown similarity 'euclid'"),
    (bert_triple, {"layout": "zip"}, "unknown layout 'zip'"),
    (bert_triple, {"layout": {"Base": "bin"}}, "unknown roles"),
    (bert_triple, {"pooler_in": ("rankers",)}, "unknown roles"),
    (bert_triple, {"layout": "sharded", "shards": 1000}, "cannot fill 1000 shards"),
    (t5_triple, {"kind": "t5-v1.1"}, "unknown kind 't5-v1.1'"),
])
def test_wrong_options_are_named(tmp_path, make, options, message):
    with pytest.raises(ValueError, match=message):
        make(tmp_path, **options)


def test_existing_folders_are_left_alone(tmp_path):
    t5_triple(tmp_path)
    with pytest.raises(FileExistsError):
        bert_triple(tmp_path)
