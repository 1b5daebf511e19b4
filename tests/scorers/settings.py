"""One setting of a model's folder changed at a time: scored by the authors' library, by us, or refused.

Every value in every JSON file of a folder is changed, and keys that the libraries know but the folder lacks are added.
"""

import copy
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from pyterrier_taskarith import TaskArithReranker
from pyterrier_taskarith.errors import TaskArithError, library_errors
from testing import bert_triple, cross_encoder_triple, llama_triple, passages, questions, t5_triple
from tests.scorers.causal_reference import query_likelihoods
from tests.scorers.reference import t5_scores

REMOVED = object()
#: Beyond this a score has changed; rounding in other batches gives some 1e-7.
CHANGED = 2e-5
#: Keys that libraries know and folders may have: file name -> key -> values.
ADDED: dict[str, dict[str, list[Any]]] = {
    "config_sentence_transformers.json": {
        "truncate_dim": [8], "default_prompt_name": ["query", "other"], "prompts": [{"query": "ask: "}],
        "similarity_fn_name": ["dot", "euclidean"], "model_type": ["CrossEncoder", "SparseEncoder"],
        "activation_fn": ["torch.nn.modules.linear.Identity"], "num_labels": [2], "unheard_of": [1]},
    "sentence_bert_config.json": {
        "max_seq_length": [9], "do_lower_case": [True], "query_length": [4], "document_length": [6],
        "processing_kwargs": [{"text": {"max_length": 7}}], "tokenizer_args": [{"model_max_length": 8}],
        "processor_kwargs": [{"model_max_length": 8}], "config_args": [{"num_hidden_layers": 1}],
        "config_kwargs": [{"num_hidden_layers": 1}], "model_args": [{"attn_implementation": "eager"}],
        "model_kwargs": [{"attn_implementation": "eager"}], "transformer_task": ["feature-extraction"],
        "unheard_of": [1]},
    "modules.json": {},
    "1_Pooling/config.json": {
        "include_prompt": [False], "pooling_mode": ["cls", "max"], "pooling_mode_cls_token": [True],
        "pooling_mode_weightedmean_tokens": [True], "pooling_mode_lasttoken": [True], "unheard_of": [1]},
    "tokenizer_config.json": {
        "do_lower_case": [True, False], "model_max_length": [9], "truncation_side": ["left"], "padding_side": ["left"],
        "strip_accents": [True], "add_prefix_space": [True], "add_bos_token": [True, False],
        "add_eos_token": [True, False], "legacy": [True, False], "model_input_names": [["input_ids"]],
        "extra_ids": [10]},
    "config.json": {
        "hidden_act": ["relu"], "activation": ["relu"], "layer_norm_eps": [0.5], "rms_norm_eps": [0.5],
        "layer_norm_epsilon": [0.5], "position_embedding_type": ["relative_key"], "is_decoder": [True],
        "tie_word_embeddings": [True, False], "rope_theta": [10.0], "attention_bias": [True],
        "rope_scaling": [{"rope_type": "linear", "factor": 2.0}], "rope_parameters": [{"rope_type": "default",
                                                                                        "rope_theta": 10.0}],
        "pad_token_id": [1, 5], "num_labels": [2], "problem_type": ["multi_label_classification"],
        "scale_decoder_outputs": [False], "is_gated_act": [True], "dtype": ["float16"], "torch_dtype": ["float16"],
        "sliding_window": [4], "max_position_embeddings": [16], "n_positions": [16], "unheard_of": [1],
        "quantization_config": [{"quant_method": "gptq", "bits": 4}],
        "auto_map": [{"AutoModel": "modeling_other.Other"}], "relative_attention_max_distance": [4],
        "relative_attention_num_buckets": [8], "use_cache": [False], "output_hidden_states": [True],
        "return_dict": [False], "output_attentions": [True], "chunk_size_feed_forward": [4]},
    "generation_config.json": {"max_length": [4], "bad_words_ids": [[[3]]]},
}
#: What a string may be changed to, beside another word.
WORDS = {
    "hidden_act": ["relu", "silu"], "activation": ["relu"], "feed_forward_proj": ["gated-gelu"],
    "dense_act_fn": ["gelu_new"], "similarity_fn_name": ["dot", "cosine", "manhattan"],
    "padding_side": ["left", "right"],
    "truncation_side": ["left"], "pooling_mode": ["cls", "max", "lasttoken"], "dtype": ["float16", "bfloat16"],
    "torch_dtype": ["float16"], "activation_fn": ["torch.nn.modules.linear.Identity", "torch.nn.Tanh"],
    "position_embedding_type": ["relative_key_query"], "path": ["elsewhere"], "name": ["0"],
}
#: Parts of tokenizer.json that hold the vocabulary itself: other tokens are another model.
VOCABULARY = {"vocab", "merges"}


