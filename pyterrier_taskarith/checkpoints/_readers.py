"""Weight files as lazy tensors: safetensors and .bin, single and sharded."""

import json
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open

from pyterrier_taskarith.checkpoints._errors import CheckpointError

#: Weight files by preference, which is transformers' own. Only these exact names are opened: other ``.bin`` files may
#: be unsafe pickles.
WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                "pytorch_model.bin.index.json")


class WeightFile(Protocol):
    """One file of tensors. What it hands out must never be edited: pages are shared with later reads."""

    path: Path

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Returns name -> shape, reading no weights."""

    def dtype(self, name: str) -> torch.dtype:
        """Returns the dtype in the file."""

    def tensor(self, name: str) -> torch.Tensor:
        """Returns one tensor, on the CPU, in the file's dtype."""

    def close(self) -> None:
        """Lets go of the mapped pages; the next read opens the file again."""


class SafetensorsFile:
    """A ``.safetensors`` file, mapped into memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: Any = None
        self._shapes: dict[str, tuple[int, ...]] | None = None

    def _open(self) -> Any:  # noqa: ANN401 - safe_open has no public type
        if self._handle is None:
            try:
                self._handle = safe_open(self.path, framework="pt", device="cpu")
            except (SafetensorError, OSError) as error:
                raise CheckpointError(f"{self.path} cannot be read as safetensors ({error}). "
                                      "Is the download complete?") from error
        return self._handle

    def metadata(self) -> dict[str, str]:
        """Returns the free-form metadata of the header."""
        return dict(self._open().metadata() or {})

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Returns name -> shape, from the header alone."""
        if self._shapes is None:
            handle = self._open()
            self._shapes = {name: tuple(handle.get_slice(name).get_shape()) for name in handle.keys()}
        return self._shapes

    def dtype(self, name: str) -> torch.dtype:
        """Returns the dtype in the file."""
        code = self._open().get_slice(name).get_dtype()
        if code not in _DTYPES:
            raise CheckpointError(f"{self.path}: tensor {name!r} is stored as {code}, which no merge can use")
        return _DTYPES[code]

    def tensor(self, name: str) -> torch.Tensor:
        """Returns one tensor without copying it."""
        return self._open().get_tensor(name)

    def close(self) -> None:
        """Unmaps the file once no tensor of it is in use."""
        self._handle = None


class BinFile:
    """A ``pytorch_model.bin``: a pickle, from which nothing but tensors is accepted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._state: dict[str, torch.Tensor] | None = None
        self._about: dict[str, tuple[tuple[int, ...], torch.dtype]] | None = None

    def _load(self) -> dict[str, torch.Tensor]:
        if self._state is None:
            try:
                # Files from before PyTorch 1.6 are no zip archives and cannot be mapped.
                state = torch.load(self.path, map_location="cpu", weights_only=True, mmap=_is_zip(self.path))
            except pickle.UnpicklingError as error:
                if not _is_pickle(self.path):
                    raise CheckpointError(f"{self.path} is no file that PyTorch wrote. Is the download complete, or is "
                                          "it a git-lfs pointer?") from error
                raise CheckpointError(
                    f"{self.path} holds something other than tensors{_refused(error)}, which would run code on "
                    "loading; refused. Ask its author for safetensors, or convert it where you trust it"
                ) from error
            except (RuntimeError, OSError, EOFError, ValueError) as error:
                raise CheckpointError(f"{self.path} cannot be read as PyTorch weights ({_first_line(error)}). "
                                      "Is the download complete?") from error
            if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
                raise CheckpointError(f"{self.path} holds no plain mapping of names to tensors")
            # A saved nn.Parameter would drag gradients along.
            self._state = {str(name): value.detach() for name, value in state.items()}
        return self._state

    def _facts(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        if self._about is None:
            self._about = {name: (tuple(value.shape), value.dtype) for name, value in self._load().items()}
        return self._about

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Returns name -> shape."""
        return {name: shape for name, (shape, _) in self._facts().items()}

    def dtype(self, name: str) -> torch.dtype:
        """Returns the dtype in the file."""
        return self._facts()[name][1]

    def tensor(self, name: str) -> torch.Tensor:
        """Returns one tensor, mapped where the file allows it."""
        return self._load()[name]

    def close(self) -> None:
        """Drops the loaded tensors."""
        self._state = None


def open_weights(folder: Path) -> list[WeightFile]:
    """Returns the weight files of a model folder: the first of :data:`WEIGHT_FILES` that it has.

    Raises:
        CheckpointError: If the folder has none, or an index names a file that is absent or outside the folder.
    """
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            if name.endswith(".index.json"):
                return [open_file(path) for path in _shards(folder / name)]
            return [open_file(folder / name)]
    raise CheckpointError(f"{folder} is no checkpoint: it has none of {', '.join(WEIGHT_FILES)}")


def open_file(path: Path) -> WeightFile:
    """Returns the reader of one weight file, by its ending."""
    return SafetensorsFile(path) if path.suffix == ".safetensors" else BinFile(path)


def shard_names(index: Path) -> list[str]:
    """Returns the names of the files that a shard index lists, all of them beside it.

    Raises:
        CheckpointError: If it is no index, or names a file elsewhere.
    """
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{index} is no shard index: it needs a 'weight_map' of tensor name to file name "
                              f"({error!r})") from error
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or name in (".", ".."):
            raise CheckpointError(f"{index} names the shard {name!r}, which is not a file of its own folder; refused")
    return sorted(names)


def _shards(index: Path) -> list[Path]:
    paths = [index.parent / name for name in shard_names(index)]
    for path in paths:
        if not path.is_file():
            raise CheckpointError(f"{index} names the shard {path.name!r}, which is absent. Is the download complete?")
    return paths


def _starts_with(path: Path, *heads: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(4).startswith(heads)


def _is_zip(path: Path) -> bool:
    return _starts_with(path, b"PK\x03\x04")


def _is_pickle(path: Path) -> bool:
    return _is_zip(path) or _starts_with(path, b"\x80")


def _refused(error: BaseException) -> str:
    """Returns what PyTorch would not load; the rest of its message tells how to run the file's code."""
    named = re.search(r"GLOBAL (\S+)", str(error))
    return f" ({named[1]})" if named else ""


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}
