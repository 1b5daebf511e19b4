"""Copies of a triple that one test changes: tokens added, names lost, values damaged."""

from collections.abc import Callable
from pathlib import Path

import torch

from testing import Triple
from tests.checkpoints.by_hand import copied, raw, rewrite, rewrite_config

#: Parameters of a BERT file with one row a token, by the end of their name.
BY_TOKEN = ("word_embeddings.weight", "cls.predictions.bias", "cls.predictions.decoder.weight",
            "cls.predictions.decoder.bias")


def copy_of(triple: Triple, folder: Path) -> Triple:
    """A copy of all three folders."""
    return Triple(*(copied(getattr(triple, role), folder / role) for role in ("ranker", "domain", "base")))


def tokens_of(folder: Path) -> list[str]:
    """The tokens of a BERT folder, by row."""
    return (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()


def reorder_tokens(folder: Path, tokens: list[str]) -> None:
    """Gives a BERT folder these tokens: known ones keep their rows' values, new ones get random values."""
    old = {token: row for row, token in enumerate(tokens_of(folder))}
    generator = torch.Generator().manual_seed(len(tokens))

    def change(tensors):
        for name, tensor in tensors.items():
            if name.endswith(BY_TOKEN):
                new = torch.randn(len(tokens), *tensor.shape[1:], generator=generator).to(tensor.dtype)
                for row, token in enumerate(tokens):
                    if token in old:
                        new[row] = tensor[old[token]]
                tensors[name] = new
        return tensors

    rewrite(folder, change)
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    (folder / "tokenizer.json").unlink(missing_ok=True)
    rewrite_config(folder, vocab_size=len(tokens))


def without(folder: Path, name: str) -> None:
    """Takes a tensor, by the end of its name, out of a folder's file."""
    rewrite(folder, lambda tensors: {known: t for known, t in tensors.items() if not known.endswith(name)})


def changed(folder: Path, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Replaces a tensor, by the end of its name, by what `change` makes of a copy of it."""
    (full,) = [known for known in raw(folder) if known.endswith(name)]
    rewrite(folder, lambda tensors: {**tensors, full: change(tensors[full])})


def filled(folder: Path, name: str, value: float, count: int) -> None:
    """Sets the first `count` numbers of a tensor, by the end of its name."""
    def change(tensor):
        tensor.view(-1)[:count] = value
        return tensor

    changed(folder, name, change)


def files(folder: Path) -> dict[str, bytes]:
    """Every file under a folder, by its path in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Everything under a folder, its hidden files and empty folders too."""
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
            for path in folder.rglob("*")}