@dataclass(frozen=True)
class Change:
    """One value of one file, and what takes its place."""

    file: str
    path: tuple[str | int, ...]
    value: Any

    def __str__(self) -> str:
        value = "removed" if self.value is REMOVED else json.dumps(self.value)
        return f"{self.file}: {'.'.join(map(str, self.path))} = {value}"


@dataclass(frozen=True)
class Kind:
    """A folder and what its authors' library gives."""

    make: Callable[[Path], Path]
    reference: Callable[[Path, list[str], list[str]], np.ndarray]


def bi_encoder_scores(folder: Path, queries: list[str], texts: list[str]) -> np.ndarray:
    """Returns what SentenceTransformer gives for each pair, in float32; one text at a time, so without padding."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    options: dict[str, Any] = {"convert_to_tensor": True, "show_progress_bar": False, "batch_size": 1}
    return model.similarity_pairwise(model.encode_query(queries, **options),
                                     model.encode_document(texts, **options)).numpy()


def cross_encoder_scores(folder: Path, queries: list[str], texts: list[str]) -> np.ndarray:
    """Returns what sentence-transformers' CrossEncoder predicts for each pair, in float32; one pair at a time."""
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    scores = np.asarray(model.predict(list(zip(queries, texts, strict=True)), batch_size=1, show_progress_bar=False))
    return scores if scores.ndim == 1 else scores[:, 1]


def _t5(folder: Path, queries: list[str], texts: list[str]) -> np.ndarray:
    prompts = [f"Query: {query} Document: {text} Relevant:" for query, text in zip(queries, texts, strict=True)]
    return t5_scores(folder, prompts, ("▁false", "▁true"))


def _causal(folder: Path, queries: list[str], texts: list[str]) -> np.ndarray:
    return query_likelihoods(folder, queries, texts, "keep_prompt")


def _saved_again(folder: Path, kind: str) -> Path:
    """Returns the ranker as sentence-transformers writes it today."""
    from sentence_transformers import CrossEncoder, SentenceTransformer

    model = {"bi": SentenceTransformer, "cross": CrossEncoder}[kind](str(folder), device="cpu")
    model.save_pretrained(str(folder.parent / "again"))
    return folder.parent / "again"


KINDS: dict[str, Kind] = {
    **{f"bi-encoder {family}, as published": Kind(
        lambda folder, family=family: bert_triple(folder, family=family, max_seq_length=24).ranker,
        bi_encoder_scores) for family in ("bert", "distilbert", "roberta")},
    "bi-encoder bert, saved today": Kind(
        lambda folder: _saved_again(bert_triple(folder, max_seq_length=24, normalize=True).ranker, "bi"),
        bi_encoder_scores),
    **{f"cross-encoder {family}, as published": Kind(
        lambda folder, family=family: cross_encoder_triple(folder, family=family).ranker, cross_encoder_scores)
       for family in ("bert", "distilbert", "roberta", "electra")},
    "cross-encoder bert, saved today": Kind(
        lambda folder: _saved_again(cross_encoder_triple(folder).ranker, "cross"), cross_encoder_scores),
    "t5": Kind(lambda folder: t5_triple(folder, tokenizer_json=True).ranker, _t5),
    "llama": Kind(lambda folder: llama_triple(folder, tokenizer_json=True, dtype=torch.float32).ranker, _causal),
}


