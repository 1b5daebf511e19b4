"""Tokens and rows: read from the tokenizer's own files, matched between checkpoints."""

import json

import numpy as np
import pytest
from sentencepiece import SentencePieceProcessor

from pyterrier_taskarith.checkpoints import Checkpoint, match_rows
from pyterrier_taskarith.errors import CheckpointError
from testing import bert_triple, t5_triple
from tests.checkpoints.by_hand import copied

TOKENS = [f"t{i}" for i in range(100)]


def rows(tokens):
    return {token: row for row, token in enumerate(tokens)}


def match(ours, theirs, our_rows=None, their_rows=None):
    return match_rows(ours, theirs, our_rows or len(ours), their_rows or len(theirs), us="Θ_T 'a'", them="Θ_D 'b'")


def test_tokenizer_json_and_vocab_txt_say_the_same(bert, tmp_path):
    from transformers import AutoTokenizer

    folder = copied(bert.ranker, tmp_path / "copy")
    expected = AutoTokenizer.from_pretrained(bert.ranker).get_vocab()
    assert Checkpoint(folder).vocabulary == expected
    (folder / "tokenizer.json").unlink()
    assert Checkpoint(folder).vocabulary == expected == rows((folder / "vocab.txt").read_text().splitlines())


def test_vocab_json_is_read(tmp_path):
    folder = bert_triple(tmp_path, family="roberta").ranker
    from_tokenizer = Checkpoint(folder).vocabulary
    (folder / "tokenizer.json").unlink()
    assert Checkpoint(folder).vocabulary == from_tokenizer == json.loads((folder / "vocab.json").read_text())


@pytest.mark.parametrize("name", ["spiece.model", "tokenizer.model"])
def test_a_sentencepiece_model_is_read(t5, tmp_path, name):
    folder = copied(t5.ranker, tmp_path / "copy")
    (folder / "spiece.model").rename(folder / name)
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    model = SentencePieceProcessor(model_file=str(folder / name))
    vocabulary = Checkpoint(folder).vocabulary
    assert vocabulary == {model.id_to_piece(i): i for i in range(len(model))}
    assert vocabulary["▁true"] == model.piece_to_id("▁true") != vocabulary["▁false"]


@pytest.mark.parametrize("kind", ["t5", "mt5"])
@pytest.mark.parametrize("named", [True, False])
def test_t5s_sentinels_are_tokens_though_its_sentencepiece_model_has_none(tmp_path, kind, named):
    from transformers import AutoTokenizer

    folder = t5_triple(tmp_path, kind=kind).ranker
    about = json.loads((folder / "tokenizer_config.json").read_text())
    if not named:
        del about["tokenizer_class"]
        (folder / "tokenizer_config.json").write_text(json.dumps(about))
    vocabulary = Checkpoint(folder).vocabulary
    assert vocabulary == AutoTokenizer.from_pretrained(folder).get_vocab()
    assert len([token for token in vocabulary if token.startswith("<extra_id_")]) == (100 if kind == "t5" else 0)


def test_added_tokens_come_on_top(bert, tmp_path):
    folder = copied(bert.ranker, tmp_path / "copy")
    plain = Checkpoint(folder).vocabulary
    (folder / "tokenizer.json").unlink()
    (folder / "added_tokens.json").write_text(json.dumps({"<new>": len(plain)}))
    assert Checkpoint(folder).vocabulary == {**plain, "<new>": len(plain)}


