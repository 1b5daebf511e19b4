"""What makes a folder of the factory awkward, or wrong, in ways that published ones are."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

from testing import Triple, lora_adapter
from tests.families.by_hand import files, transformer_of

Edit = Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]

#: Hub id to keys that the factory's config.json has and its own lacks, and keys the other way round. Sizes and dtypes
#: are the factory's.
PUBLISHED: dict[str, tuple[tuple[str, ...], dict[str, object]]] = {
    "distilbert-base-uncased": (("torch_dtype",), {"transformers_version": "4.10.0.dev0"}),
    "nlpie/bio-distilbert-uncased": ((), {"_name_or_path": "distilbert-base-uncased"}),
    "sentence-transformers/msmarco-distilbert-base-v2": (
        ("torch_dtype",), {"_name_or_path": "old_models/msmarco-distilbert-base-v2/0_Transformer",
                           "transformers_version": "4.7.0"}),
    "roberta-base": (("torch_dtype", "use_cache", "position_embedding_type"), {}),
    "allenai/biomed_roberta_base": (
        ("torch_dtype", "use_cache", "position_embedding_type"),
        {"finetuning_task": None, "id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "is_decoder": False, "num_labels": 2,
         "output_past": True, "pruned_heads": {}, "torchscript": False, "use_bfloat16": False}),
    "sentence-transformers/msmarco-roberta-base-v2": (
        ("torch_dtype",), {"_name_or_path": "old_models/msmarco-roberta-base-v2/0_Transformer",
                           "gradient_checkpointing": False, "transformers_version": "4.7.0"}),
    "bert-base-uncased": (("torch_dtype",), {"gradient_checkpointing": False, "transformers_version": "4.6.0.dev0"}),
    "google-t5/t5-base": (
        ("torch_dtype", "feed_forward_proj", "num_decoder_layers", "tie_word_embeddings"),
        {"task_specific_params": {"summarization": {"max_length": 200, "num_beams": 4, "prefix": "summarize: "}}}),
    "razent/SciFive-base-Pubmed_PMC": (
        ("torch_dtype", "feed_forward_proj", "num_decoder_layers", "tie_word_embeddings"), {}),
    "castorini/monot5-base-msmarco": (
        ("torch_dtype", "tie_word_embeddings"), {"gradient_checkpointing": False, "use_cache": True}),
    "google/mt5-base": (
        ("torch_dtype",), {"tokenizer_class": "T5Tokenizer", "transformers_version": "4.1.0", "use_cache": True}),
    "airKlizz/mt5-base-wikinewssum-german": (
        (), {"_name_or_path": "google/mt5-base", "tokenizer_class": "T5Tokenizer", "use_cache": True}),
    "unicamp-dl/mt5-base-en-msmarco": (
        ("torch_dtype",), {"_name_or_path": "google/mt5-base", "tokenizer_class": "T5Tokenizer", "use_cache": True}),
}


def rewrite_json(path: Path, **changed: object) -> None:
    """Changes keys of a JSON file; None removes one."""
    content = json.loads(path.read_text()) | changed
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}, indent=2))


def configured(role: str, **keys: object) -> Callable[[Triple], None]:
    """Changes keys of a role's config.json; None removes one."""
    return lambda triple: rewrite_json(transformer_of(getattr(triple, role)) / "config.json", **keys)


def published(*, ranker: str, domain: str, base: str) -> Callable[[Triple], None]:
    """Gives the three config.json the keys of these hub ids'."""

    def change(triple: Triple) -> None:
        for folder, name in ((triple.ranker, ranker), (triple.domain, domain), (triple.base, base)):
            absent, added = PUBLISHED[name]
            path = transformer_of(folder) / "config.json"
            config = {key: value for key, value in json.loads(path.read_text()).items() if key not in absent}
            path.write_text(json.dumps(config | added, indent=2))

    return change


