"""Tokenizers trained on generated text and written as the hub's folders have them, readable by transformers 4 and 5.

Each is trained once per process; writing a folder only copies the bytes.
"""

from __future__ import annotations

import io
import json
import string
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from testing._folders import as_json
from testing._text import JUDGEMENTS, training_corpus

__all__ = ["EXTRA_IDS", "TokenizerFiles", "byte_level_bpe", "extended", "sentencepiece_unigram", "with_tokenizer_json",
           "wordpiece"]

EXTRA_IDS = 100  # the sentinels <extra_id_0> … <extra_id_99> that T5's tokenizer adds to its sentencepiece model
ALPHABET = string.ascii_letters + string.digits + string.punctuation + "äöüßéèñçáíóú"


@dataclass(frozen=True)
class TokenizerFiles:
    """A tokenizer as the files of a model folder.

    Attributes:
        files: file name to content.
        size: number of token ids, which is `len(tokenizer)` once loaded.
    """

    files: Mapping[str, bytes]
    size: int

    def write(self, folder: Path) -> None:
        """Writes the files into `folder`, which exists."""
        for name, content in self.files.items():
            (folder / name).write_bytes(content)


@lru_cache
def wordpiece(*, size: int, tokenizer_class: str, cased: bool = False) -> TokenizerFiles:
    """Trains BERT's tokenizer, uncased unless said, with at most `size` tokens ([PAD] is 0, as on the hub)."""
    specials = {name: f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    alphabet = sorted(set(ALPHABET if cased else ALPHABET.lower()))
    # The trainer numbers continuation letters in the order of a hash map, and breaks ties by these numbers. Named among
    # the special tokens they keep their place, so that every process trains the same vocabulary; the tokenizer that is
    # written is a new one, for which they are ordinary tokens.
    first = [*specials.values(), *(f"##{letter}" for letter in alphabet)]
    learner = Tokenizer(models.WordPiece(unk_token=specials["unk"]))
    learner.normalizer = normalizers.BertNormalizer(lowercase=not cased)
    learner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    learner.train_from_iterator(training_corpus(), trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=first, initial_alphabet=alphabet, show_progress=False))
    vocab = learner.get_vocab()
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token=specials["unk"]))
    tokenizer.add_special_tokens(list(specials.values()))
    tokenizer.normalizer, tokenizer.pre_tokenizer = learner.normalizer, learner.pre_tokenizer
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(specials[name], vocab[specials[name]]) for name in ("cls", "sep")])
    tokens = sorted(vocab, key=vocab.__getitem__)
    named = {f"{name}_token": token for name, token in specials.items()}
    config = {"do_lower_case": not cased, "model_max_length": 512, **named, "strip_accents": None,
              "tokenize_chinese_chars": True, "tokenizer_class": tokenizer_class}
    return TokenizerFiles(
        files={
            "vocab.txt": "".join(f"{token}\n" for token in tokens).encode(),
            "tokenizer.json": tokenizer.to_str(pretty=True).encode(),
            "tokenizer_config.json": as_json(config),
            "special_tokens_map.json": as_json(named),
        },
        size=len(tokens),
    )


