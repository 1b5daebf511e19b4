"""Embedding rows matched by token: which row of one checkpoint is which row of another."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pyterrier_taskarith._json import read_object
from pyterrier_taskarith.errors import CheckpointError, library_errors
from pyterrier_taskarith.families import FAMILIES

#: A different vocabulary, not an extended one, if less than this share of the smaller one is found in the other.
ENOUGH_SHARED = 0.95


@dataclass(frozen=True)
class RowMatch:
    """Rows that hold the same token.

    Attributes:
        ours: int64 array of rows in the one checkpoint.
        theirs: int64 array, same length, of rows in the other.
    """

    ours: np.ndarray
    theirs: np.ndarray


def read_vocabulary(folder: Path) -> dict[str, int] | None:
    """Returns token -> row of the tokenizer in a folder, or None where there is no tokenizer.

    Read from the tokenizer's own files in this order: ``tokenizer.json``, ``vocab.txt``, ``vocab.json``, a
    sentencepiece model (with the sentinels that T5's tokenizer adds to it); then ``added_tokens.json``.
    XLM-RoBERTa's ``sentencepiece.bpe.model`` is not read: its rows are not that model's.

    Raises:
        CheckpointError: If a tokenizer file cannot be read.
    """
    for name, read in _READERS.items():
        path = folder / name
        if path.is_file():
            with library_errors(f"{path} cannot be read as a vocabulary"):
                vocabulary = dict(read(path))
            added = folder / "added_tokens.json"
            if added.is_file():
                with library_errors(f"{added} cannot be read as a vocabulary"):
                    vocabulary.update(_json(added))
            return vocabulary
    return None


def has_vocabulary(folder: Path) -> bool:
    """Returns whether a folder has a tokenizer's vocabulary."""
    return any((folder / name).is_file() for name in _READERS)


def match_rows(ours: Mapping[str, int] | None, theirs: Mapping[str, int] | None, our_rows: int, their_rows: int, *,
               us: str, them: str) -> RowMatch | None:
    """Matches the embedding rows of two checkpoints.

    Same number of rows: row i must be the same token in both, wherever both name one. Different numbers: rows are
    matched token by token.

    Args:
        ours: Token -> row, or None where the checkpoint has no tokenizer.
        theirs: The same of the other checkpoint.
        our_rows: Rows of our embedding; it may have more rows than the tokenizer has tokens.
        their_rows: Rows of theirs.
        us: What to call our checkpoint in an error.
        them: What to call the other.

    Returns:
        None where all rows match one to one, else the rows that match.

    Raises:
        CheckpointError: If the tokenizers disagree, or are needed and absent.
    """
    if our_rows == their_rows:
        if ours is not None and theirs is not None and ours != theirs:
            _same_tokens(ours, theirs, us, them)
        return None
    if ours is None or theirs is None:
        lacking = us if ours is None else them
        raise CheckpointError(f"{us} has {our_rows} embedding rows, {them} {their_rows}, and {lacking} has no "
                              "tokenizer to match them by. Put its tokenizer files beside the weights")
    shared = [(row, theirs[token]) for token, row in ours.items()
              if row < our_rows and theirs.get(token, their_rows) < their_rows]
    if len(shared) < ENOUGH_SHARED * min(len(ours), len(theirs)):
        raise CheckpointError(f"the tokenizers of {us} and {them} disagree: only {len(shared)} of {len(ours)} and "
                              f"{len(theirs)} tokens are shared. Is {them} made from the same base?")
    pairs = np.array(sorted(shared), dtype=np.int64)
    return RowMatch(pairs[:, 0], pairs[:, 1])


def _same_tokens(ours: Mapping[str, int], theirs: Mapping[str, int], us: str, them: str) -> None:
    by_row = {row: token for token, row in theirs.items()}
    differ = [(row, token, by_row[row]) for token, row in ours.items() if by_row.get(row, token) != token]
    if differ:
        row, our_token, their_token = min(differ)
        raise CheckpointError(f"the tokenizers of {us} and {them} disagree in {len(differ)} rows: row {row} is "
                              f"{our_token!r} in {us} and {their_token!r} in {them}. "
                              f"Is {them} made from the same base (cased or uncased)?")


def _tokenizers(path: Path) -> Mapping[str, int]:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(path)).get_vocab()


def _lines(path: Path) -> Mapping[str, int]:
    with path.open(encoding="utf-8") as lines:
        return {line.rstrip("\n"): row for row, line in enumerate(lines)}


def _json(path: Path) -> Mapping[str, int]:
    return {str(token): int(row) for token, row in json.loads(path.read_text(encoding="utf-8")).items()}


def _sentencepiece(path: Path) -> Mapping[str, int]:
    from sentencepiece import SentencePieceProcessor

    model = SentencePieceProcessor(model_file=str(path))
    return {model.id_to_piece(row): row for row in range(model.get_piece_size())}


def _spiece(path: Path) -> Mapping[str, int]:
    """T5's tokenizer puts ``<extra_id_99>`` … ``<extra_id_0>`` after its model's pieces; other families do not."""
    pieces = _sentencepiece(path)
    about, config = (read_object(file, {"tokenizer_class": str, "extra_ids": int}) if file.is_file() else {}
                     for file in (path.parent / "tokenizer_config.json", path.parent / "config.json"))
    with_sentinels = {str(kind): family.sentinels for kind, family in FAMILIES.items() if family.sentinels}
    named = about.get("tokenizer_class") or with_sentinels.get(str(config.get("model_type")), "")
    count = about.get("extra_ids", 100) if named.removesuffix("Fast") in with_sentinels.values() else 0
    return {f"<extra_id_{number}>": len(pieces) + count - 1 - number for number in range(count)} | dict(pieces)


#: File -> its reader, by preference.
_READERS = {"tokenizer.json": _tokenizers, "vocab.txt": _lines, "vocab.json": _json, "spiece.model": _spiece,
            "tokenizer.model": _sentencepiece}
