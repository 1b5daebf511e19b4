"""A merge that can be extended and saved: ``Checkpoint(T) + 0.7 * vector``."""

import copy
from itertools import count
from pathlib import Path

from pyterrier_taskarith.arithmetic._merged import MergedWeights
from pyterrier_taskarith.arithmetic._term import TermSum
from pyterrier_taskarith.arithmetic.save import save_merge
from pyterrier_taskarith.checkpoints import Checkpoint


class Merge(MergedWeights):
    """Θ' = Θ_T + Σ α_i τ_i; made by ``Checkpoint(T) + 0.7 * vector``, computed when read or saved."""

    def __add__(self, vector: object) -> "Merge":
        if not isinstance(vector, TermSum):
            return NotImplemented
        name = next(name for name in (f"vector{number}" for number in count(2)) if name not in self.vectors)
        return Merge(self.ranker, {**self.vectors, name: vector}, {**self.alphas, name: 1.0})

    def __sub__(self, vector: object) -> "Merge":
        if not isinstance(vector, TermSum):
            return NotImplemented
        return self + -vector

    def save(self, folder: str | Path, *, dtype: str | None = None, shard_size: str | int | None = None,
             overwrite: bool = False, verbose: bool = False) -> Path:
        """Writes Θ' as an ordinary model folder; see ``arithmetic.save.save_merge``.

        Args:
            folder: Where; it must not exist, or be empty, or hold this very merge, which is then left as it is.
            dtype: "float32", "float16" or "bfloat16"; None keeps each parameter's dtype in Θ_T.
            shard_size: Largest weight file, such as "5GB" (the default) or a number of bytes.
            overwrite: Whether a folder that holds another merge, and nothing else, is replaced.
            verbose: Whether to show progress.

        Raises:
            MergeError: If the models do not fit each other, or the folder holds something else.
            OSError: If the disk is full or read-only; nothing is left behind then.
        """
        # Fresh ones: what a user holds may remember headers of files that have changed since.
        fresh = MergedWeights(Checkpoint(self.ranker), copy.deepcopy(self.vectors), self.alphas)
        return save_merge(fresh, Path(folder), dtype=dtype, shard_size=shard_size, overwrite=overwrite,
                          verbose=verbose)

    def __repr__(self) -> str:
        return f"Merge({self})"