def rewrite(folder: Path, edit: Edit) -> None:
    """Replaces the tensors of a folder's one weight file by what `edit` makes of them."""
    (path,) = [path for path in transformer_of(folder).iterdir() if path.name in ("model.safetensors",
                                                                                  "pytorch_model.bin")]
    tensors = edit({name: tensor.clone() for name, tensor in files(folder).items()})
    if path.suffix == ".safetensors":
        save_file(tensors, path, metadata={"format": "pt"})
    else:
        torch.save(tensors, path)


def edited(edit: Edit, *roles: str) -> Callable[[Triple], None]:
    """Does that in some roles' folders."""

    def change(triple: Triple) -> None:
        for role in roles:
            rewrite(getattr(triple, role), edit)

    return change


def lacking(name: str, *roles: str) -> Callable[[Triple], None]:
    """Takes a tensor, by the end of its name, out of some roles' files."""

    def edit(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        left = {known: tensor for known, tensor in tensors.items() if not known.endswith(name)}
        assert len(left) == len(tensors) - 1
        return left

    return edited(edit, *roles)


def disagreeing(name: str, role: str) -> Callable[[Triple], None]:
    """Changes one number of a tensor, so that it is no longer what it repeats."""

    def edit(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        tensors[name].view(-1)[7] += 1
        return tensors

    return edited(edit, role)


def renamed(change_name: Callable[[str], str], *roles: str) -> Callable[[Triple], None]:
    """Gives the tensors of some roles' files other names."""
    return edited(lambda tensors: {change_name(name): tensor for name, tensor in tensors.items()}, *roles)


def removed(role: str, *names: str) -> Callable[[Triple], None]:
    """Takes files out of a role's folder."""

    def change(triple: Triple) -> None:
        for name in names:
            (getattr(triple, role) / name).unlink()

    return change


def both(*changes: Callable[[Triple], object]) -> Callable[[Triple], None]:
    """One change after the other."""

    def change(triple: Triple) -> None:
        for one in changes:
            one(triple)

    return change


class Trap:
    """An object whose unpickling makes a folder: what an unsafe pickle could do, in a form that shows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


SPRUNG = "sprung"
#: What the Trainer leaves beside the weights; all of them pickles.
TRAINING_FILES = ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth")


def trapped(*names: str, roles: tuple[str, ...] = ("ranker", "domain", "base")) -> Callable[[Triple], None]:
    """Puts pickles with code beside the weights (or in their place): opened, they make a folder `sprung` there."""

    def change(triple: Triple) -> None:
        for role in roles:
            folder = transformer_of(getattr(triple, role))
            for name in names:
                torch.save({"weight": torch.ones(2), "code": Trap(folder / SPRUNG)}, folder / name)

    return change


def sprung(triple: Triple) -> list[Path]:
    """What opened traps have made."""
    return [path for role in ("ranker", "domain", "base")
            for path in getattr(triple, role).rglob(SPRUNG)]


def replaced(role: str, make: Callable[[Path], Path]) -> Callable[[Triple], None]:
    """Puts another folder in a role's place.

    Args:
        role: whose place.
        make: writes a folder under the one it is given and returns it.
    """

    def change(triple: Triple) -> None:
        folder: Path = getattr(triple, role)
        other = make(folder.with_name("other"))
        folder.rename(folder.with_name(f"{role}-before"))
        other.rename(folder)

    return change


def adapter(role: str, *targets: str) -> Callable[[Triple], None]:
    """Makes a role a LoRA adapter over the base: the last parts of the names of the matrices that are adapted."""

    def change(triple: Triple) -> None:
        folder: Path = getattr(triple, role)
        folder.rename(folder.with_name(f"{role}-before"))
        lora_adapter(folder, triple.base, targets=targets)

    return change


def spoilt(name: str, role: str) -> Callable[[Triple], None]:
    """Makes one number of a tensor not a number."""

    def edit(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        tensors[name].view(-1)[7] = float("nan")
        return tensors

    return edited(edit, role)
