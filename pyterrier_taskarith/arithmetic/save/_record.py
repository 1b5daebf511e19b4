"""What a merge reads, with the sha256 of each file, and ``taskarith.json``, which records it in the merged folder."""

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyterrier_taskarith._files import known_sha256, remember_sha256
from pyterrier_taskarith._json import read_object
from pyterrier_taskarith._parallel import run_parallel
from pyterrier_taskarith.arithmetic._alphas import LayerAlphas
from pyterrier_taskarith.arithmetic._difference import CheckpointDifference
from pyterrier_taskarith.arithmetic._merged import MergedWeights
from pyterrier_taskarith.arithmetic._pieces import PIECE, scratch
from pyterrier_taskarith.arithmetic._tensors import FLAGS, as_bytes, read_bytes
from pyterrier_taskarith.checkpoints import RECORD, RowMatch
from pyterrier_taskarith.errors import MergeError, some

#: Bytes of a file that one job hashes.
SEGMENT = 2**25
FORMAT = 2
#: Bytes of a file that are summed at once.
PART = 2**20
#: What a recipe has, in words.
_WORDS = {"inputs": "weights", "sum": "recipe", "dtype": "dtype", "shard_size": "shard size",
          "companions": "companion files of Θ_T", "plan": "matching of the three models' parameters and tokens"}


@dataclass(frozen=True)
class Input:
    """One weight file that a merge reads.

    Attributes:
        role: "Θ_T", or "Θ_D of …", "Θ_0 of …", "τ of …" with the vector's name.
        source: The model as the user named it.
        path: The file.
    """

    role: str
    source: str
    path: Path


def inputs(merge: MergedWeights) -> list[Input]:
    """Returns every weight file that a merge reads, each role of it once."""
    found = [Input("Θ_T", merge.ranker.source, file.path) for file in merge.ranker.files]
    for name, vector in merge.vectors.items():
        for part in vector.parts():
            if isinstance(part, CheckpointDifference):
                found += [Input(f"{role} of {name}", checkpoint.source, file.path)
                          for role, checkpoint in (("Θ_D", part.domain), ("Θ_0", part.base))
                          for file in checkpoint.files]
            else:
                found += [Input(f"τ of {name}", part.label, path) for path in part.paths()]
    return list(dict.fromkeys(found))


class Hashes:
    """The sha256 of files; of those that are known already, nothing is read."""

    def __init__(self, paths: Iterable[Path]) -> None:
        """Looks up what is known: from the hub cache's names, or from an earlier run.

        Args:
            paths: The files.

        Raises:
            OSError: If one is absent.
        """
        self._known: dict[Path, str] = {}
        self._unknown: list[_Running] = []
        self._seen = {path: _state(path) for path in dict.fromkeys(paths)}
        for path in self._seen:
            known = known_sha256(path)
            if known is None:
                self._unknown.append(_Running(path, self._seen[path][0]))
            else:
                self._known[path] = known

    def jobs(self) -> Iterator[tuple[float, Callable[[], int]]]:
        """Yields what is left to do, as (how far through its file, job); the files move on side by side."""
        steps = [((start + SEGMENT) / max(running.size, 1), running.advance)
                 for running in self._unknown for start in range(0, max(running.size, 1), SEGMENT)]
        yield from sorted(steps, key=lambda step: step[0])

    def finish(self) -> dict[Path, str]:
        """Returns path -> sha256, once all jobs are done.

        Raises:
            MergeError: If a file was changed since this object was made.
        """
        for path, before in self._seen.items():
            if _state(path) != before:
                raise MergeError(f"{path} was changed while the merge read it; nothing was written. Run it again")
        for running in self._unknown:
            self._known[running.path] = running.hash.hexdigest()
            remember_sha256(running.path, self._known[running.path])
        self._unknown.clear()
        return {path: self._known[path] for path in self._seen}


class _Running:
    """One file, hashed from front to back by whichever thread is free."""

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size, self.hash = path, size, hashlib.sha256()
        self._at, self._lock = 0, threading.Lock()

    def advance(self) -> int:
        """Hashes the next segment; returns 0, as nothing of the output is made."""
        with self._lock:
            end = min(self.size, self._at + SEGMENT)
            file = os.open(self.path, os.O_RDONLY | FLAGS)
            try:
                while self._at < end:
                    part = as_bytes(scratch().raw(torch.uint8, min(PIECE, end - self._at)))
                    read_bytes(file, self._at, part, self.path)
                    self.hash.update(part)
                    self._at += len(part)
            finally:
                os.close(file)
        return 0


