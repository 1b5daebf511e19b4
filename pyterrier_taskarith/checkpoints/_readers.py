"""Weight files as lazy tensors: safetensors and .bin, single and sharded."""

import json
import pickle
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from pyterrier_taskarith.checkpoints._header import MOST_HEADER, Header, TensorLocation, read_header, unique
from pyterrier_taskarith.errors import CheckpointError, first_line, some, what_to_do

#: How the name of the index of a sharded model ends.
INDEX = ".index.json"
#: Weight files by preference, which is transformers' own. Only these exact names are opened: other ``.bin`` files may
#: be unsafe pickles.
WEIGHT_FILES = ("model.safetensors", f"model.safetensors{INDEX}", "pytorch_model.bin", f"pytorch_model.bin{INDEX}")

#: Where quantised models say how they are, beside ``config.json``.
_QUANTISED = ("quantize_config.json", "quant_config.json", "quantization_config.json", "hf_quant_config.json")


class WeightFile(ABC):
    """One file of tensors. Never edit a tensor that it returns: memory is shared with later reads."""

    path: Path

    @abstractmethod
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Returns name -> shape, in the order of the file."""

    @abstractmethod
    def dtype(self, name: str) -> torch.dtype:
        """Returns the dtype of :meth:`tensor`."""

    def stored_dtype(self, name: str) -> torch.dtype:
        """Returns the dtype that a merged model has by default: the one in the file."""
        return self.dtype(name)

    @abstractmethod
    def tensor(self, name: str) -> torch.Tensor:
        """Returns one tensor, on the CPU."""

    def location(self, name: str) -> TensorLocation | None:
        """Returns where on disk a tensor is, for reading without mapping; None where that is not known."""
        return None

    @abstractmethod
    def unmap(self) -> None:
        """Unmaps the pages that were read; the next read maps them again."""

    def close(self) -> None:
        """Frees all memory; the next read opens the file again."""
        self.unmap()


class SafetensorsFile(WeightFile):
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
        return self._header().entries[name].dtype

    def location(self, name: str) -> TensorLocation:
        """Returns where on disk a tensor is, from the header alone."""
        location = self._header().entries[name]
        location.dtype  # noqa: B018 - refuses a type that no merge can use
        return location

    def tensor(self, name: str) -> torch.Tensor:
        """Returns one tensor; without copying it, unless its address is not a multiple of its element's size."""
        location = self.location(name)
        try:
            if location.offset % location.dtype.itemsize:
                return _copied(location)
            if self._handle is None:
                self._handle = safe_open(self.path, framework="pt", device="cpu")
            tensor: torch.Tensor = self._handle.get_tensor(name)
            return tensor
        except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, OverflowError) as error:
            raise CheckpointError(f"{self.path}: tensor {name!r} cannot be read ({first_line(error)}). "
                                  f"{what_to_do(error)}") from error

    def unmap(self) -> None:
        """Unmaps the file once no tensor of it is in use."""
        self._handle = None


def _copied(location: TensorLocation) -> torch.Tensor:
    """Returns a copy of a tensor at an address that PyTorch's kernels do not expect."""
    with location.path.open("rb") as file:
        file.seek(location.offset)
        data = bytearray(file.read(location.nbytes))
    if len(data) != location.nbytes:
        raise OSError(f"the file ends at byte {location.offset + len(data)}")
    return torch.frombuffer(data, dtype=location.dtype).reshape(location.shape) if data else torch.empty(
        location.shape, dtype=location.dtype)