def test_damaged_added_tokens_are_named_and_not_the_vocabulary_beside_them(bert, tmp_path):
    folder = copied(bert.ranker, tmp_path / "copy")
    (folder / "added_tokens.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"added_tokens\.json cannot be read"):
        _ = Checkpoint(folder).vocabulary


@pytest.mark.parametrize(("name", "content"), [
    ("tokenizer_config.json", "[]"), ("tokenizer.json", '{"model": {}}'),
    # The tokenizers library panics, and a panic is not an Exception.
    ("tokenizer.json", '{"model": {"type": "Unigram", "vocab": []}, "normalizer": {"type": "Precompiled"}}')])
def test_a_tokenizer_that_transformers_cannot_load_is_named_with_its_folder(bert, tmp_path, name, content):
    folder = copied(bert.ranker, tmp_path / "copy")
    (folder / name).write_text(content)
    message = "is not a JSON object" if content == "[]" else "no tokenizer that transformers can load"
    with pytest.raises(CheckpointError, match=message) as refused:
        Checkpoint(folder).tokenizer()
    assert str(folder) in str(refused.value)


def test_a_folder_without_tokenizer_has_no_vocabulary(bert, tmp_path):
    folder = copied(bert.ranker, tmp_path / "copy")
    for name in ("tokenizer.json", "vocab.txt"):
        (folder / name).unlink()
    assert Checkpoint(folder).vocabulary is None


@pytest.mark.parametrize(("name", "content"), [("tokenizer.json", "{"), ("tokenizer.json", '{"model": {}}'),
                                               ("tokenizer.json", '{"normalizer": {"type": "Precompiled"}}'),
                                               ("vocab.txt", b"\xff\xfe\x00"), ("spiece.model", "no model")])
def test_a_damaged_tokenizer_file_is_named(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CheckpointError, match=name):
        _ = Checkpoint(tmp_path).vocabulary


def test_same_tokens_match_row_by_row():
    assert match(rows(TOKENS), rows(TOKENS)) is None


def test_tokens_that_only_one_names_are_no_disagreement_where_rows_are_equal_in_number():
    assert match(rows(TOKENS), rows(TOKENS[:90]), 128, 128) is None
    assert match(rows(TOKENS[:90]), {**rows(TOKENS[:90]), "<new>": 100}, 128, 128) is None


def test_without_tokenizers_equal_numbers_of_rows_match():
    assert match(None, rows(TOKENS), 100, 100) is None
    assert match(None, None, 100, 100) is None


def test_a_permuted_vocabulary_is_an_error_that_shows_the_first_row():
    permuted = [*TOKENS[:40], TOKENS[41], TOKENS[40], *TOKENS[42:]]
    with pytest.raises(CheckpointError, match=r"disagree in 2 rows: row 40 is 't40' in Θ_T 'a' and 't41' in Θ_D 'b'"):
        match(rows(TOKENS), rows(permuted))


def test_one_token_in_place_of_another_is_an_error():
    other = [*TOKENS[:7], "other", *TOKENS[8:]]
    with pytest.raises(CheckpointError, match="disagree in 1 rows: row 7"):
        match(rows(TOKENS), rows(other))


@pytest.mark.parametrize("place", [0, 50, 100])
def test_a_vocabulary_with_one_token_more_is_matched_by_token(place):
    longer = [*TOKENS[:place], "<new>", *TOKENS[place:]]
    found = match(rows(TOKENS), rows(longer))
    assert found.ours.tolist() == list(range(100))
    assert [longer[row] for row in found.theirs] == TOKENS
    back = match(rows(longer), rows(TOKENS))
    assert [longer[row] for row in back.ours] == [TOKENS[row] for row in back.theirs] == TOKENS
    assert found.ours.dtype == found.theirs.dtype == np.int64


def test_rows_beyond_the_tokens_are_not_matched_and_tokens_beyond_the_rows_neither():
    found = match(rows(TOKENS), rows(TOKENS), 128, 100)
    assert found.ours.tolist() == found.theirs.tolist() == list(range(100))
    found = match(rows(TOKENS), rows(TOKENS), 100, 98)
    assert found.ours.tolist() == found.theirs.tolist() == list(range(98))


def test_a_different_vocabulary_of_another_size_is_an_error():
    with pytest.raises(CheckpointError, match="only 50 of 100 and 120 tokens are shared"):
        match(rows(TOKENS), rows([*TOKENS[:50], *(f"other{i}" for i in range(70))]))


@pytest.mark.parametrize(("ours", "theirs", "lacking"), [(None, rows(TOKENS), "Θ_T 'a'"),
                                                         (rows(TOKENS), None, "Θ_D 'b'")])
def test_other_numbers_of_rows_need_both_tokenizers(ours, theirs, lacking):
    with pytest.raises(CheckpointError, match=f"101 embedding rows.*{lacking} has no tokenizer"):
        match(ours, theirs, 101, 100)


def test_t5s_rows_beyond_its_tokens_do_not_matter(tmp_path):
    made = t5_triple(tmp_path, rows_extra=28)
    checkpoint = Checkpoint(made.ranker)
    assert checkpoint.shapes["shared.weight"][0] == len(checkpoint.vocabulary) + 28
    other = Checkpoint(made.base)
    count = checkpoint.shapes["shared.weight"][0]
    assert match(checkpoint.vocabulary, other.vocabulary, count, count) is None
