"""Weight files as lazy tensors: safetensors and .bin, single and sharded."""

import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open

from pyterrier_taskarith.checkpoints._header import DTYPES, Header, Place, read_header
from pyterrier_taskarith.checkpoints._index import INDEX, read_index
from pyterrier_taskarith.errors import CheckpointError

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
        """Returns the dtype of what :meth:`tensor` gives."""

    def stored_dtype(self, name: str) -> torch.dtype:
        """Returns the dtype that a merged model has by default: the published one."""

    def tensor(self, name: str) -> torch.Tensor:
        """Returns one tensor, on the CPU."""

    def place(self, name: str) -> Place | None:
        """Returns where on disk a tensor lies, for reading without mapping the file; None where it cannot be told."""

    def unmap(self) -> None:
        """Lets go of the mapped pages; the next read maps them again."""

    def close(self) -> None:
        """Lets go of all that is held in memory; the next read opens the file again."""


class SafetensorsFile:
    """A ``.safetensors`` file, mapped into memory."""

    def __init__(self, path: Path, listed: frozenset[str] | None = None) -> None:
        self.path = path
        self._listed = listed
        self._handle: Any = None
        self._known: Header | None = None
        self._shapes: Mapping[str, tuple[int, ...]] = {}

    def _header(self) -> Header:
        if self._known is None:
            header = read_header(self.path)
            _check_listed(self.path, header.entries, self._listed)
            self._known = header
            self._shapes = {name: entry.shape for name, entry in header.entries.items()}
        return self._known

    def metadata(self) -> dict[str, str]:
        """Returns the free-form metadata of the header."""
        return dict(self._header().metadata)

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Returns name -> shape, from the header alone, in the order of the file's bytes."""
        self._header()
        return self._shapes

    def dtype(self, name: str) -> torch.dtype:
        """Returns the dtype in the file."""
        code = self._header().entries[name].code
        if code not in DTYPES:
            raise CheckpointError(f"{self.path}: tensor {name!r} is stored as {code}, which no merge can use. Name the "
                                  "model as it was before quantisation")
        return DTYPES[code]

    def stored_dtype(self, name: str) -> torch.dtype:
        """Returns the dtype in the file."""
        return self.dtype(name)

    def place(self, name: str) -> Place:
        """Returns where on disk a tensor lies, from the header alone: for reading without mapping the file."""
        entry = self._header().entries[name]
        return Place(self.path, entry.begin, entry.nbytes, self.dtype(name), entry.shape)

    def tensor(self, name: str) -> torch.Tensor:
        """Returns one tensor; without copying it, unless it starts where none of its type may."""
        place = self.place(name)
        try:
            if place.offset % place.dtype.itemsize:
                return _copied(place)
            if self._handle is None:
                self._handle = safe_open(self.path, framework="pt", device="cpu")
            return self._handle.get_tensor(name)
        except (SafetensorError, OSError, RuntimeError) as error:
            raise CheckpointError(f"{self.path}: tensor {name!r} cannot be read ({_first_line(error)}). "
                                  "Is the download complete?") from error

    def unmap(self) -> None:
        """Unmaps the file once no tensor of it is in use."""
        self._handle = None

    close = unmap


def _copied(place: Place) -> torch.Tensor:
    """Reads a tensor at an address that is no multiple of its element's size: PyTorch's kernels expect one."""
    with place.path.open("rb") as file:
        file.seek(place.offset)
        data = bytearray(file.read(place.nbytes))
    if len(data) != place.nbytes:
        raise OSError(f"the file ends at byte {place.offset + len(data)}")
    return torch.frombuffer(data, dtype=place.dtype).reshape(place.shape) if data else torch.empty(
        place.shape, dtype=place.dtype)


