"""The header of a safetensors file: checked by the safetensors library, then read for where each tensor is.

The format (https://huggingface.co/docs/safetensors): eight bytes, little-endian, with the header's length; the header,
one JSON object of name -> dtype, shape and data_offsets; then the tensors' bytes, without gaps. The library does not
say where a tensor is, and of a name that is written twice it silently takes the last.
"""

import json
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from pyterrier_taskarith.errors import CheckpointError, first_line, what_to_do

#: The longest header that the safetensors library takes, in bytes.
MOST_HEADER = 100_000_000

#: The format's code -> the type that a merge can use; other types need scales that are stored elsewhere.
DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}
#: As many dimensions as a PyTorch tensor can have.
_MOST_DIMENSIONS = 64


@dataclass(frozen=True)
class TensorLocation:
    """Where a tensor's bytes are in a file: little-endian, row by row.

    Attributes:
        path: The file.
        name: The tensor's name in the file.
        offset: Of the first byte, from the start of the file.
        nbytes: Number of bytes.
        code: The format's name of the elements' type.
        shape: Shape of the tensor.
    """

    path: Path
    name: str
    offset: int
    nbytes: int
    code: str
    shape: tuple[int, ...]

    @property
    def dtype(self) -> torch.dtype:
        """Type of the elements.

        Raises:
            CheckpointError: If it is not one of :data:`DTYPES`.
        """
        if self.code not in DTYPES:
            raise CheckpointError(f"{self.path}: tensor {self.name!r} is stored as {self.code}, which no merge can "
                                  "use. Name the model as it was before quantisation")
        return DTYPES[self.code]


@dataclass(frozen=True)
class Header:
    """A valid header: name -> tensor in the order of the bytes, and free-form texts."""

    entries: Mapping[str, TensorLocation]
    metadata: Mapping[str, str]


def read_header(path: Path) -> Header:
    """Returns the header of a safetensors file, reading nothing else.

    Raises:
        CheckpointError: If the file is absent, cut off, too long, or its header is not valid.
    """
    try:
        with path.open("rb") as file:
            start = file.read(8)
            if start.startswith(b"version"):
                raise CheckpointError(f"{path} is a git-lfs pointer, not the weights. Run `git lfs pull` in its "
                                      "folder, or fetch it through the hub. Is the download complete?")
            with safe_open(path, framework="numpy"):
                length = struct.unpack("<Q", start)[0]
            header = json.loads(file.read(length), object_pairs_hook=unique)
        metadata = header.pop("__metadata__", None) or {}
        entries = {name: _entry(path, name, about, 8 + length) for name, about in header.items()}
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} cannot be read as safetensors: {first_line(error)}. {what_to_do(error)}"
                              ) from error
    return Header(dict(sorted(entries.items(), key=lambda item: (item[1].offset, item[1].nbytes))), metadata)


def _entry(path: Path, name: str, about: object, start: int) -> TensorLocation:
    if not isinstance(about, dict):  # the library takes a list too
        raise ValueError(f"tensor {name!r} needs dtype, shape and data_offsets")
    shape, (begin, end) = tuple(about["shape"]), about["data_offsets"]
    if len(shape) > _MOST_DIMENSIONS or math.prod(n for n in shape if n) >= 2**63:
        raise ValueError(f"tensor {name!r} has a shape that PyTorch cannot have: {str(shape)[:80]}")
    return TensorLocation(path, name, start + begin, end - begin, about["dtype"], shape)


def unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Returns the dict of one JSON object; for ``json.loads(..., object_pairs_hook=unique)``.

    Raises:
        ValueError: If a name is there twice, or cannot be written as UTF-8.
    """
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the name {name!r} is there twice")
        name.encode("utf-8")  # half a surrogate pair is JSON, but not text
        found[name] = value
    return found