class BinFile(WeightFile):
    """A ``pytorch_model.bin``: a pickle, from which nothing but tensors is accepted."""

    def __init__(self, path: Path, listed: frozenset[str] | None = None) -> None:
        self.path = path
        self._listed = listed
        self._mapped = False
        self._state: dict[str, torch.Tensor] | None = None
        self._dtypes: dict[str, torch.dtype] = {}
        self._shapes: dict[str, tuple[int, ...]] | None = None

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Returns name -> shape."""
        if self._shapes is None:
            state = self._loaded()
            self._dtypes = {name: value.dtype for name, value in state.items()}
            self._shapes = {name: tuple(value.shape) for name, value in state.items()}
        return self._shapes

    def dtype(self, name: str) -> torch.dtype:
        """Returns the dtype in the file."""
        self.shapes()
        return self._dtypes[name]

    def tensor(self, name: str) -> torch.Tensor:
        """Returns one tensor, mapped where the file allows it."""
        return self._loaded()[name]

    def _loaded(self) -> dict[str, torch.Tensor]:
        if self._state is None:
            state = self._load()
            if not isinstance(state, dict) or not all(
                    isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()):
                raise CheckpointError(f"{self.path} does not hold a plain mapping of names to tensors")
            for name, value in state.items():
                if not _is_plain(value):
                    raise CheckpointError(f"{self.path}: {name!r} is not a plain tensor that the file holds in full; "
                                          "refused")
            _check_listed(self.path, state, self._listed)
            # A saved nn.Parameter would drag gradients along.
            self._state = {name: value.detach() for name, value in state.items()}
        return self._state

    def _load(self) -> object:
        try:
            # Files from before PyTorch 1.6 are not zip archives and cannot be mapped: they are loaded whole.
            self._mapped = _starts_with(self.path, b"PK\x03\x04")
            return torch.load(self.path, map_location="cpu", weights_only=True, mmap=self._mapped)
        except pickle.UnpicklingError as error:
            if not self._mapped and not _starts_with(self.path, b"\x80"):
                raise CheckpointError(f"{self.path} was not written by PyTorch. Is the download complete, or is it a "
                                      "git-lfs pointer?") from error
            # PyTorch's own message tells how to run the file's code.
            named = re.search(r"GLOBAL (\S+)", str(error))
            raise CheckpointError(
                f"{self.path} holds something other than tensors{f' ({named[1]})' if named else ''}, which would run "
                "code on loading; refused. Ask its author for safetensors, or convert it where you trust it") from error
        except Exception as error:  # the parsers of three formats, each with errors of its own
            raise CheckpointError(f"{self.path} cannot be read as PyTorch weights ({first_line(error)}). "
                                  f"{what_to_do(error)}") from error

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
    raise CheckpointError(f"{folder} is not a checkpoint: it has none of {', '.join(WEIGHT_FILES)}")


def open_file(path: Path, listed: frozenset[str] | None = None) -> WeightFile:
    """Returns the reader of one weight file, by its ending.

    Args:
        path: The file.
        listed: The names that an index says it has; None where there is no index.
    """
    return SafetensorsFile(path, listed) if path.suffix == ".safetensors" else BinFile(path, listed)


def check_plain(file: WeightFile, name: str) -> None:
    """Refuses a matrix whose numbers are not the weights: whole numbers or 8 bits need scales stored elsewhere.

    Raises:
        CheckpointError: Naming the tensor, and the quantisation's own file where there is one.
    """
    dtype, shape = file.dtype(name), file.shapes()[name]
    mask = shape[:2] == (1, 1)  # old GPT files hold the causal mask
    if dtype == torch.bool or dtype.itemsize > 1 and dtype.is_floating_point or len(shape) < 2 or mask:
        return
    beside = [path.name for path in map(file.path.with_name, _QUANTISED) if path.is_file()]
    raise CheckpointError(f"{file.path}: {name!r} holds {str(dtype).removeprefix('torch.')} numbers, not weights: it "
                          f"is quantised or packed{f' (see {beside[0]})' if beside else ''} and cannot be merged. Name "
                          "the model as it was before quantisation")


def read_index(path: Path) -> dict[str, frozenset[str]]:
    """Returns file name -> names of its tensors, of a sharded model; the files are all in the index's own folder.

    Raises:
        CheckpointError: If it is not an index, names a tensor twice, or names a file elsewhere or of another kind.
    """
    try:
        if path.stat().st_size > MOST_HEADER:
            raise ValueError(f"more than {MOST_HEADER} bytes")
        weight_map = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique)["weight_map"]
        shards: dict[str, set[str]] = {}
        for name, shard in weight_map.items():
            shards.setdefault(shard, set()).add(name)
        if not shards:
            raise ValueError("it lists no tensor")
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} is not a shard index: it needs a 'weight_map' of tensor name to file name "
                              f"({error!r})") from error
    ending = Path(path.name.removesuffix(INDEX)).suffix
    for shard in shards:
        if not isinstance(shard, str) or Path(shard).name != shard or shard in (".", "..") or len(shard) > 200:
            raise CheckpointError(f"{path} names the shard {shard!r}, which is not a file of its own folder; refused")
        if not shard.endswith(ending):
            raise CheckpointError(f"{path} names the shard {shard!r}, which is not a {ending} file; refused")
    return {shard: frozenset(shards[shard]) for shard in sorted(shards)}


def _shard(index: Path, name: str) -> Path:
    path = index.parent / name
    if not path.is_file():
        raise CheckpointError(f"{index} names the shard {name!r}, which is absent. Is the download complete?")
    return path


def _check_listed(path: Path, names: Iterable[str], listed: frozenset[str] | None) -> None:
    """Refuses a shard with other tensors than its index says: versions of transformers disagree on what to read then.

    Raises:
        CheckpointError: Naming the tensors that are missing, or too many.
    """
    if listed is None:
        return
    held = frozenset(names)
    for differ, says in ((listed - held, "lacks {} that its index says it has"),
                         (held - listed, "has {} that its index does not say it has")):
        if differ:
            what = f"{len(differ)} tensors ({some(sorted(differ))})"
            raise CheckpointError(f"{path} {says.format(what)}. Are shards and index of one download?")


def _starts_with(path: Path, head: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(head)) == head


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether a tensor has all its values in the file: not sparse, not quantised, not one value said to be many."""
    return (tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
            and tensor.nbytes <= tensor.untyped_storage().nbytes())