@lru_cache
def byte_level_bpe(*, size: int) -> TokenizerFiles:
    """Trains RoBERTa's tokenizer with at most `size` tokens, never fewer than the 256 bytes and 5 special tokens."""
    first, mask = ["<s>", "<pad>", "</s>", "<unk>"], AddedToken("<mask>", lstrip=True, special=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size - 1, special_tokens=first, show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator(training_corpus(), trainer)
    tokenizer.add_special_tokens([mask])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    # vocab.json names <mask> too, as the hub's does: readers of vocab.json and merges.txt find it nowhere else.
    vocab = dict(sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]))
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "sep_token": "</s>", "pad_token": "<pad>",
             "cls_token": "<s>"}
    mask_token = {"content": "<mask>", "lstrip": True, "normalized": False, "rstrip": False, "single_word": False}
    config = {"add_prefix_space": False, "errors": "replace", "model_max_length": 512, "trim_offsets": True,
              **named, "mask_token": "<mask>", "tokenizer_class": "RobertaTokenizer"}
    return TokenizerFiles(
        files={
            "vocab.json": json.dumps(vocab, ensure_ascii=False).encode(),
            "merges.txt": ("#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in merges)).encode(),
            "tokenizer.json": tokenizer.to_str(pretty=True).encode(),
            "tokenizer_config.json": as_json(config),
            "special_tokens_map.json": as_json({**named, "mask_token": mask_token}),
        },
        size=len(vocab),
    )


@lru_cache
def sentencepiece_unigram(*, size: int, extra_ids: int) -> TokenizerFiles:
    """Trains T5's tokenizer: `spiece.model` alone, the slow form that monoT5, SciFive and mT5 are published in.

    Args:
        size: pieces at most; the corpus bounds them too (about 600).
        extra_ids: sentinels the tokenizer class adds after the pieces: 100 for T5, 0 for mT5.

    Raises:
        RuntimeError: `▁true`, `▁false`, `▁yes` and `▁no` are not single, distinct pieces.
    """
    model = io.BytesIO()
    # One thread: the expectation step sums floats per thread, and the pieces must not depend on the machine.
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(training_corpus()), model_writer=model, model_type="unigram", vocab_size=size,
        hard_vocab_limit=False, character_coverage=1.0, required_chars=ALPHABET, num_threads=1, minloglevel=2,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    trained = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    predicted = [trained.encode(word) for word in JUDGEMENTS]
    if any(len(ids) != 1 for ids in predicted) or len({ids[0] for ids in predicted} - {2}) != len(JUDGEMENTS):
        raise RuntimeError(f"the trained sentencepiece model splits one of {JUDGEMENTS}: ids {predicted}; "
                           "make these words more frequent in testing/_text.py")
    sentinels = [f"<extra_id_{i}>" for i in range(extra_ids)]
    named = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    extra = {"additional_special_tokens": sentinels} if sentinels else {}
    return TokenizerFiles(
        files={
            "spiece.model": model.getvalue(),
            "tokenizer_config.json": as_json({**named, "extra_ids": extra_ids, **extra, "model_max_length": 512,
                                            "sp_model_kwargs": {}, "tokenizer_class": "T5Tokenizer"}),
            "special_tokens_map.json": as_json({**named, **extra}),
        },
        size=trained.get_piece_size() + extra_ids,
    )


def extended(made: TokenizerFiles, tokens: Sequence[str]) -> TokenizerFiles:
    """Adds tokens after the last one, as `add_tokens` and a resized embedding do: in every file that names tokens.

    Args:
        made: a tokenizer.
        tokens: new ones, such as Llama's `[PAD]` or a domain's terms.
    """
    if not tokens:
        return made
    files = dict(made.files)
    if "tokenizer.json" in files:
        tokenizer = Tokenizer.from_str(files["tokenizer.json"].decode())
        tokenizer.add_tokens([AddedToken(token, normalized=False) for token in tokens])
        files["tokenizer.json"] = tokenizer.to_str(pretty=True).encode()
    if "vocab.txt" in files:
        files["vocab.txt"] += "".join(f"{token}\n" for token in tokens).encode()
    else:
        files["added_tokens.json"] = as_json({token: made.size + i for i, token in enumerate(tokens)})
    return TokenizerFiles(files, made.size + len(tokens))


@lru_cache
def with_tokenizer_json(*, size: int, extra_ids: int) -> TokenizerFiles:
    """Returns the tokenizer of `sentencepiece_unigram` with `tokenizer.json` beside it, as google-t5's folders have."""
    from transformers import AutoTokenizer

    made = sentencepiece_unigram(size=size, extra_ids=extra_ids)
    with tempfile.TemporaryDirectory() as folder:
        made.write(Path(folder))
        (Path(folder) / "config.json").write_bytes(as_json({"model_type": "t5"}))
        converted = AutoTokenizer.from_pretrained(folder).backend_tokenizer.to_str(pretty=True)
    return TokenizerFiles({**made.files, "tokenizer.json": converted.encode()}, made.size)
