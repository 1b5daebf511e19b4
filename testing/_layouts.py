"""How a state dict is stored on disk: one file or shards with an index, safetensors or torch's pickles."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from testing._folders import as_json
from testing._weights import LazyTensor

__all__ = ["LAYOUTS", "write_weights"]


def _save_safetensors(tensors: Mapping[str, LazyTensor], path: Path) -> None:
    # Without the metadata "format", transformers refuses the file.
    save_file({name: tensor.make() for name, tensor in tensors.items()}, path, metadata={"format": "pt"})


def _save_pickle(tensors: Mapping[str, LazyTensor], path: Path) -> None:
    # Names that stand for one parameter share its storage, as in the state dict of a model with tied weights.
    made = {id(tensor): tensor.make() for tensor in tensors.values()}
    torch.save(OrderedDict((name, made[id(tensor)]) for name, tensor in tensors.items()), path)


@dataclass(frozen=True)
class _Layout:
    stem: str
    suffix: str
    sharded: bool
    save: Callable[[Mapping[str, LazyTensor], Path], None]


LAYOUTS = {
    "safetensors": _Layout("model", ".safetensors", False, _save_safetensors),
    "sharded": _Layout("model", ".safetensors", True, _save_safetensors),
    "bin": _Layout("pytorch_model", ".bin", False, _save_pickle),
    "sharded_bin": _Layout("pytorch_model", ".bin", True, _save_pickle),
}


def _split(tensors: Mapping[str, LazyTensor], count: int) -> list[dict[str, LazyTensor]]:
    """Cuts the tensors, in order, into `count` shards of about the same number of bytes, none empty."""
    if not 1 <= count <= len(tensors):
        raise ValueError(f"{len(tensors)} tensors cannot fill {count} shards")
    aim = sum(tensor.nbytes for tensor in tensors.values()) / count
    shards: list[dict[str, LazyTensor]] = [{}]
    filled = 0
    for position, (name, tensor) in enumerate(tensors.items()):
        to_open = count - len(shards)
        if shards[-1] and to_open and (filled >= aim or len(tensors) - position == to_open):
            shards.append({})
            filled = 0
        shards[-1][name] = tensor
        filled += tensor.nbytes
    return shards


def write_weights(folder: Path, tensors: Mapping[str, LazyTensor], *, layout: str, shards: int = 2) -> None:
    """Writes a state dict into a model folder.

    Args:
        folder: the folder, which exists.
        tensors: names as they shall stand in the file, in file order.
        layout: "safetensors", "sharded", "bin" or "sharded_bin"; the names of the files are transformers'.
        shards: number of shards, cut by bytes; only sharded layouts use it.

    Raises:
        ValueError: unknown layout, or fewer tensors than shards.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"unknown layout {layout!r}: choose one of {', '.join(LAYOUTS)}")
    form = LAYOUTS[layout]
    if not form.sharded:
        form.save(tensors, folder / f"{form.stem}{form.suffix}")
        return
    weight_map = {}
    for number, shard in enumerate(_split(tensors, shards), start=1):
        file_name = f"{form.stem}-{number:05d}-of-{shards:05d}{form.suffix}"
        form.save(shard, folder / file_name)
        weight_map.update(dict.fromkeys(shard, file_name))
    index = {"metadata": {"total_size": sum(tensor.nbytes for tensor in tensors.values())}, "weight_map": weight_map}
    (folder / f"{form.stem}{form.suffix}.index.json").write_bytes(as_json(index))