def pairs() -> tuple[list[str], list[str]]:
    """Returns queries and texts, short and too long, with capitals, accents and odd spaces."""
    asked = [*questions(2, seed=5), "Größe  Der Körper?"]
    read = [*passages(2, seed=6), "CELL growth", "é e\u0301 日本 <s> [SEP] x", " ".join(passages(3, seed=7))]
    return [query for query in asked for _ in read], read * len(asked)


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yields every value of a JSON document and where it is; of a list, the first two elements."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in VOCABULARY:
                yield from leaves(inner, (*path, key))
    elif isinstance(value, list):
        yield path, value
        for index, inner in enumerate(value[:2]):
            yield from leaves(inner, (*path, index))
    else:
        yield path, value


def alternatives(key: str | int, value: Any) -> list[Any]:
    """Returns what a value is changed to."""
    if isinstance(value, bool):
        return [not value, REMOVED]
    if isinstance(value, int):
        return [value + 1, value * 2, 1, 0, REMOVED]
    if isinstance(value, float):
        return [value * 1000, 0.0, REMOVED]
    if isinstance(value, str):
        return [*(word for word in WORDS.get(str(key), ["other"]) if word != value), REMOVED]
    if isinstance(value, list):
        return [value[:-1], REMOVED] if value else [["other"], REMOVED]
    return [1, True, "other", REMOVED]


def changes(folder: Path) -> Iterator[Change]:
    """Yields every change to every JSON file of a folder."""
    for file in sorted(folder.rglob("*.json")):
        name = file.relative_to(folder).as_posix()
        if name.endswith((".index.json", "vocab.json")):
            continue
        content = json.loads(file.read_text(encoding="utf-8"))
        for path, value in leaves(content):
            for new in alternatives(path[-1] if path else "", value):
                if path:
                    yield Change(name, path, new)
    for name, keys in ADDED.items():
        if (folder / name).is_file() or name == "generation_config.json":
            for key, values in keys.items():
                for new in values:
                    yield Change(name, (key,), new)


def changed(folder: Path, change: Change, target: Path) -> Path:
    """Writes the folder with one setting changed."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target, copy_function=os.link)
    file = target / change.file
    content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    inner = content = copy.deepcopy(content)
    for key in change.path[:-1]:
        inner = inner[key]
    if change.value is REMOVED:
        del inner[change.path[-1]]
    else:
        inner[change.path[-1]] = change.value
    file.unlink(missing_ok=True)
    file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return target


def our_scores(folder: Path, queries: list[str], texts: list[str]) -> np.ndarray:
    """Returns our scores of the pairs, in float32."""
    options = {"token_false": "▁false", "token_true": "▁true"} if (folder / "spiece.model").is_file() else {}
    frame = pd.DataFrame({"qid": [str(number) for number in range(len(queries))], "query": queries, "docno": "d",
                          "text": texts})
    reranker = TaskArithReranker(folder, vectors={}, dtype="float32", verbose=False, **options)
    return reranker(frame)["score"].to_numpy()


def outcome(kind: Kind, folder: Path, plain: np.ndarray) -> tuple[str, str]:
    """Returns what became of a changed folder, and the words of it.

    "followed" (the reference's score changed, ours to the same), "unchanged" (neither changed), "refused" (by us),
    "reference fails" (we score, the reference does not), "WRONG" (another score than the reference's), "TRACEBACK"
    (an error that is not the package's own).
    """
    queries, texts = pairs()
    try:
        with library_errors("the reference"):  # also a panic of tokenizers, which is not an Exception
            theirs, why = kind.reference(folder, queries, texts), ""
    except TaskArithError as error:
        theirs, why = None, f"{type(error).__name__}: {error}"
    try:
        ours = our_scores(folder, queries, texts)
    except (TaskArithError, OSError) as error:
        return "refused", f"{type(error).__name__}: {error}"
    except Exception as error:
        return "TRACEBACK", f"{type(error).__name__}: {error} (reference: {why or 'scores'})"
    if theirs is None:
        moved = np.abs(ours - plain).max()
        return "reference fails", f"{why}; ours moved by {moved:.2g}"
    off = np.abs(ours - theirs).max()
    if not off <= CHANGED:
        return "WRONG", f"ours is off by {off:.3g}; the reference moved by {np.abs(theirs - plain).max():.3g}"
    return ("followed" if np.abs(theirs - plain).max() > CHANGED else "unchanged"), ""
