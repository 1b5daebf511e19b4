"""Open weight files, and the sums that a merge makes of what lies in them."""

import math
import os
from pathlib import Path
from types import TracebackType

import numpy as np
import torch

from pyterrier_taskarith.arithmetic._chunks import FLAGS, PIECE, Addend, InFile, InMemory, Rows, Stored, Sum
from pyterrier_taskarith.arithmetic._difference import CheckpointDifference
from pyterrier_taskarith.arithmetic._plan import Step
from pyterrier_taskarith.checkpoints import BinFile, Checkpoint, SafetensorsFile, TensorLocation, WeightFile
from pyterrier_taskarith.errors import MergeError


class Sources:
    """Descriptors of the files that are read, open until the context ends."""

    def __init__(self) -> None:
        self._files: dict[Path, int] = {}

    def __enter__(self) -> "Sources":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        for file in self._files.values():
            os.close(file)
        self._files.clear()

    def open(self, path: Path) -> int:
        """Returns the descriptor of a file."""
        if path not in self._files:
            self._files[path] = os.open(path, os.O_RDONLY | FLAGS)
        return self._files[path]

    def parameter(self, checkpoint: Checkpoint, name: str) -> Stored | None:
        """Returns a parameter by its canonical name; None where no file holds it as it is."""
        location = checkpoint.location(name)
        if location is not None:
            return self._at(location)
        held = checkpoint.names.parameters[name][0]
        return self.raw(checkpoint.raw[held], held)

    def raw(self, file: WeightFile, name: str) -> Stored | None:
        """Returns a tensor by its name in a file; None where the file does not hold it as it is."""
        if isinstance(file, SafetensorsFile):
            return self._at(file.location(name))
        return InMemory(file.tensor(name).reshape(-1)) if isinstance(file, BinFile) else None

    def _at(self, location: TensorLocation) -> InFile:
        return InFile(location.path, self.open(location.path), location.offset, location.dtype)

    def sum(self, ranker: Checkpoint, name: str, steps: list[Step], dtype: torch.dtype) -> Sum | None:
        """Returns a parameter of Θ' as a sum that can be computed in pieces; None where it cannot.

        Args:
            ranker: Θ_T.
            name: Canonical name.
            steps: What is added, as :meth:`Merge.steps` tells.
            dtype: Of the result.
        """
        shape = ranker.shapes[name]
        width = math.prod(shape[1:])
        stored = self.parameter(ranker, name)
        addends = [self._addend(name, step, shape, width) for step in steps]
        if stored is None or None in addends:
            return None
        return Sum(stored, tuple(addend for addend in addends if addend), math.prod(shape), width, dtype)

    def _addend(self, name: str, step: Step, shape: tuple[int, ...], width: int) -> Addend | None:
        difference = step.term.difference
        if not step.term.plain or not isinstance(difference, CheckpointDifference):
            return None
        rows = _rows(name, step, difference, shape)
        domain, base = self.parameter(difference.domain, name), self.parameter(difference.base, name)
        if domain is None or base is None or (rows is not None and not 0 < width <= PIECE):
            return None
        return Addend(step.factor, domain, base, rows)


def _rows(name: str, step: Step, difference: CheckpointDifference, shape: tuple[int, ...]) -> Rows | None:
    """Joins Θ_T's rows to Θ_D's and Θ_0's by way of τ's."""
    inner = difference.rows if name in difference.by_token else None
    if step.rows is None and inner is None:
        return None
    every = np.arange(shape[0], dtype=np.int64)
    ours, theirs = (every, every) if step.rows is None else (step.rows.ours, step.rows.theirs)
    domain, base = (theirs, theirs) if inner is None else (inner.ours[theirs], inner.theirs[theirs])
    if (np.diff(ours) <= 0).any():
        raise MergeError(f"{name}: the rows of Θ_T that match {difference.label} are not in ascending order")
    return Rows(ours, domain, base)
