"""A merge that can be extended, and saved as an ordinary model folder, complete or absent."""

import copy
import logging
import numbers
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import torch

from pyterrier_taskarith._files import new_folder, remove_left
from pyterrier_taskarith._parallel import run_parallel
from pyterrier_taskarith.arithmetic._merged import MergedWeights
from pyterrier_taskarith.arithmetic._term import TermSum
from pyterrier_taskarith.arithmetic.save._companions import companions, copy_files, model_card, sha256_of, state_dtype
from pyterrier_taskarith.arithmetic.save._record import Hashes, inputs, read_record, recipe, write_record
from pyterrier_taskarith.arithmetic.save._writer import into_shards, tensors, write_index, write_weights
from pyterrier_taskarith.checkpoints import Checkpoint
from pyterrier_taskarith.errors import MergeError, some

logger = logging.getLogger("pyterrier_taskarith")

#: Dtypes that a folder can be saved in, by the name that config.json uses.
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
#: Largest weight file by default: what transformers 4 writes, and every loader and hub takes.
SHARD_SIZE = "5GB"
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


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
        """Writes Θ' as a model folder that transformers, sentence-transformers and pyterrier_t5 load.

        Everything but the weights is Θ_T's own, byte for byte (where Θ_T is an adapter, its base model's). Each weight
        is computed in float32 and rounded once. The folder appears when it is complete. Memory stays small whatever
        the model's size, unless a merge method needs whole tensors. A folder that this very merge wrote before, by the
        sha256 of all inputs, is left as it is.

        Args:
            folder: Where; it must not exist, or be empty, or hold this merge.
            dtype: "float32", "float16" or "bfloat16" for floating-point tensors; None keeps each one's dtype in Θ_T.
            shard_size: Largest weight file, as bytes or like "5GB" (the default) or "500MiB"; a larger model is
                written as shards with an index.
            overwrite: Whether a folder that holds another merge, and nothing else, is replaced.
            verbose: Whether to show progress.

        Returns:
            The folder.

        Raises:
            MergeError: If the models do not fit each other, the folder holds something else, an argument is wrong, a
                weight is not finite, or a file was changed while it was read.
            OSError: If the disk is full or read-only; nothing is left behind then.
        """
        # New objects: those that the user holds may remember headers of files that have changed since.
        fresh = MergedWeights(Checkpoint(self.ranker), copy.deepcopy(self.vectors), self.alphas)
        return save_merge(fresh, Path(folder), dtype=dtype, shard_size=shard_size, overwrite=overwrite,
                          verbose=verbose)

    def __repr__(self) -> str:
        return f"Merge({self})"


def save_merge(merge: MergedWeights, folder: Path, *, dtype: str | None = None, shard_size: str | int | None = None,
               overwrite: bool = False, verbose: bool = False) -> Path:
    """Writes a merge, none of whose files was read before; see :meth:`Merge.save`."""
    if dtype is not None and dtype not in DTYPES:
        raise MergeError(f"dtype={dtype!r}: choose one of {', '.join(DTYPES)}, or None for Θ_T's own")
    most = in_bytes(SHARD_SIZE if shard_size is None else shard_size)
    target = folder.resolve()
    if _occupied(target) and read_record(target) is None:
        raise MergeError(f"{folder} exists and is not empty; choose another folder or remove it")
    try:
        files = companions(merge.ranker)
        written = tensors(merge, DTYPES.get(dtype or ""))
        hashes = Hashes(file.path for file in inputs(merge))

        def made() -> dict[str, Any]:
            return recipe(merge, dtype=dtype, shard_size=most, hashes=hashes.finish(),
                          companions={str(path): sha256_of(source) for path, source in files.items()})

        merge.plan.check_nonzero(merge.plan.merged)
        if _occupied(target):
            run_parallel(job for _, job in hashes.jobs())
            if _is_there(folder, target, made(), overwrite):
                remove_left(target)
                logger.info("%s holds this merge already: %s", folder, merge)
                return folder
        try:
            with new_folder(target, replaces=overwrite) as temporary:
                copy_files(files, temporary)
                weights = temporary / merge.ranker.located.weights.relative_to(merge.ranker.located.root)
                weights.mkdir(parents=True, exist_ok=True)
                shards = into_shards(written, most)
                write_index(shards, weights)
                with _progress(sum(tensor.nbytes for tensor in written), verbose) as done:
                    write_weights(merge, shards, weights, beside=hashes.jobs(), done=done)
                if dtype is not None:
                    state_dtype(weights / "config.json", dtype)
                (temporary / "README.md").write_text(model_card(merge, dtype, hashes.finish()), encoding="utf-8")
                write_record(temporary, made())
        except FileExistsError as error:
            # Another run may have made the very same meanwhile.
            record = read_record(target)
            if record is None or record.differences(made()) or record.touched():
                raise MergeError(f"{error}. Choose another folder") from error
    finally:
        merge.ranker.close()
        for vector in merge.vectors.values():
            vector.close()
    return folder


def in_bytes(size: str | int) -> int:
    """Returns a size in bytes.

    Args:
        size: A number of bytes, or a text such as "5GB" (10⁹) or "500MiB" (2²⁰).

    Raises:
        MergeError: If it is anything else, or not positive.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]I?B)?", str(size).strip().upper())
    found = int(float(match[1]) * _UNITS[match[2] or ""]) if match else 0
    if found < 1 or isinstance(size, bool) or not isinstance(size, str | numbers.Integral):
        raise MergeError(f"shard_size={size!r}: give a positive number of bytes, or a text such as '5GB' or '500MiB'")
    return found


def _occupied(target: Path) -> bool:
    return target.exists() and (not target.is_dir() or any(target.iterdir()))


def _is_there(folder: Path, target: Path, wanted: dict[str, Any], overwrite: bool) -> bool:
    """Returns whether a folder holds this merge already; False: it is to be replaced.

    Raises:
        MergeError: If it holds something else.
    """
    record = read_record(target)
    if record is None:
        raise MergeError(f"{folder} exists and is not empty; choose another folder or remove it")
    differ, touched = record.differences(wanted), record.touched()
    if not differ and not touched:
        return True
    what = f"another merge than is asked for; different: {'; '.join(differ)}" if differ else (
        f"this merge, but {some(touched)} changed since it was saved")
    if not overwrite:
        raise MergeError(f"{folder} holds {what}. Choose another folder, or replace it with overwrite=True")
    foreign = record.foreign()
    if foreign:
        raise MergeError(f"{folder} holds {what}, and files that no merge wrote: {some(foreign)}. overwrite=True would "
                         "lose them: move them away, or choose another folder")
    return False


@contextmanager
def _progress(total: int, verbose: bool) -> Iterator[Any]:
    """Yields the callback that takes numbers of written bytes: a progress bar's, or None."""
    if not verbose:
        yield None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc="merging", unit="B", unit_scale=True, leave=False, delay=1, disable=None) as bar:
        yield bar.update