def _state(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def recipe(merge: MergedWeights, *, dtype: str | None, shard_size: int, hashes: Mapping[Path, str],
           companions: Mapping[str, str]) -> dict[str, Any]:
    """Returns all that decides what is in a merged folder, as JSON holds it.

    "merge" and the sources of "inputs" are for people; what is compared names weights by their sha256 alone.

    Args:
        merge: The merge.
        dtype: Of the output.
        shard_size: Bytes of a file.
        hashes: Weight file -> sha256.
        companions: Path in the folder -> sha256 of the file of Θ_T that is copied there.
    """
    added = [[alpha.to_dict() if isinstance(alpha := merge.alphas[name], LayerAlphas) else alpha,
              [list(term) for term in vector.fingerprint]] for name, vector in merge.vectors.items()]
    return {"merge": str(merge), "sum": added, "dtype": dtype, "shard_size": shard_size,
            "inputs": [[file.role, file.source, file.path.name, hashes[file.path]] for file in inputs(merge)],
            "companions": dict(companions), "plan": _plan(merge)}


def _plan(merge: MergedWeights) -> str:
    """Returns a sha256 of what happens to each parameter and of which rows match which."""
    plan = hashlib.sha256(str((merge.plan.entries, merge.plan.unused)).encode())
    matches: list[RowMatch | None] = list(merge.plan.rows.values())
    matches += [part.rows for term in merge.plan.rows for part in term.difference.parts()
                if isinstance(part, CheckpointDifference)]
    for match in matches:
        plan.update(b"all" if match is None else match.ours.tobytes() + match.theirs.tobytes())
    return plan.hexdigest()


def write_record(folder: Path, made: Mapping[str, Any]) -> None:
    """Writes a recipe and the files that are in the folder now, with their sizes and checksums.

    Args:
        folder: All its files are there.
        made: The recipe.
    """
    files = {str(path.relative_to(folder)): _seen(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    content: dict[str, Any] = {"format": FORMAT, "made by": f"pyterrier_taskarith {version('pyterrier_taskarith')}",
                               "recipe": made, "files": files}
    content["sha256"] = _sha256(content)
    (folder / RECORD).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Record:
    """A folder's record.

    Attributes:
        folder: The folder.
        recipe: What it was made from.
        files: Path in the folder -> size in bytes and checksum when it was made.
    """

    folder: Path
    recipe: Mapping[str, Any]
    files: Mapping[str, list[Any]]

    def differences(self, wanted: Mapping[str, Any]) -> list[str]:
        """Returns in words how its recipe differs from another."""
        found: list[str] = []
        for key, words in _WORDS.items():
            old, new = self.recipe.get(key), wanted[key]
            if key == "inputs" and _weights(old) == _weights(new):
                continue
            if old == new or (key == "sum" and found):  # it holds the weights' hashes too
                continue
            if key in ("inputs", "companions"):
                old, new = _by_name(old), _by_name(new)
                changed = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
                found.append(f"the {words} ({some(changed)})")
            elif key == "plan":
                found.append(f"the {words}")
            else:
                found.append(f"the {words} ({self.recipe.get('merge') if key == 'sum' else old} there)")
        return found

    def touched(self) -> list[str]:
        """Returns the files that are gone or have other content; each is read, as a damaged disk keeps the times."""
        return [name for name, seen in self.files.items()
                if not (self.folder / name).is_file() or _seen(self.folder / name) != seen]

    def foreign(self) -> list[str]:
        """Returns the files that were put there since."""
        return sorted(name for name in (str(path.relative_to(self.folder)) for path in self.folder.rglob("*")
                                        if not path.is_dir() or path.is_symlink())
                      if name not in self.files and name != RECORD)


def read_record(folder: Path) -> Record | None:
    """Returns the record of a folder, or None where there is none that this version can read, or it is damaged."""
    try:
        content = read_object(folder / RECORD)
        if content["format"] != FORMAT or content.pop("sha256") != _sha256(content):
            return None
        return Record(folder, dict(content["recipe"]), {str(name): list(seen)
                                                        for name, seen in content["files"].items()})
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _by_name(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    return {f"{entry[2]} of {entry[1]}, {entry[0]}": entry[3] for entry in value or [] if len(entry) == 4}


def _weights(inputs: Any) -> list[list[str]]:
    """Returns role, file name and sha256 of each input, whatever the models and vectors are called."""
    return [[str(role).split(" of ")[0], *rest] for role, _, *rest in inputs or []]


def _sha256(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _seen(path: Path) -> list[Any]:
    """Returns a file's size and a checksum against damage: a hash of the sums of its 8-byte words, part by part.

    A sha256 of all bytes would take as long as the merge.
    """
    size, sums = path.stat().st_size, dict[int, bytes]()

    def add(start: int) -> int:
        part = np.fromfile(path, dtype=np.uint8, count=PART, offset=start)
        sums[start] = np.pad(part, (0, -len(part) % 8)).view("<u8").sum(dtype="<u8").tobytes()
        return len(part)

    run_parallel(partial(add, start) for start in range(0, size, PART))
    return [size, hashlib.sha256(b"".join(sums[start] for start in sorted(sums))).hexdigest()]
