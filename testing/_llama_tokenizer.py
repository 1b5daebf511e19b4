"""Llama's tokenizer: byte-pair encoding with byte fallback, trained by the sentencepiece library."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from functools import lru_cache

import sentencepiece
from tokenizers import Tokenizer, decoders, models, normalizers, processors

from testing._folders import as_json
from testing._text import training_corpus
from testing._tokenizers import ALPHABET, TokenizerFiles

SPECIALS = {"unk": "<unk>", "bos": "<s>", "eos": "</s>"}  # ids 0, 1 and 2
PAD = "[PAD]"
BYTES = 256
TRAINED = 1500  # pieces, at most, that the corpus is asked for
# What Llama's corpus has and this one lacks: runs of spaces, and marks that join across the end of "Query:".
CODE = ("    return x::y", "def f(x):  return x", "see https://example.org for x := y", "          a  b   c    d")

__all__ = ["sentencepiece_bpe"]


@lru_cache
def _pieces(size: int) -> bytes:
    """Trains a sentencepiece model of exactly `size` pieces; those beyond what the corpus gives are never used."""
    from sentencepiece import sentencepiece_model_pb2

    model = io.BytesIO()
    smallest = 3 + BYTES + len(set(ALPHABET))
    if size <= smallest:
        raise ValueError(f"vocab={size} is too small: special tokens, bytes and letters alone are {smallest}")
    # As Llama's own: spaces are kept, digits stand alone, what is not in the vocabulary falls back to bytes.
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*training_corpus(), *CODE * 2000]), model_writer=model, model_type="bpe",
        vocab_size=min(size, TRAINED), hard_vocab_limit=False, character_coverage=1.0, required_chars=ALPHABET,
        byte_fallback=True, split_digits=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True, num_threads=1, minloglevel=2, unk_id=0, bos_id=1, eos_id=2, pad_id=-1)
    content = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())  # type: ignore[attr-defined]
    worst = content.pieces[-1].score
    for row in range(len(content.pieces), size):
        content.pieces.add(piece=f"<unused_{row}>", score=worst - row)
    content.trainer_spec.vocab_size = size
    written: bytes = content.SerializeToString(deterministic=True)
    return written


def _merges(vocab: Mapping[str, int]) -> list[tuple[str, str]]:
    """Returns the merges that the pieces imply, in the order of their ids, which is that of their scores."""
    found = []
    for piece, row in vocab.items():
        halves = ((piece[:cut], piece[cut:]) for cut in range(1, len(piece)))
        known = [(vocab[left], vocab[right], left, right) for left, right in halves if left in vocab and right in vocab]
        found += [(row, left, right) for _, _, left, right in sorted(known)]
    return [(left, right) for _, left, right in sorted(found, key=lambda merge: merge[0])]


def _tokenizer_json(model: bytes, pad: bool) -> bytes:
    """Returns the fast form of a sentencepiece model, as in the hub's Llama folders."""
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    vocab = {pieces.id_to_piece(row): row for row in range(pieces.get_piece_size())}
    first = 3 + BYTES
    merges = _merges({piece: row for piece, row in vocab.items() if row >= first and not piece.startswith("<unused_")})
    fast = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    fast.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    fast.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                      decoders.Strip(" ", 1, 0)])
    fast.post_processor = processors.TemplateProcessing(
        single="<s>:0 $A:0", pair="<s>:0 $A:0 <s>:1 $B:1", special_tokens=[("<s>", 1)])
    fast.add_special_tokens([*SPECIALS.values(), *([PAD] if pad else [])])
    return fast.to_str(pretty=True).encode()


@lru_cache
def sentencepiece_bpe(*, size: int, pad: bool, tokenizer_json: bool) -> TokenizerFiles:
    """Returns Llama's tokenizer: `tokenizer.model`, <unk>, <s> and </s> as 0, 1 and 2, then the bytes.

    Args:
        size: pieces, exactly.
        pad: adds [PAD] after them, as models do that were trained with padding: 32001 tokens for 32000.
        tokenizer_json: adds the fast form, `tokenizer.json`.

    Raises:
        ValueError: `size` leaves no room for what every such vocabulary has.
    """
    model = _pieces(size)
    added = {f"{name}_token": {"__type": "AddedToken", "content": token, "lstrip": False, "normalized": False,
                               "rstrip": False, "single_word": False} for name, token in SPECIALS.items()}
    config = {"add_bos_token": True, "add_eos_token": False, **added, "clean_up_tokenization_spaces": False,
              "legacy": False, "model_max_length": int(1e30), "pad_token": PAD if pad else None,
              "padding_side": "right", "sp_model_kwargs": {}, "tokenizer_class": "LlamaTokenizer"}
    named = {f"{name}_token": token for name, token in SPECIALS.items()} | ({"pad_token": PAD} if pad else {})
    files = {"tokenizer.model": model, "tokenizer_config.json": as_json(config), "special_tokens_map.json":
             as_json(named)}
    if pad:
        files["added_tokens.json"] = json.dumps({PAD: size}).encode()
    if tokenizer_json:
        files["tokenizer.json"] = _tokenizer_json(model, pad)
    return TokenizerFiles(files=files, size=size + pad)
