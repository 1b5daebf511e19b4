"""Weights as safetensors files: headers first, room reserved, then every tensor at its offset, in any order."""

import heapq
import json
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch

from pyterrier_taskarith._parallel import run_parallel
from pyterrier_taskarith.arithmetic._merged import MergedWeights
from pyterrier_taskarith.arithmetic._pieces import OutputTensor, all_finite, output_tensor
from pyterrier_taskarith.arithmetic._tensors import FLAGS, OpenFiles, as_bytes, write_bytes
from pyterrier_taskarith.checkpoints import DTYPES
from pyterrier_taskarith.errors import MergeError
from pyterrier_taskarith.families import canonical, family_of

#: Part of the work: returns how many bytes of the output it wrote.
Job = Callable[[], int]
_CODES = {dtype: code for code, dtype in DTYPES.items()}
#: The data of each file start at a multiple of this: a page.
PAGE = 4096


@dataclass(frozen=True)
class Written:
    """One tensor of the output.

    Attributes:
        name: As in Θ_T's files.
        parameter: Its canonical name; None for a buffer or what the model ignores, which is copied.
        dtype: In the output.
        shape: Its shape.
    """

    name: str
    parameter: str | None
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Its bytes in the output."""
        return self.dtype.itemsize * int(torch.Size(self.shape).numel())


def tensors(merge: MergedWeights, dtype: torch.dtype | None) -> list[Written]:
    """Returns what is written, in the order of Θ_T's files; a tied matrix once, under its own name.

    Args:
        merge: The merge.
        dtype: Of the floating-point parameters; None: as in Θ_T.
    """
    ranker = merge.ranker
    family = replace(family_of(str(ranker.config["model_type"])), tied={})
    # Of a tied group, the name of the matrix itself: transformers makes the others from it.
    chosen = {min(held, key=lambda raw: canonical(raw, family, tied=False) != name): name
              for name, held in ranker.names.parameters.items()}
    kept = {*ranker.names.buffers, *ranker.names.ignored}
    found = []
    for raw, file in ranker.raw.items():
        if raw in chosen or raw in kept:
            stored = file.stored_dtype(raw)
            out = dtype if dtype is not None and raw in chosen and stored.is_floating_point else stored
            found.append(Written(raw, chosen.get(raw), out, tuple(file.shapes()[raw])))
    return found


def into_shards(written: list[Written], most: int) -> dict[str, list[Written]]:
    """Cuts the tensors into files of at most ``most`` bytes, named as transformers does; a larger tensor is one alone.

    Args:
        written: Tensors in order.
        most: Bytes of tensors in a file.

    Returns:
        File name -> its tensors, wider types first, so that each starts at a multiple of its element's size.
    """
    shards: list[list[Written]] = [[]]
    size = 0
    for tensor in written:
        if shards[-1] and size + tensor.nbytes > most:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += tensor.nbytes
    names = ["model.safetensors"] if len(shards) == 1 else [
        f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    return {name: sorted(shard, key=lambda tensor: -tensor.dtype.itemsize)
            for name, shard in zip(names, shards, strict=True)}


def write_index(shards: dict[str, list[Written]], folder: Path) -> None:
    """Writes ``model.safetensors.index.json`` where there are several files."""
    if len(shards) > 1:
        total = sum(tensor.nbytes for shard in shards.values() for tensor in shard)
        files = {tensor.name: name for name, shard in shards.items() for tensor in shard}
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(files.items()))}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def write_weights(merge: MergedWeights, shards: dict[str, list[Written]], folder: Path, *,
                  beside: Iterable[tuple[float, Job]] = (), done: Callable[[int], None] | None = None) -> None:
    """Computes and writes every tensor.

    Args:
        merge: What to write.
        shards: File name -> its tensors.
        folder: Where; the files must not exist.
        beside: Other work for the same threads, as (how far through all of it, job), in this order.
        done: Called with the number of bytes of each write, one call at a time.

    Raises:
        MergeError: If a weight is not finite, or a file that is read ends too early.
        OSError: If there is no room or a file cannot be read or written.
    """
    with OpenFiles() as files:
        pieces: list[tuple[_Target, OutputTensor]] = []
        whole: list[_Target] = []
        for name, shard in shards.items():
            path, offsets = folder / name, _offsets(shard)
            data = _new_file(path, offsets)
            for tensor, offset in offsets.items():
                target = _Target(path, files, data + offset, tensor)
                wanted = _output(merge, tensor, files)
                if wanted is None:
                    whole.append(target)
                elif wanted.count:
                    pieces.append((target, wanted))
        run_parallel(map(itemgetter(1), heapq.merge(_jobs(merge, pieces), beside, key=itemgetter(0))), done)
        for target in whole:
            target.write(_checked(merge, target.tensor).contiguous(), 0)
            if done is not None:
                done(target.tensor.nbytes)


def _output(merge: MergedWeights, tensor: Written, files: OpenFiles) -> OutputTensor | None:
    """Returns how to compute a tensor in pieces; None where it must be computed whole."""
    ranker = merge.ranker
    if tensor.parameter is not None:
        return output_tensor(ranker, tensor.parameter, merge.steps(tensor.parameter), tensor.dtype, files.parameter)
    source = files.raw(ranker.raw[tensor.name], tensor.name)
    count = int(torch.Size(tensor.shape).numel())
    return None if source is None else OutputTensor(source, (), count, 1, tensor.dtype)


def _jobs(merge: MergedWeights, pieces: "list[tuple[_Target, OutputTensor]]") -> Iterator[tuple[float, Job]]:
    total, begun = sum(wanted.count for _, wanted in pieces), 0
    for target, wanted in pieces:
        for start, count in wanted.pieces():
            yield (begun + start) / total, partial(_write_piece, merge, target, wanted, start, count)
        begun += wanted.count


def _write_piece(merge: MergedWeights, target: "_Target", wanted: OutputTensor, start: int, count: int) -> int:
    made = wanted.compute(start, count)
    if target.tensor.parameter is not None and not all_finite(made):
        _checked(merge, target.tensor)
    return target.write(made, start)


def _checked(merge: MergedWeights, tensor: Written) -> torch.Tensor:
    """Returns a whole tensor of the output.

    Raises:
        MergeError: If a value of it, or of a tensor it is computed from, is NaN or infinite.
    """
    if tensor.parameter is None:
        return merge.ranker.raw[tensor.name].tensor(tensor.name)
    made = merge.tensor(tensor.parameter).to(tensor.dtype)
    if made.is_floating_point() and not torch.isfinite(made).all():
        raise MergeError(f"Θ': {tensor.parameter} has values that {str(tensor.dtype).removeprefix('torch.')} cannot "
                         "hold; save with dtype='float32', or with a smaller α")
    return made


@dataclass(frozen=True)
class _Target:
    """Where a tensor of the output goes: a file and the offset of its first byte."""

    path: Path
    files: OpenFiles
    offset: int
    tensor: Written

    def write(self, values: torch.Tensor, start: int) -> int:
        """Writes elements from ``start`` on; returns how many bytes they are."""
        with _named(self.path), self.files.descriptor(self.path, os.O_RDWR) as file:
            write_bytes(file, self.offset + start * values.dtype.itemsize, as_bytes(values))
        return values.nbytes


def _offsets(shard: list[Written]) -> dict[Written, int]:
    """Returns each tensor's offset from the first byte of the data."""
    ends = accumulate((tensor.nbytes for tensor in shard), initial=0)
    return dict(zip(shard, ends, strict=False))


def _new_file(path: Path, offsets: Mapping[Written, int]) -> int:
    """Makes a safetensors file with its header and room for its data.

    Args:
        path: It must not exist.
        offsets: Offset of each tensor in the data, ascending.

    Returns:
        The offset of the data.

    Raises:
        OSError: If there is no room.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    size = 0
    for tensor, offset in offsets.items():
        size = offset + tensor.nbytes
        header[tensor.name] = {"dtype": _CODES[tensor.dtype], "shape": list(tensor.shape),
                               "data_offsets": [offset, size]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % PAGE)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | FLAGS, 0o666)
    try:
        with _named(path):
            write_bytes(file, 0, struct.pack("<Q", len(text)) + text)
            if hasattr(os, "posix_fallocate"):
                # A disk that is too small says so now, not after an hour.
                os.posix_fallocate(file, 0, 8 + len(text) + size)
            else:
                os.ftruncate(file, 8 + len(text) + size)
        return 8 + len(text)
    finally:
        os.close(file)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Gives an error of the disk the file's name, which calls on descriptors leave out."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
