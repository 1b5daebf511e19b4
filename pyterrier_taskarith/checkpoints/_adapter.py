"""A PEFT adapter folder as weight files: what the base's files hold, with scale·B·A added where it was trained."""

from collections.abc import Mapping
from typing import Any

import torch

from pyterrier_taskarith.checkpoints._adapter_config import AdapterConfig
from pyterrier_taskarith.checkpoints._adapter_fit import Change, Fitting
from pyterrier_taskarith.checkpoints._header import Place
from pyterrier_taskarith.checkpoints._readers import WeightFile


def adapt(base: list[WeightFile], adapter: WeightFile, about: AdapterConfig, config: Mapping[str, Any]
          ) -> list[WeightFile]:
    """Returns the files of the adapted model: the base's files as the adapter changes them, and the adapter's own.

    Args:
        base: Weight files of the base model.
        adapter: The adapter's weight file.
        about: The adapter's configuration.
        config: The base model's configuration.

    Raises:
        CheckpointError: If an entry of the adapter fits nothing in the base, or cannot be merged exactly.
    """
    fitting = Fitting(base, adapter, about, config)
    files: list[WeightFile] = []
    for file in base:
        keys = {name: fitting.key(name) for name in file.shapes()}
        files.append(AdaptedFile(file, adapter, {name: fitting.changes[key] for name, key in keys.items()
                                                 if key in fitting.changes}))
    return [*files, AddedFile(adapter, fitting.added)]


class AdaptedFile:
    """A weight file of the base model, as the adapter changes it; what it changes is computed in float32."""

    def __init__(self, file: WeightFile, adapter: WeightFile, changes: Mapping[str, Change]) -> None:
        self.path = file.path
        self._file, self._adapter, self._changes = file, adapter, changes
        ours = adapter.shapes()
        whole = {name: ours[change.parts["whole"]] for name, change in changes.items() if "whole" in change.parts}
        self._shapes = {name: whole.get(name, shape) for name, shape in file.shapes().items()}

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Returns name -> shape; an embedding may have more rows than the base's."""
        return self._shapes

    def dtype(self, name: str) -> torch.dtype:
        """Returns the dtype that :meth:`tensor` gives: float32 for a sum, so that it is rounded once, at the end."""
        change = self._changes.get(name)
        if change is None:
            return self._file.dtype(name)
        return self._adapter.dtype(change.parts["whole"]) if change.replaces else torch.float32

    def stored_dtype(self, name: str) -> torch.dtype:
        """Returns the base's dtype, which the merged model has by default."""
        return self._file.dtype(name)

    def tensor(self, name: str) -> torch.Tensor:
        """Returns one tensor."""
        change = self._changes.get(name)
        if change is None:
            return self._file.tensor(name)
        parts = {part: self._adapter.tensor(held) for part, held in change.parts.items()}
        if change.replaces:
            return parts["whole"]
        start = parts["whole"] if "whole" in parts else self._file.tensor(name)
        return _changed(start, {part: value.to(torch.float32) for part, value in parts.items()}, change)

    def place(self, name: str) -> Place | None:
        """Returns where an unchanged tensor lies."""
        return None if name in self._changes else self._file.place(name)

    def unmap(self) -> None:
        """Unmaps the base's file and the adapter's."""
        self._file.unmap()
        self._adapter.unmap()

    def close(self) -> None:
        """Closes the base's file and the adapter's."""
        self._file.close()
        self._adapter.close()


class AddedFile:
    """The tensors that an adapter brings and its base lacks, such as a classifier; often none."""

    def __init__(self, adapter: WeightFile, names: Mapping[str, str]) -> None:
        self.path = adapter.path
        self._adapter, self._names = adapter, names
        self._shapes = {name: adapter.shapes()[held] for name, held in names.items()}

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Returns name -> shape."""
        return self._shapes

    def dtype(self, name: str) -> torch.dtype:
        """Returns the dtype in the adapter's file."""
        return self._adapter.dtype(self._names[name])

    def stored_dtype(self, name: str) -> torch.dtype:
        """Returns the dtype in the adapter's file."""
        return self.dtype(name)

    def tensor(self, name: str) -> torch.Tensor:
        """Returns one tensor."""
        return self._adapter.tensor(self._names[name])

    def place(self, name: str) -> Place | None:
        """Returns where a tensor lies."""
        return self._adapter.place(self._names[name])

    def unmap(self) -> None:
        """Unmaps the adapter's file."""
        self._adapter.unmap()

    def close(self) -> None:
        """Closes the adapter's file."""
        self._adapter.close()


def _changed(start: torch.Tensor, parts: Mapping[str, torch.Tensor], change: Change) -> torch.Tensor:
    """Returns start + scale·B·A in float32, with DoRA's magnitudes, a trained bias or trained rows."""
    value = start.to(torch.float32, copy=True)
    over = 1  # the dimension that a magnitude's norm is over: the inputs
    if "a" in parts:
        update = parts["b"] @ parts["a"]
        value.add_(update.T if change.transposed else update, alpha=change.scale)
        over = 0 if change.transposed else 1
    elif "embedding_a" in parts:
        value.add_((parts["embedding_b"] @ parts["embedding_a"]).T, alpha=change.scale)
        over = 0
    if "magnitude" in parts:
        value.mul_((parts["magnitude"].flatten() / torch.linalg.vector_norm(value, dim=over)).unsqueeze(over))
    if "bias" in parts:
        value.add_(parts["bias"], alpha=change.scale)
    if "rows" in parts:
        value[list(change.rows)] = parts["rows"]
    return value
