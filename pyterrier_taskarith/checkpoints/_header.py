"""The header of a safetensors file, read by hand and believed only where every byte of it adds up.

The format (https://huggingface.co/docs/safetensors): eight bytes, little-endian, with the header's length; the header,
one JSON object of name -> dtype, shape and data_offsets; then the tensors' bytes, without gaps. The library's own
parser takes a name that is written twice; this one does not, and it tells where on disk each tensor lies.
"""

import json
import math
import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pyterrier_taskarith.errors import CheckpointError

#: The longest header that the safetensors library takes, in bytes.
MOST_HEADER = 100_000_000

#: The format's code -> the type that a merge can use.
DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}
#: Codes of types that no merge can use (most need scales that lie elsewhere) -> bits of one element.
_OTHER_BITS = {"U64": 64, "U32": 32, "U16": 16, "C64": 64, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
               "F8_E5M2FNUZ": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4}
#: Sizes and offsets are signed 64-bit numbers wherever tensors live.
_MOST = 2**63 - 1
#: As many dimensions as a PyTorch tensor can well have.
_MOST_DIMENSIONS = 64


@dataclass(frozen=True)
class Place:
    """Where a tensor's bytes lie: little-endian, row by row.

    Attributes:
        path: The file.
        offset: Of its first byte, from the start of the file.
        nbytes: How many bytes it has.
        dtype: Its type.
        shape: Its shape.
    """

    path: Path
    offset: int
    nbytes: int
    dtype: torch.dtype
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Entry:
    """One tensor as the header has it; ``code`` is the format's own name of the type, ``begin`` from file start."""

    code: str
    shape: tuple[int, ...]
    begin: int
    nbytes: int


@dataclass(frozen=True)
class Header:
    """A header that adds up.

    Attributes:
        entries: Name -> entry, in the order of the bytes.
        metadata: Free-form texts.
    """

    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]


def read_header(path: Path) -> Header:
    """Reads the header of a safetensors file and nothing else; never allocates more than the file has bytes.

    Raises:
        CheckpointError: If the file is absent, cut off, too long, or its header is not what the format says.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if len(start) < 8 or 8 + length > size or length > MOST_HEADER:
                raise CheckpointError(_no_header(path, start, length, size))
            text = file.read(length)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read as safetensors ({error})") from error
    try:
        return _checked(_parsed(text), 8 + length, size)
    except _BadHeaderError as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {error}. Is the download complete? "
                              "Fetch the file again, or ask its author") from error


class _BadHeaderError(Exception):
    """What is wrong with a header, without the file's name."""


def _no_header(path: Path, start: bytes, length: int, size: int) -> str:
    """Returns what to say of a file whose first bytes give no header's length."""
    if start.startswith(b"version"):
        return (f"{path} is a git-lfs pointer, not the weights. Run `git lfs pull` in its folder, or fetch it through "
                "the hub. Is the download complete?")
    said = f"its header should have {length} bytes" if len(start) == 8 else "it ends before its header"
    return f"{path} cannot be read as safetensors: {said}, and the file has {size}. Is the download complete?"


def _parsed(text: bytes) -> dict[str, Any]:
    if not text.startswith(b"{"):
        raise _BadHeaderError("its header is no JSON object")
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _BadHeaderError(f"its header is no JSON object ({error})") from error
    return header


def unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Makes the dict of one JSON object; for ``json.loads(..., object_pairs_hook=unique)``.

    Raises:
        ValueError: If a name is there twice, or is no text that can be written again.
    """
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the name {name!r} is there twice")
        name.encode("utf-8")  # half a surrogate pair is JSON, but no text
        found[name] = value
    return found


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _checked(header: dict[str, Any], start: int, size: int) -> Header:
    """Checks each entry, then that they cover the bytes after the header without gap or overlap."""
    metadata = header.pop("__metadata__", None)
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _BadHeaderError("its __metadata__ maps no names to texts")
    entries = {name: _entry(name, about, start) for name, about in header.items()}
    ordered = dict(sorted(entries.items(), key=lambda item: (item[1].begin, item[1].nbytes)))
    end = start
    for name, entry in ordered.items():
        if entry.begin != end:
            raise _BadHeaderError(f"tensor {name!r} begins at byte {entry.begin}, but the one before it ends at {end}")
        end += entry.nbytes
    if end != size:
        raise _BadHeaderError(f"its tensors end at byte {end}, but the file has {size}")
    return Header(ordered, metadata)


def _entry(name: str, about: object, start: int) -> Entry:
    if not isinstance(about, dict) or not {"dtype", "shape", "data_offsets"} <= set(about):
        raise _BadHeaderError(f"tensor {name!r} needs dtype, shape and data_offsets")
    code, shape, offsets = about["dtype"], about["shape"], about["data_offsets"]
    bits = DTYPES[code].itemsize * 8 if isinstance(code, str) and code in DTYPES else _OTHER_BITS.get(str(code))
    if bits is None:
        raise _BadHeaderError(f"tensor {name!r} has the unknown dtype {code!r}")
    if not _counts(shape) or not _counts(offsets) or len(offsets) != 2 or len(shape) > _MOST_DIMENSIONS \
            or math.prod(n for n in shape if n) > _MOST:
        raise _BadHeaderError(f"tensor {name!r} has the shape {_short(shape)} and the data_offsets {_short(offsets)}")
    nbytes, needs = offsets[1] - offsets[0], math.prod(shape) * bits
    if nbytes * 8 != needs:
        raise _BadHeaderError(f"tensor {name!r} of dtype {code} and shape {_short(shape)} needs {needs / 8:.0f} bytes, "
                              f"but its data_offsets {_short(offsets)} hold {nbytes}")
    return Entry(code, tuple(shape), start + offsets[0], nbytes)


def _counts(value: object) -> bool:
    """Whether a value is a list of whole numbers of at least 0."""
    return isinstance(value, list) and all(type(n) is int and 0 <= n <= _MOST for n in value)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:79] + "…"