class BinFile:
    """A ``pytorch_model.bin``: a pickle, from which nothing but tensors is accepted."""

    def __init__(self, path: Path, listed: frozenset[str] | None = None) -> None:
        self.path = path
        self._listed = listed
        self._mapped = False
        self._state: dict[str, torch.Tensor] | None = None
        self._about: dict[str, tuple[tuple[int, ...], torch.dtype]] | None = None
        self._shapes: Mapping[str, tuple[int, ...]] = {}

    def _load(self) -> dict[str, torch.Tensor]:
        if self._state is None:
            try:
                # Files from before PyTorch 1.6 are not zip archives and cannot be mapped: they are loaded whole.
                self._mapped = _is_zip(self.path)
                state = torch.load(self.path, map_location="cpu", weights_only=True, mmap=self._mapped)
            except pickle.UnpicklingError as error:
                if not _is_pickle(self.path):
                    raise CheckpointError(f"{self.path} is no file that PyTorch wrote. Is the download complete, or is "
                                          "it a git-lfs pointer?") from error
                raise CheckpointError(
                    f"{self.path} holds something other than tensors{_refused(error)}, which would run code on "
                    "loading; refused. Ask its author for safetensors, or convert it where you trust it"
                ) from error
            except Exception as error:  # what the parsers of three formats make of damaged bytes
                raise CheckpointError(f"{self.path} cannot be read as PyTorch weights ({_first_line(error)}). "
                                      "Is the download complete?") from error
            if not isinstance(state, dict) or not all(
                    isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()):
                raise CheckpointError(f"{self.path} holds no plain mapping of names to tensors")
            for name, value in state.items():
                if not _is_plain(value):
                    raise CheckpointError(f"{self.path}: {name!r} is no plain tensor that the file holds in full; "
                                          "refused")
            _check_listed(self.path, state, self._listed)
            # A saved nn.Parameter would drag gradients along.
            self._state = {name: value.detach() for name, value in state.items()}
        return self._state

    def _facts(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        if self._about is None:
            self._about = {name: (tuple(value.shape), value.dtype) for name, value in self._load().items()}
            self._shapes = {name: shape for name, (shape, _) in self._about.items()}
        return self._about

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Returns name -> shape."""
        self._facts()
        return self._shapes

    def dtype(self, name: str) -> torch.dtype:
        """Returns the dtype in the file."""
        return self._facts()[name][1]

    def stored_dtype(self, name: str) -> torch.dtype:
        """Returns the dtype in the file."""
        return self.dtype(name)

    def place(self, name: str) -> None:
        """Returns None: PyTorch maps the file where it can, and tells no offsets."""

    def tensor(self, name: str) -> torch.Tensor:
        """Returns one tensor, mapped where the file allows it."""
        return self._load()[name]

    def unmap(self) -> None:
        """Unmaps the file; one that cannot be mapped stays loaded, as every read of it would load it whole again."""
        if self._mapped:
            self._state = None

    def close(self) -> None:
        """Drops the loaded tensors."""
        self._state = None


def open_weights(folder: Path) -> list[WeightFile]:
    """Returns the weight files of a model folder: the first of :data:`WEIGHT_FILES` that it has.

    Raises:
        CheckpointError: If the folder has none, or an index names a file that is absent or outside the folder.
    """
    for name in WEIGHT_FILES:
        path = folder / name
        if path.is_file():
            if not name.endswith(INDEX):
                return [open_file(path)]
            return [open_file(_shard(path, shard), listed) for shard, listed in read_index(path).items()]
    raise CheckpointError(f"{folder} is no checkpoint: it has none of {', '.join(WEIGHT_FILES)}")


def open_file(path: Path, listed: frozenset[str] | None = None) -> WeightFile:
    """Returns the reader of one weight file, by its ending.

    Args:
        path: The file.
        listed: The names that an index says it has; None where there is no index.
    """
    return SafetensorsFile(path, listed) if path.suffix == ".safetensors" else BinFile(path, listed)


def _shard(index: Path, name: str) -> Path:
    path = index.parent / name
    if not path.is_file():
        raise CheckpointError(f"{index} names the shard {name!r}, which is absent. Is the download complete?")
    return path


def _check_listed(path: Path, names: Iterable[str], listed: frozenset[str] | None) -> None:
    """Refuses a shard with other tensors than its index says: versions of transformers disagree on what to read then.

    Raises:
        CheckpointError: Naming what is missing or too much.
    """
    if listed is None:
        return
    held = frozenset(names)
    for differ, says in ((listed - held, "lacks {} that its index says it has"),
                         (held - listed, "has {} that its index does not say it has")):
        if differ:
            some = ", ".join(sorted(differ)[:5]) + (" …" if len(differ) > 5 else "")
            raise CheckpointError(f"{path} {says.format(f'{len(differ)} tensors ({some})')}. Are shards and index of "
                                  "one download?")


def _starts_with(path: Path, *heads: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(4).startswith(heads)


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether a tensor has all its values in the file: not sparse, not quantised, not one value said to be many."""
    return (tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
            and tensor.nbytes <= tensor.untyped_storage().nbytes())


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
